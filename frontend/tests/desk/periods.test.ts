import { describe, expect, test } from "vitest";

import { isShown, PERIODS, startOf, WEEK } from "../../assets/src/desk/periods";
import { rowOf, type SaleRow } from "../../assets/src/desk/sales-feed";

const NOW = new Date(2026, 10, 30, 15, 20).getTime();

function saleAt(time: Date, fields: Partial<SaleRow> = {}): SaleRow {
  const hex = time.getTime().toString(16).padStart(12, "0");
  return rowOf({
    order_id: `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-000000000000`,
    ticket_id: "ticket",
    show_id: "show",
    title: null,
    section: null,
    row: null,
    seat: null,
    price: 4500,
    currency: "EUR",
    held_until: null,
    updated_at: new Date(NOW).toISOString(),
    status: "sold",
    ...fields,
  });
}

test("a period begins at a midnight of the reader, and has today as its last day", () => {
  const starts = PERIODS.map((period) => startOf(period, NOW));
  expect(starts).toEqual([
    new Date(2026, 10, 30).toISOString(),
    new Date(2026, 10, 24).toISOString(),
    new Date(2026, 10, 1).toISOString(),
  ]);
});

describe("the filter", () => {
  const filter = { period: WEEK, showId: null };

  test("has the sales of the period, by the time of their order", () => {
    expect(isShown(saleAt(new Date(2026, 10, 24, 0, 0)), filter, NOW)).toBe(true);
    expect(isShown(saleAt(new Date(2026, 10, 23, 23, 59)), filter, NOW)).toBe(false);
  });

  test("has a sale of today that a message brought", () => {
    expect(isShown(saleAt(new Date(NOW)), filter, NOW)).toBe(true);
  });

  test("has the sales of one show only", () => {
    const sale = saleAt(new Date(NOW));
    expect(isShown(sale, { ...filter, showId: "show" }, NOW)).toBe(true);
    expect(isShown(sale, { ...filter, showId: "other" }, NOW)).toBe(false);
  });

  test("has a hold that began before midnight", () => {
    const [today = WEEK] = PERIODS;
    const sale = saleAt(new Date(2026, 10, 29, 23, 59, 50), { status: "held" });
    expect(isShown(sale, { period: today, showId: null }, NOW)).toBe(true);
  });
});
