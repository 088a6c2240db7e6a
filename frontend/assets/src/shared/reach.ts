// Whether the shop's services answer, as the page's own requests find out. Each service of the API
// counts alone, so the reply of one does not hide that another is down.
import { Observable } from "./observable";

/**
 * "offline": the browser has no network. "unreachable": the browser has one, and no reply comes.
 * "unavailable": the server, or the proxy in front of it, answers that it cannot work now.
 */
export type Outage = "offline" | "unreachable" | "unavailable";
export type Reach = "reached" | Outage;

interface Failure {
  kind: "unreachable" | "unavailable";
  /** A GET of it shows whether the service answers again. */
  url: string;
  /** By performance.now(); the server wishes no request before. */
  notBefore: number;
}

/** The statuses of a proxy without a server, and of a server that cannot work now. */
const NO_SERVER = new Set([502, 503, 504]);
/** Those of a service or of the ingress; other problems with such a status are of other servers. */
const CODES = new Set<unknown>(["temporarily_unavailable", "gateway_timeout", undefined]);
const MAX_RETRY_AFTER_MS = 60_000;

const failures = new Map<string, Failure>();
let noted = 0;

export const reach = new Observable<Reach>("reached");

/** How many requests have got a response or failed. */
export const notes = (): number => noted;

/** The outage that this status and this problem's code show, or null. */
export function outageOf(status: number, code: unknown): Outage | null {
  if (status === 0) return navigator.onLine ? "unreachable" : "offline";
  return NO_SERVER.has(status) && CODES.has(code) ? "unavailable" : null;
}

/** A request of `url` got this response. */
export async function noteResponse(url: string, response: Response): Promise<void> {
  noted += 1;
  if (NO_SERVER.has(response.status) && CODES.has(await codeOf(response.clone()))) {
    const seconds = Number(response.headers.get("retry-after") ?? 0) || 0;
    fail(url, "unavailable", Math.min(seconds * 1000, MAX_RETRY_AFTER_MS));
    return;
  }
  failures.delete(serviceOf(url));
  show();
}

/** A request of `url` got no response. */
export function noteSilence(url: string): void {
  noted += 1;
  fail(url, "unreachable");
}

/** The browser lost its network: no request needs to find out. */
export function noteOffline(): void {
  fail("/shop.json", "unreachable");
}

/** The browser has a network again. A request that failed without it is no sign of an outage. */
export function noteOnline(): void {
  failures.clear();
  show();
}

/** Calls `action` once, when every service answers again. */
export function onceReached(action: () => void): () => void {
  const stop = reach.watch(() => {
    if (reach.value !== "reached") return;
    stop();
    action();
  });
  return stop;
}

/** The failures at this moment. */
export function openFailures(): readonly Failure[] {
  return [...failures.values()];
}

/** Whether no request of the service has succeeded or failed since. */
export function isUntouched(failure: Failure): boolean {
  return failures.get(serviceOf(failure.url)) === failure;
}

function fail(url: string, kind: Failure["kind"], waitMs = 0): void {
  failures.set(serviceOf(url), { kind, url, notBefore: performance.now() + waitMs });
  show();
}

function show(): void {
  reach.set(present());
}

function present(): Reach {
  if (failures.size === 0) return "reached";
  // `onLine` may be false in a browser with a network: the requests decide, this only names it.
  if (!navigator.onLine) return "offline";
  const silent = [...failures.values()].some(({ kind }) => kind === "unreachable");
  return silent ? "unreachable" : "unavailable";
}

function serviceOf(url: string): string {
  return /^\/api\/(\w+)/.exec(url)?.[1] ?? "shop";
}

/** A problem's code; undefined for the reply of another server. */
async function codeOf(response: Response): Promise<unknown> {
  try {
    return ((await response.json()) as { code?: unknown } | null)?.code;
  } catch {
    return undefined;
  }
}
