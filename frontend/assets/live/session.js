// Who is signed in. The truth is the cookie, which scripts can't read; this is what the API says of it.
import { get, isMember, post, refreshed, rememberMember } from "./api.js";
import { Observable } from "./observable.js";

/** undefined until it is known, null for a visitor, else `{id, email, name}`. */
export const user = new Observable(undefined);

let asking = null;

/** Ask once a page. */
export function askUser() {
  asking ??= whoAmI().then(
    (found) => user.set(found),
    () => {
      asking = null;
      user.set(null);
    },
  );
  return asking;
}

async function whoAmI() {
  if (!isMember()) return null;
  const { current_user: found } = await get("/api/users/currentuser");
  if (found || !(await refreshed())) return found;
  return (await get("/api/users/currentuser")).current_user;
}

export async function signIn(path, credentials) {
  const { current_user: found } = await post(path, credentials);
  rememberMember(true);
  user.set(found);
}

export async function signOut() {
  await post("/api/users/signout");
  rememberMember(false);
  user.set(null);
}

/** Where a visitor wanted to go, if it is a page of ours. */
export function nextPage(search) {
  const next = new URLSearchParams(search).get("next") ?? "/";
  return /^\/(?![/\\])/.test(next) ? next : "/";
}
