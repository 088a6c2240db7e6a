// The server's clock, as the browser estimates it. The browser's own date may be minutes wrong
// and may be changed while a countdown runs, so the estimate is no date of the browser. Time
// advances by performance.now(), which is monotonic. Each response gives the offset, with an error
// of half its round trip. The best estimate is kept until another contradicts it (Cristian's
// algorithm).
//
// performance.now() may stand still while the device sleeps, and the browser's date does not. So a
// forward jump of the date against performance.now() counts as a sleep until the server has
// answered again.
import { useCallback, useSyncExternalStore } from "react";

import type { Ticket } from "./api-types";
import { Observable } from "./observable";

// A crystal oscillator drifts by this much at worst, so the error of an estimate grows with its
// age.
const DRIFT = 0.0001;
const TICK_MS = 200;
const SLEEP_MS = 1000;
// Less than the error of a Date header, which would be a worse estimate than the length of the
// sleep. It replaces the estimate where it contradicts it.
const ERROR_AFTER_SLEEP_MS = 900;

/** In milliseconds: `offset` and `at` refer to performance.now(). */
interface Estimate {
  offset: number;
  error: number;
  at: number;
}

let estimate: Estimate | null = null;

/** How often the device was found to have slept. */
export const sleeps = new Observable(0);

const browserDate = () => Date.now() - performance.now();
let date = browserDate();
let dateReadAt = performance.now();
let awakeSince = 0;

function noticeSleep(): void {
  const [before, since, now] = [date, dateReadAt, performance.now()];
  date = browserDate();
  dateReadAt = now;
  const slept = date - before;
  if (slept < SLEEP_MS + (now - since) * DRIFT) return;
  awakeSince = now;
  if (estimate) {
    estimate = { offset: estimate.offset + slept, error: ERROR_AFTER_SLEEP_MS, at: now };
  }
  // Not at once: a component that renders may have asked for the time.
  setTimeout(() => {
    sleeps.set(sleeps.value + 1);
  });
}

/** The time of a tick, until all components that it changes are rendered. */
let tickTime: number | null = null;

/** Milliseconds since 1970 on the server. */
export function serverNow(): number {
  if (tickTime !== null) return tickTime;
  noticeSleep();
  return estimate ? performance.now() + estimate.offset : Date.now();
}

/** The server's clock read `serverMs` between these two readings of performance.now(). */
export function learnServerTime(
  serverMs: number,
  sentAt: number,
  receivedAt: number,
  uncertainty = 0,
): void {
  noticeSleep();
  // Half of a round trip with a sleep in it is no estimate.
  if (!Number.isFinite(serverMs) || sentAt < awakeSince) return;
  const offset = serverMs - (sentAt + receivedAt) / 2;
  const error = (receivedAt - sentAt) / 2 + uncertainty;
  if (estimate) {
    const aged = estimate.error + (receivedAt - estimate.at) * DRIFT;
    const contradicted = Math.abs(offset - estimate.offset) > error + aged;
    if (!contradicted && error > aged) return;
  }
  estimate = { offset, error, at: receivedAt };
}

/** A hold in a fresh response gives the time of the database, to the millisecond. */
export function learnTimeFromHold(
  rows: readonly Pick<Ticket, "held_until" | "seconds_left">[],
  sentAt: number,
): void {
  for (const { held_until, seconds_left } of rows) {
    if (held_until === null || seconds_left === null) continue;
    learnServerTime(Date.parse(held_until) - seconds_left * 1000, sentAt, performance.now());
    return;
  }
}

/** Seconds until an ISO time, rounded up to a whole or to a part of one; 0 when it has passed. */
export function secondsUntil(time: string, parts = 1): number {
  return Math.max(0, Math.ceil(((Date.parse(time) - serverNow()) * parts) / 1000) / parts);
}

const watchers = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | null = null;

/**
 * Call the watcher at each tick. All read the same time, so that a second does not begin between
 * the digits and the ring beside them. React renders what they change before the next task.
 */
export function watchTicks(watcher: () => void): () => void {
  watchers.add(watcher);
  timer ??= setInterval(() => {
    tickTime = serverNow();
    setTimeout(() => {
      tickTime = null;
    });
    for (const each of watchers) each();
  }, TICK_MS);
  return () => {
    watchers.delete(watcher);
    if (watchers.size > 0 || timer === null) return;
    clearInterval(timer);
    timer = null;
  };
}

/** The value of `read()`; renders again only when it changes. One timer serves all components. */
export function useClock<T>(read: () => T): T {
  return useSyncExternalStore(watchTicks, read, read);
}

/** 0 without a time. */
export function useSecondsUntil(time: string | null | undefined): number {
  return useClock(useCallback(() => (time ? secondsUntil(time) : 0), [time]));
}

/** Renders again once a second. */
export function useEachSecond(): void {
  useClock(wholeSecond);
}

const wholeSecond = () => Math.floor(serverNow() / 1000);
