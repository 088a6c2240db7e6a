// Who is signed in. The truth is the cookie, which scripts can't read; this is what the API says of it.
import { get, member, post, refreshed, rememberMember, renewedAt, shopFacts, watchTabs } from "./api.js";
import { Observable } from "./observable.js";

const RENEW_AFTER = 0.8; // of the session's time
const RETRY_MS = 10_000;

/** undefined until it is known, null for a visitor, else `{id, email, name}`. */
export const user = new Observable(undefined);

let asking = null;
let following = false;

/** Ask once a page, and follow from then on what this browser's tabs do and how long the session lasts. */
export function askUser() {
  if (!following) follow();
  asking ??= ask();
  return asking;
}

function follow() {
  following = true;
  watchTabs();
  member.watch(() => {
    if (!member.value) user.set(null);
    else if (member.value !== user.value?.id) ask();
  });
  user.watch(keepSession);
  document.addEventListener("visibilitychange", keepSession);
}

async function ask() {
  try {
    user.set(await whoAmI());
  } catch {
    asking = null;
    user.set(null);
  }
}

async function whoAmI() {
  if (!member.value) return null;
  const { current_user: found } = await get("/api/users/currentuser");
  if (found || !(await refreshed())) return found;
  return (await get("/api/users/currentuser")).current_user;
}

export async function signIn(path, credentials) {
  const { current_user: found } = await post(path, credentials);
  user.set(found);
  rememberMember(found.id);
}

/** Here, or on every device where this user is signed in. */
export async function signOut({ everywhere }) {
  await post(`/api/users/signout${everywhere ? "?everywhere=true" : ""}`);
  rememberMember(null);
}

/** Somebody ended this user's connections: if the session has ended too, renewing it says so. */
export const checkSession = () => user.value && refreshed().catch(() => undefined);

let timer = null;

/**
 * Renew the session before it runs out, so that no request has to wait for that. Of several tabs the first to come to
 * it does; a page that nobody looks at lets the session run out, and renews it when it is looked at again.
 */
async function keepSession() {
  clearTimeout(timer);
  if (!user.value || document.visibilityState !== "visible") return;
  const wait = await untilRenewal().catch(() => RETRY_MS);
  clearTimeout(timer);
  timer = setTimeout(keepSession, wait);
}

/** Renews when it is time; milliseconds until the next time. */
async function untilRenewal() {
  const whole = (await shopFacts()).session_seconds * 1000 * RENEW_AFTER;
  const age = Date.now() - (renewedAt() ?? Date.now());
  if (age < whole) return whole - Math.max(age, 0);
  return (await refreshed()) ? whole : RETRY_MS;
}

/** Where a visitor wanted to go, if it is a page of ours. */
export function nextPage(search) {
  const next = new URLSearchParams(search).get("next") ?? "/";
  return /^\/(?![/\\])/.test(next) ? next : "/";
}
