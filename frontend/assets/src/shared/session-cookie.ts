// No script can read the session's cookie. The browser's storage has the id of the signed-in user
// and the time of the session's last refresh; all tabs share both.
import { forget, keep, recall } from "./browser-storage";
import { send } from "./http";
import { Observable } from "./observable";

const MEMBER = "gittix:member";
const RENEWED = "gittix:renewed";
const LASTING = { lasting: true };

/** The signed-in user's id, or null. A visitor's session needs no request to the API. */
export const memberId = new Observable(recalledMember());

export function rememberMember(id: string | null): void {
  if (id) {
    keep(MEMBER, id, LASTING);
    keep(RENEWED, Date.now(), LASTING);
  } else {
    forget(MEMBER, LASTING);
  }
  memberId.set(id);
}

/** Follow sign-ins and sign-outs in the browser's other tabs. */
export function watchTabs(): void {
  addEventListener("storage", ({ key }) => {
    if (key === MEMBER) memberId.set(recalledMember());
  });
}

/**
 * When the session was last refreshed, on the browser's own clock; null when that is not known.
 */
export function refreshedAt(): number | null {
  const at = recall(RENEWED, LASTING);
  return typeof at === "number" ? at : null;
}

let refreshing: Promise<boolean> | null = null;

/** Returns whether the session was refreshed. Concurrent callers share one request. */
export function refreshSession(): Promise<boolean> {
  refreshing ??= refresh().finally(() => {
    refreshing = null;
  });
  return refreshing;
}

async function refresh(): Promise<boolean> {
  const response = await send("POST", "/api/users/refresh");
  if (response.ok) keep(RENEWED, Date.now(), LASTING);
  if (response.status === 401) rememberMember(null);
  return response.ok;
}

function recalledMember(): string | null {
  const id = recall(MEMBER, LASTING);
  return typeof id === "string" ? id : null;
}
