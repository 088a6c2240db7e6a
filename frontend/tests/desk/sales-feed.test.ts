import { expect, test } from "vitest";

import { rowOf } from "../../assets/src/desk/sales-feed";

const SALE = {
  order_id: "order",
  ticket_id: "ticket",
  show_id: "show",
  title: null,
  section: null,
  row: null,
  seat: null,
  price: 4500,
  currency: "EUR",
  held_until: "2026-11-30T12:01:00Z",
  updated_at: "2026-11-30T12:00:00Z",
} as const;

test("a later status of a sale has a higher version", () => {
  const statuses = ["held", "paying", "released", "sold", "refunded"] as const;
  const versions = statuses.map((status) => rowOf({ ...SALE, status }).version);
  expect(versions).toEqual([...versions].sort((a, b) => a - b));
  expect(new Set(versions).size).toBe(versions.length);
});

test("an extended hold has a higher version than before, and a lower one than any outcome", () => {
  const held = rowOf({ ...SALE, status: "held" }).version;
  const extended = rowOf({ ...SALE, status: "held", held_until: "2026-11-30T12:03:00Z" }).version;
  expect(extended).toBeGreaterThan(held);
  expect(rowOf({ ...SALE, status: "paying" }).version).toBeGreaterThan(extended);
});
