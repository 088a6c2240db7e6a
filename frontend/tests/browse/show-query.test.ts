import { afterEach, describe, expect, test, vi } from "vitest";

import { isMonth, monthsUntil, queryOf } from "../../assets/src/browse/show-query";

afterEach(() => {
  vi.useRealTimers();
});

/** Noon of a day, where the tests run. */
function today(year: number, month: number, day: number): void {
  vi.useFakeTimers({ now: new Date(year, month - 1, day, 12) });
}

/** The days from and to which the query finds shows, where the tests run. */
function datesOf(when: string): (string | null)[] {
  const query = new URLSearchParams(queryOf(new URLSearchParams({ when })));
  return ["from", "to"].map((name) => {
    const time = query.get(name);
    if (time === null) return null;
    const date = new Date(time);
    expect([date.getHours(), date.getMinutes()]).toEqual([0, 0]);
    return `${date.getMonth() + 1}/${date.getDate()}`;
  });
}

test("an address becomes a query, without what the API does not know", () => {
  const address = new URLSearchParams({ q: "jazz", city: "Vienna", sort: "", utm_source: "x" });
  expect(queryOf(address)).toBe("q=jazz&city=Vienna");
  expect(queryOf(new URLSearchParams())).toBe("");
});

describe("dates", () => {
  test.each([
    ["a Wednesday", 25, ["11/27", "11/30"]],
    ["a Friday", 27, ["11/27", "11/30"]],
    ["a Saturday", 28, ["11/28", "11/30"]],
    ["a Sunday", 29, ["11/29", "11/30"]],
  ])("on %s the weekend is from %d November on", (_, day, dates) => {
    today(2026, 11, day);
    expect(datesOf("weekend")).toEqual(dates);
  });

  test("the next seven days begin today", () => {
    today(2026, 12, 28);
    expect(datesOf("week")).toEqual(["12/28", "1/4"]);
  });

  test("a month begins today, if it is the present one", () => {
    today(2026, 11, 20);
    expect(datesOf("2026-11")).toEqual(["11/20", "12/1"]);
    expect(datesOf("2026-12")).toEqual(["12/1", "1/1"]);
  });

  test.each(["", "soon", "2026-13", "2026-1"])("%j is any date", (when) => {
    today(2026, 11, 20);
    expect(datesOf(when)).toEqual([null, null]);
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
