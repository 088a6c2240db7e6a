import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { useFakeTime } from "../browser";

type Clock = typeof import("../../assets/src/shared/clock");

/** Five minutes ahead of the browser's clock. */
const SERVER_AHEAD_MS = 300_000;
let clock: Clock;

beforeEach(async () => {
  useFakeTime();
  vi.resetModules();
  clock = await import("../../assets/src/shared/clock");
});
afterEach(() => {
  vi.useRealTimers();
});

/** A response that took this long; the server read its clock halfway. */
function respond({ roundTripMs = 0, aheadMs = SERVER_AHEAD_MS, uncertainty = 0 } = {}): void {
  const sentAt = performance.now();
  const readAt = Date.now() + roundTripMs / 2 + aheadMs;
  vi.advanceTimersByTime(roundTripMs);
  clock.learnServerTime(readAt, sentAt, performance.now(), uncertainty);
}

describe("serverNow", () => {
  test("is the browser's date before the first response", () => {
    expect(clock.serverNow()).toBe(Date.now());
  });

  test("is the server's time where the browser's clock is wrong", () => {
    respond({ roundTripMs: 80 });
    expect(clock.serverNow()).toBe(Date.now() + SERVER_AHEAD_MS);
  });

  test("does not follow a change of the browser's clock", () => {
    respond();
    const before = clock.serverNow();
    vi.setSystemTime(Date.now() - 3_600_000);
    vi.advanceTimersByTime(1000);
    expect(clock.serverNow()).toBe(before + 1000);
  });

  test("counts a sleep in which performance.now() stood still", () => {
    respond({ roundTripMs: 20 });
    vi.setSystemTime(Date.now() + 3_600_000);
    expect(clock.serverNow()).toBe(Date.now() + SERVER_AHEAD_MS);
    vi.advanceTimersByTime(100);
    expect(clock.sleeps.value).toBe(1);
    // A Date header is less exact and does not contradict it.
    respond({ roundTripMs: 20, aheadMs: SERVER_AHEAD_MS + 700, uncertainty: 1000 });
    expect(clock.serverNow()).toBe(Date.now() + SERVER_AHEAD_MS);
  });

  test("is the server's again after a change of the browser's clock that seemed a sleep", () => {
    respond({ roundTripMs: 20 });
    const before = clock.serverNow();
    vi.setSystemTime(Date.now() + 3_600_000);
    expect(clock.serverNow()).toBe(before + 3_600_000);
    respond({ roundTripMs: 400, aheadMs: SERVER_AHEAD_MS - 3_600_000, uncertainty: 1000 });
    expect(clock.serverNow()).toBe(before + 400);
  });

  test("ignores a response whose request was sent before a sleep", () => {
    respond({ roundTripMs: 20 });
    const sentAt = performance.now();
    vi.advanceTimersByTime(1);
    vi.setSystemTime(Date.now() + 60_000);
    clock.learnServerTime(Date.now() + SERVER_AHEAD_MS - 30_000, sentAt, performance.now());
    expect(clock.serverNow()).toBe(Date.now() + SERVER_AHEAD_MS);
  });

  test("keeps the estimate with the smallest error", () => {
    respond({ roundTripMs: 20 });
    const best = clock.serverNow() - performance.now();
    respond({ roundTripMs: 400, aheadMs: SERVER_AHEAD_MS + 150 });
    expect(clock.serverNow() - performance.now()).toBe(best);
    respond({ roundTripMs: 2, aheadMs: SERVER_AHEAD_MS + 5 });
    expect(clock.serverNow() - performance.now()).toBe(best + 5);
  });

  test("takes an estimate that contradicts the kept one, however imprecise", () => {
    respond({ roundTripMs: 2 });
    respond({ roundTripMs: 400, aheadMs: SERVER_AHEAD_MS + 5000 });
    expect(clock.serverNow()).toBe(Date.now() + SERVER_AHEAD_MS + 5000);
  });

  test("takes a less precise estimate after hours: the oscillator drifts", () => {
    respond({ roundTripMs: 20 });
    vi.advanceTimersByTime(7_200_000);
    respond({ roundTripMs: 100, aheadMs: SERVER_AHEAD_MS + 40 });
    expect(clock.serverNow()).toBe(Date.now() + SERVER_AHEAD_MS + 40);
  });

  test("ignores a response without a date", () => {
    clock.learnServerTime(Number.NaN, 0, 0);
    expect(clock.serverNow()).toBe(Date.now());
  });
});

test("all watchers of a tick read the same time, and the clock goes on after it", () => {
  respond();
  let reads = 0;
  const now = performance.now.bind(performance);
  const slow = vi.spyOn(performance, "now").mockImplementation(() => now() + (reads += 1));
  const times: number[] = [];
  const stops = [1, 2].map(() => clock.watchTicks(() => times.push(clock.serverNow())));
  vi.advanceTimersByTime(200);
  const [first, second] = times;
  expect(times).toHaveLength(2);
  expect(first).toBe(second);
  vi.advanceTimersByTime(1);
  expect(clock.serverNow()).toBeGreaterThan(Number(first));
  for (const stop of stops) stop();
  slow.mockRestore();
});

test("the first hold of a response gives the time", () => {
  const held_until = new Date(Date.now() + SERVER_AHEAD_MS + 42_000).toISOString();
  const rows = [
    { held_until: null, seconds_left: null },
    { held_until, seconds_left: 42 },
  ];
  clock.learnTimeFromHold(rows, performance.now());
  expect(clock.serverNow()).toBe(Date.now() + SERVER_AHEAD_MS);
});

describe("secondsUntil", () => {
  const inMs = (ms: number) => new Date(clock.serverNow() + ms).toISOString();

  test("is rounded up, and 0 once the time has passed", () => {
    expect(clock.secondsUntil(inMs(59_001))).toBe(60);
    expect(clock.secondsUntil(inMs(1))).toBe(1);
    expect(clock.secondsUntil(inMs(0))).toBe(0);
    expect(clock.secondsUntil(inMs(-5000))).toBe(0);
  });

  test("counts on the server's clock", () => {
    const ends = new Date(Date.now() + SERVER_AHEAD_MS + 60_000).toISOString();
    respond();
    expect(clock.secondsUntil(ends)).toBe(60);
    vi.advanceTimersByTime(18_500);
    expect(clock.secondsUntil(ends)).toBe(42);
  });
});
