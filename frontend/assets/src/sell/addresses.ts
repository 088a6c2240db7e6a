/** The form that adds a show. */
export const NEW_SHOW = "/sell?show=new";
