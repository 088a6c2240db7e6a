// The signed-in user. Scripts cannot read the session's cookie; this is the API's answer for it.
import { get, post, put } from "./api";
import type { SignIn, SignUp, User } from "./api-types";
import { Observable } from "./observable";
import { onceReached } from "./reach";
import { asProblem } from "./http";
import { memberId, refreshedAt, refreshSession, rememberMember, watchTabs } from "./session-cookie";
import { siteConfig } from "./site-config";

/** The part of the session's lifetime after which it is refreshed. */
const REFRESH_AFTER = 0.8;
const RETRY_MS = 10_000;

/** Undefined until it is known, null for a visitor. */
export const user = new Observable<User | null | undefined>(undefined);

let reading: Promise<void> | null = null;
let following = false;

/**
 * Read the user once a page; from then on follow sign-ins of other tabs and keep the session
 * refreshed.
 */
export function readUser(): Promise<void> {
  if (!following) follow();
  reading ??= read();
  return reading;
}

function follow(): void {
  following = true;
  watchTabs();
  memberId.watch(() => {
    if (!memberId.value) user.set(null);
    else if (memberId.value !== user.value?.id) void read();
  });
  const keepFresh = () => void keepSessionFresh();
  user.watch(keepFresh);
  document.addEventListener("visibilitychange", keepFresh);
}

async function read(): Promise<void> {
  try {
    user.set(await currentUser());
  } catch (error) {
    reading = null;
    // Not a visitor: the API could not say who it is.
    if (asProblem(error).outage) onceReached(() => void readUser());
    else user.set(null);
  }
}

async function currentUser(): Promise<User | null> {
  if (!memberId.value) return null;
  const { current_user: found } = await get("/api/users/currentuser");
  if (found || !(await refreshSession())) return found;
  return (await get("/api/users/currentuser")).current_user;
}

export async function signIn(credentials: SignIn): Promise<void> {
  adopt((await post("/api/users/signin", credentials)).current_user);
}

export async function signUp(account: SignUp): Promise<void> {
  adopt((await post("/api/users/signup", account)).current_user);
}

function adopt(found: User | null): void {
  user.set(found);
  rememberMember(found?.id ?? null);
}

export async function changeHandle(handle: string): Promise<void> {
  user.set((await put("/api/users/currentuser", { handle })).current_user);
}

export async function setNeedsMoreTime(needs: boolean): Promise<void> {
  const changed = await put("/api/users/currentuser", { needs_more_time: needs });
  user.set(changed.current_user);
}

/** Here, or on every device where this user is signed in. */
export async function signOut({ everywhere }: { everywhere: boolean }): Promise<void> {
  await post("/api/users/signout", undefined, { query: everywhere ? { everywhere } : {} });
  rememberMember(null);
}

/** The gateway ended the user's connections: a refresh finds out whether the session ended too. */
export async function checkSession(): Promise<void> {
  if (user.value) await refreshSession().catch(() => undefined);
}

let timer: ReturnType<typeof setTimeout> | undefined;

/**
 * Refresh the session before it expires, so that no request waits for it. The first of several
 * tabs does. A hidden page lets the session expire and refreshes it when it becomes visible.
 */
async function keepSessionFresh(): Promise<void> {
  clearTimeout(timer);
  if (!user.value || document.visibilityState !== "visible") return;
  const wait = await refreshWhenDue().catch(() => RETRY_MS);
  clearTimeout(timer);
  timer = setTimeout(() => void keepSessionFresh(), wait);
}

/** Refreshes a session that is due; returns the milliseconds until the next time. */
async function refreshWhenDue(): Promise<number> {
  const lifetime = (await siteConfig()).session_seconds * 1000 * REFRESH_AFTER;
  const age = Date.now() - (refreshedAt() ?? Date.now());
  if (age < lifetime) return lifetime - Math.max(age, 0);
  return (await refreshSession()) ? lifetime : RETRY_MS;
}
