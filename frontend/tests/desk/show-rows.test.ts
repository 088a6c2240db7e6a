import { expect, test } from "vitest";

import { showRowsOf } from "../../assets/src/desk/show-rows";

const counts = [
  { show_id: "quiet", listed: 9, free: 9, held: 0, sold: 0 },
  { show_id: "busy", listed: 6, free: 1, held: 2, sold: 3 },
];
const revenue = [{ currency: "EUR", amount: 9000, sold: 2, refunded: 1, refunded_amount: 4500 }];

test("a row has the tickets of a show now and its sales in the period", () => {
  const sales = [
    { show_id: "busy", sold: 2, refunded: 1, revenue },
    { show_id: "gone", sold: 0, refunded: 1, revenue: [] },
  ];
  const rows = showRowsOf(counts, sales, new Map());
  expect(rows.map(({ id }) => id)).toEqual(["busy", "gone", "quiet"]);
  expect(rows[0]).toMatchObject({ listed: 6, free: 1, held: 2, sold: 2, refunded: 1, revenue });
  expect(rows[1]).toMatchObject({ listed: 0, free: 0, held: 0, sold: 0, refunded: 1 });
  expect(rows[2]).toMatchObject({ listed: 9, free: 9, held: 0, sold: 0, revenue: [] });
});
