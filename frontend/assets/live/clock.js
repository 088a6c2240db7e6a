// The server's clock, as this browser estimates it. The browser's own date is never used: it may be minutes wrong, and
// may be set while we count. Time runs on performance.now(), which nobody sets; each answer of a server tells the
// difference, with an error of half its round trip. The best estimate stays until one contradicts it.
import { useCallback, useSyncExternalStore } from "react";

const AGEING = 0.0001; // A crystal drifts by this much at worst, so an estimate's error grows.
const TICK_MS = 200;

let estimate = null; // { offset, error, at }, all in milliseconds

/** Milliseconds since 1970 on the server. */
export function serverNow() {
  return estimate ? performance.now() + estimate.offset : Date.now();
}

/** A server said that it was `serverMs`, somewhere between these two readings of performance.now(). */
export function heard(serverMs, sentAt, receivedAt, uncertainty = 0) {
  if (!Number.isFinite(serverMs)) return;
  const offset = serverMs - (sentAt + receivedAt) / 2;
  const error = (receivedAt - sentAt) / 2 + uncertainty;
  const aged = estimate && estimate.error + (receivedAt - estimate.at) * AGEING;
  const contradicted = estimate && Math.abs(offset - estimate.offset) > error + aged;
  if (!estimate || contradicted || error <= aged) estimate = { offset, error, at: receivedAt };
}

/** A hold in a fresh reply tells the time of the database, to the millisecond. */
export function heardOf(rows, sentAt) {
  const held = rows.find((row) => row.seconds_left !== null);
  if (held) heard(Date.parse(held.held_until) - held.seconds_left * 1000, sentAt, performance.now());
}

/** Whole seconds until an ISO time, rounded up; 0 when it has passed. */
export function secondsUntil(time) {
  return Math.max(0, Math.ceil((Date.parse(time) - serverNow()) / 1000));
}

const watchers = new Set();
let timer = null;

function watchTicks(watcher) {
  watchers.add(watcher);
  timer ??= setInterval(() => watchers.forEach((each) => each()), TICK_MS);
  return () => {
    watchers.delete(watcher);
    if (watchers.size === 0) timer = clearInterval(timer) ?? null;
  };
}

/** What `read()` says of the time. Renders again only when that changes; one timer serves the page. */
export function useClock(read) {
  return useSyncExternalStore(watchTicks, read, read);
}

export function useSecondsUntil(time) {
  return useClock(useCallback(() => (time ? secondsUntil(time) : 0), [time]));
}
