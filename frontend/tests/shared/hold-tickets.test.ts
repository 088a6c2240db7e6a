import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { holdRefusalText } from "../../assets/src/shared/hold-tickets";
import { Problem } from "../../assets/src/shared/http";
import { useFakeTime } from "../browser";

beforeEach(() => {
  useFakeTime();
});
afterEach(() => {
  vi.useRealTimers();
});

function refusal(code: string, members: object = {}): string {
  const retry_at = new Date(Date.now() + 90_000).toISOString();
  return holdRefusalText(new Problem(429, { code, retry_at, ...members }), "Row A Seat 1");
}

test("an account with too much unpaid time sees when it can hold again", () => {
  expect(refusal("cooling_down", { limited: "account" })).toBe(
    "You held tickets for a long time and did not pay. You can hold again in 1:30.",
  );
});

test("a buyer whose network has too much unpaid time is not blamed", () => {
  expect(refusal("cooling_down", { limited: "network" })).toBe(
    "Too many tickets were held unpaid from your network. You can hold again in 1:30.",
  );
});

test("a price that rose is named before and now", () => {
  expect(refusal("price_changed", { shown_total: 4725, total: 6300, currency: "EUR" })).toBe(
    "The price has changed from €47.25 to €63.00. " +
      "Nothing is held yet: hold again if you agree.",
  );
});

test("a show that moved is named as it is now", () => {
  const show = {
    title: "Hamlet",
    venue: "River Hall",
    city: "Delft",
    starts_at: "2030-12-04T19:00:00Z",
    timezone: "Europe/Amsterdam",
  };
  expect(refusal("show_changed", { shows: { one: show } })).toMatch(
    /^The show has changed\. It is now .* · River Hall, Delft\. Nothing is held yet/,
  );
});

test("a ticket that the buyer gave up is named, with the time to wait", () => {
  expect(refusal("ticket_given_up")).toBe(
    "You gave Row A Seat 1 up. You can hold again in 1:30; others can now.",
  );
});
