import { expect, test, vi } from "vitest";

import { clockTime, monthAndDay, shortened, showTime } from "../../assets/src/shared/format";

const timezone = "Europe/Amsterdam";
const starts_at = "2026-12-04T21:00:00Z";
const at = (time: string) => ({ starts_at: time, timezone });
const SHOW = { starts_at: "2030-12-04T19:00:00Z", timezone: "Europe/Amsterdam" };

test("a text is shortened by characters and not by UTF-16 units", () => {
  expect(shortened("🩷🩷🩷", 3)).toBe("🩷🩷🩷");
  expect(shortened("🩷🩷🩷🩷", 3)).toBe("🩷🩷🩷");
  expect(shortened("abcd", 3)).toBe("abc");
  expect(shortened("abcd")).toBe("abcd");
});

test("a show past midnight has the day of its start and the time of its end", () => {
  const ends_at = "2026-12-05T03:00:00Z";
  const start = showTime({ starts_at, timezone, ends_at: null });
  expect(start).toMatch(/Fri/);
  expect(showTime({ starts_at, timezone, ends_at })).toBe(`${start} to ${clockTime(at(ends_at))}`);
});

test("a show of several days has the day of its end", () => {
  const ends_at = "2026-12-06T22:00:00Z";
  expect(showTime({ starts_at, timezone, ends_at })).toBe(
    `${showTime(at(starts_at))} to ${showTime(at(ends_at))}`,
  );
});

test("a browser that does not know the venue's zone shows the time there all the same", () => {
  const known = { starts_at, timezone, ends_at: "2026-12-06T22:00:00Z" };
  const newer = { ...known, timezone: "Mars/Olympus", local_start: "2026-12-04T22:00:00" };
  expect(showTime(newer)).toBe(showTime(known));
  expect(monthAndDay(newer)).toEqual(monthAndDay(known));
  expect(clockTime({ starts_at, timezone: "Mars/Olympus" })).toMatch(/9:00.*UTC/);
});

test.each([
  ["en-US", "8:00 PM"],
  ["en-GB", "20:00"],
])("a time in %s is %s, without a zero that nobody says", async (language, time) => {
  const RealFormat = Intl.DateTimeFormat;
  vi.spyOn(Intl, "DateTimeFormat").mockImplementation(function (_, options) {
    return new RealFormat(language, options);
  });
  vi.resetModules();
  const { clockTime } = await import("../../assets/src/shared/format");
  expect(clockTime(SHOW).replace("\u202f", " ")).toBe(time);
});
