import { createElement } from "react";
import { renderToStaticMarkup } from "react-dom/server";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { secondsUntil } from "../../../assets/src/shared/clock";
import { TimeRing } from "../../../assets/src/shared/ui/time-ring";
import { useFakeTime } from "../../browser";

const WHOLE = 60;
const LARGE = 132;

beforeEach(() => {
  useFakeTime();
});
afterEach(() => {
  vi.useRealTimers();
});

const inSeconds = (seconds: number) => new Date(Date.now() + seconds * 1000).toISOString();

/** The part of the circle that the ring shows. */
function arc(until: string, { whole = WHOLE, size = 22 } = {}): number {
  const markup = renderToStaticMarkup(createElement(TimeRing, { until, whole, size }));
  return 1 - Number(/stroke-dashoffset:([\d.]+)/.exec(markup)?.[1]) / 100;
}

test.each([22, LARGE])("a ring of %d pixels agrees with the digits in each second", (size) => {
  const until = inSeconds(WHOLE);
  for (let second = 0; second <= WHOLE; second += 1) {
    expect(arc(until, { size })).toBeCloseTo(secondsUntil(until) / WHOLE, 5);
    vi.advanceTimersByTime(1000);
  }
});

test("a ring shows the same, however often it is rendered", () => {
  const until = inSeconds(30);
  expect([1, 2, 3].map(() => arc(until))).toEqual([0.5, 0.5, 0.5]);
});

test("a large ring moves five times a second in the last ten, a small one once", () => {
  const until = inSeconds(6.3);
  expect(arc(until, { size: LARGE })).toBeCloseTo(6.4 / WHOLE, 5);
  expect(arc(until)).toBeCloseTo(7 / WHOLE, 5);
});

test("a ring is whole for a longer hold, and empty after the end", () => {
  expect(arc(inSeconds(90))).toBe(1);
  expect(arc(inSeconds(5), { whole: 0 })).toBe(1);
  expect(arc(inSeconds(-3))).toBe(0);
  expect(arc(inSeconds(-3), { whole: 0 })).toBe(0);
});
