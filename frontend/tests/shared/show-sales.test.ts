import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { salesOf } from "../../assets/src/shared/show-sales";
import { useFakeTime } from "../browser";

beforeEach(() => {
  useFakeTime("2026-11-30T20:00:00Z");
});
afterEach(() => {
  vi.useRealTimers();
});

test.each([
  ["before its sales end", "open", ["30T21:00", null, "30T20:01"]],
  ["while it sells at the door", "open", ["30T19:00", "30T23:00", "30T22:00"]],
  ["between the end of sales and the start", "ended", ["30T21:00", null, "30T20:00"]],
  ["past midnight", "started", ["29T22:00", "30T20:01", "29T22:00"]],
  ["the evening it started, without an end", "started", ["30T19:00", null, "30T19:00"]],
  ["after its end", "over", ["30T18:00", "30T20:00", "30T18:00"]],
  ["the day after, without an end", "over", ["30T08:00", null, "30T08:00"]],
  ["years later", "over", ["01T08:00", null, "01T08:00"]],
] as const)("%s a show is %s", (_, sales, times) => {
  const [starts_at, ends_at, sales_end_at] = times.map((time) => time && `2026-11-${time}:00Z`);
  expect(
    salesOf({
      starts_at: starts_at ?? "",
      ends_at: ends_at ?? null,
      sales_end_at: sales_end_at ?? "",
      status: "on_sale",
    }),
  ).toBe(sales);
});

test.each(["postponed", "cancelled"] as const)("a show that is %s sells nothing", (status) => {
  const starts_at = "2026-12-04T20:00:00Z";
  const show = { starts_at, ends_at: null, sales_end_at: starts_at, status };
  expect(salesOf(show)).toBe(status);
});
