// The interface between the pay form and its card input, Stripe's or the sandbox's.

export interface CardInput {
  /** Returns the id of a payment method. Throws a Problem with Stripe's words for a bad card. */
  paymentMethod: () => Promise<string>;
}

/** The code of a Problem that Stripe shows at the card's field itself. */
export const SHOWN_AT_FIELD = "shown_at_field";
