import { describe, expect, test } from "vitest";

import { type Period, PERIODS, WEEK } from "../../assets/src/desk/periods";
import { conversionOf, halvesOf, sumOf } from "../../assets/src/desk/sums";
import type { SalesPoint } from "../../assets/src/shared/api-types";

function point(at: string, sums: Partial<SalesPoint> = {}): SalesPoint {
  return { at, held: 0, paying: 0, sold: 0, released: 0, refunded: 0, revenue: [], ...sums };
}

test("sums count all tickets, and the takings of one currency", () => {
  const points = [
    point("2026-11-29T00:00:00Z", {
      sold: 3,
      released: 1,
      revenue: [
        { currency: "EUR", amount: 9000, sold: 2, refunded: 0, refunded_amount: 0 },
        { currency: "JPY", amount: 500, sold: 1, refunded: 0, refunded_amount: 0 },
      ],
    }),
    point("2026-11-30T00:00:00Z", {
      sold: 1,
      refunded: 1,
      revenue: [{ currency: "EUR", amount: 100, sold: 1, refunded: 1, refunded_amount: 4500 }],
    }),
  ];
  expect(sumOf(points, "EUR")).toEqual({
    sold: 4,
    released: 1,
    refunded: 1,
    takings: { amount: 9100, sold: 3, refunded: 1, refunded_amount: 4500 },
  });
  expect(sumOf(points, "JPY").takings).toMatchObject({ amount: 500, sold: 1, refunded: 0 });
  expect(sumOf([], "EUR").takings).toMatchObject({ amount: 0, sold: 0, refunded_amount: 0 });
});

test("a hold that was paid and refunded counts as paid", () => {
  expect(conversionOf({ sold: 1, refunded: 1, released: 1 })).toBe(67);
  expect(conversionOf({ sold: 0, refunded: 0, released: 5 })).toBe(0);
  expect(conversionOf({ sold: 0, refunded: 0, released: 0 })).toBeNull();
});

describe("halvesOf", () => {
  const summaryOf = (period: Period, points: SalesPoint[]) => ({
    timezone: "",
    since: "",
    points,
    filter: { period, showId: null },
  });
  const [today = WEEK] = PERIODS;

  test("fourteen days are two weeks", () => {
    const days = Array.from({ length: 14 }, (_, day) =>
      point(new Date(2026, 10, 17 + day).toISOString()),
    );
    const [before, now] = halvesOf(summaryOf(WEEK, days));
    expect(before).toEqual(days.slice(0, 7));
    expect(now).toEqual(days.slice(7));
  });

  test("a day that has not ended is compared with the same hours of the day before", () => {
    const hours = Array.from({ length: 24 + 9 }, (_, hour) =>
      point(new Date(2026, 10, 29, hour).toISOString()),
    );
    const [before, now] = halvesOf(summaryOf(today, hours));
    expect(now).toEqual(hours.slice(24));
    expect(before).toEqual(hours.slice(0, 9));
  });

  test("nothing has no halves", () => {
    expect(halvesOf(summaryOf(WEEK, []))).toEqual([[], []]);
  });
});
