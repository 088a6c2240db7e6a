import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { groupingOf, groupOrders } from "../../assets/src/orders/order-groups";
import { useFakeTime } from "../browser";

const NOW = "2026-11-30T20:00:00Z";

beforeEach(() => {
  useFakeTime(NOW);
});
afterEach(() => {
  vi.useRealTimers();
});

function show(starts_at: string, ends_at: string | null = null) {
  return { starts_at, ends_at, sales_end_at: starts_at, status: "on_sale" as const };
}

const SHOWS = new Map([
  ["last month", show("2026-10-30T20:00:00Z")],
  ["running", show("2026-11-30T18:00:00Z", "2026-12-01T02:00:00Z")],
  ["next week", show("2026-12-07T20:00:00Z")],
  ["next year", show("2027-12-07T20:00:00Z")],
]);

type Status = Parameters<typeof groupOrders>[0][number]["status"];

function order(status: Status, ...shows: string[]) {
  const tickets = shows.map((show_id) => ({ show_id, status: "sold" as const }));
  const expires_at = "2026-11-30T20:00:30Z";
  return { id: `${status} ${shows.join()}`, status, expires_at, tickets };
}

test("tickets for a show that is not over are coming up, the next show first", () => {
  const orders = [
    order("pending", "next week"),
    order("completed", "next year"),
    order("refund_pending", "next week"),
    order("completed", "last month", "running"),
    order("completed", "last month"),
    order("refunded", "next week"),
    order("cancelled", "next week"),
    order("confirmed", "not read yet"),
  ];
  const { held, upcoming, earlier } = groupOrders(orders, SHOWS);
  const ids = [held, upcoming, earlier].map((group) => group.map(({ id }) => id));
  expect(ids).toEqual([
    ["pending next week"],
    ["completed last month,running", "refund_pending next week", "completed next year"],
    ["completed last month", "refunded next week", "cancelled next week", "confirmed not read yet"],
  ]);
});

test("an order moves to the earlier ones when its show is over", () => {
  const orders = [order("completed", "running")];
  const before = groupingOf(orders, SHOWS);
  vi.advanceTimersByTime(6 * 3_600_000 - 1);
  expect(groupingOf(orders, SHOWS)).toBe(before);
  vi.advanceTimersByTime(1);
  expect(groupingOf(orders, SHOWS)).not.toBe(before);
  expect(groupOrders(orders, SHOWS).earlier).toEqual(orders);
});
