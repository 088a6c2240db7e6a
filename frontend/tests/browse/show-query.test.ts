import { afterEach, describe, expect, test, vi } from "vitest";

import { isMonth, monthsUntil, queryOf } from "../../assets/src/browse/show-query";

afterEach(() => {
  vi.useRealTimers();
});

/** Noon of a day, where the tests run. */
function today(year: number, month: number, day: number): void {
  vi.useFakeTimers({ now: new Date(year, month - 1, day, 12) });
}

/** The first and the last day that the query names. */
function daysOf(when: string): (string | null)[] {
  const query = new URLSearchParams(queryOf(new URLSearchParams({ when })));
  return ["first_day", "last_day"].map((name) => query.get(name));
}

test("an address becomes a query, without what the API does not know", () => {
  const address = new URLSearchParams({ q: "jazz", city: "Vienna", sort: "", utm_source: "x" });
  expect(queryOf(address)).toBe("q=jazz&city=Vienna");
  expect(queryOf(new URLSearchParams())).toBe("");
});

describe("days", () => {
  test.each([
    ["a Monday", 23],
    ["a Friday", 27],
    ["a Saturday", 28],
    ["a Sunday", 29],
  ])("on %s the weekend is from Friday to Sunday", (_, day) => {
    today(2026, 11, day);
    expect(daysOf("weekend")).toEqual(["2026-11-27", "2026-11-29"]);
  });

  test("the next seven days end with the day before the same weekday", () => {
    today(2026, 12, 28);
    expect(daysOf("week")).toEqual([null, "2027-01-03"]);
  });

  test("a month is from its first day to its last", () => {
    today(2026, 11, 20);
    expect(daysOf("2026-11")).toEqual(["2026-11-01", "2026-11-30"]);
    expect(daysOf("2028-02")).toEqual(["2028-02-01", "2028-02-29"]);
  });

  test.each(["", "soon", "2026-13", "2026-1"])("%j is any date", (when) => {
    today(2026, 11, 20);
    expect(daysOf(when)).toEqual([null, null]);
    expect(isMonth(when)).toBe(false);
  });
});

test("the months end with that of the last show", () => {
  today(2026, 11, 20);
  const values = (last: string | null) => monthsUntil(last).map(([value]) => value);
  expect(values("2027-01-15T20:00:00Z")).toEqual(["2026-11", "2026-12", "2027-01"]);
  expect(values("2026-11-29T20:00:00Z")).toEqual(["2026-11"]);
  expect(values(null)).toEqual([]);
});
