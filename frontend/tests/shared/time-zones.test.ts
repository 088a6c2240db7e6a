import { describe, expect, test } from "vitest";

import { instantOf, isKnownZone, wallTimeIn, zonesWith } from "../../assets/src/shared/time-zones";

describe("instantOf", () => {
  test.each([
    // Vienna: clocks go forward on 29 March 2026 at 02:00, back on 25 October at 03:00.
    ["2026-12-04T20:00", "Europe/Vienna", "2026-12-04T19:00:00.000Z"],
    ["2026-07-04T20:00", "Europe/Vienna", "2026-07-04T18:00:00.000Z"],
    ["2026-03-29T01:59", "Europe/Vienna", "2026-03-29T00:59:00.000Z"],
    ["2026-03-29T03:00", "Europe/Vienna", "2026-03-29T01:00:00.000Z"],
    ["2030-12-04T20:00", "Asia/Tokyo", "2030-12-04T11:00:00.000Z"],
    ["2030-12-04T20:00", "Asia/Kolkata", "2030-12-04T14:30:00.000Z"],
    // A half hour of daylight saving.
    ["2026-01-15T20:00", "Australia/Lord_Howe", "2026-01-15T09:00:00.000Z"],
    ["2026-07-15T20:00", "Australia/Lord_Howe", "2026-07-15T09:30:00.000Z"],
    ["2026-06-01T20:00", "Asia/Kathmandu", "2026-06-01T14:15:00.000Z"],
    ["2026-06-01T20:00", "Pacific/Kiritimati", "2026-06-01T06:00:00.000Z"],
    ["2026-06-01T20:00", "UTC", "2026-06-01T20:00:00.000Z"],
    // With seconds, as some browsers write them.
    ["2026-06-01T20:00:00", "UTC", "2026-06-01T20:00:00.000Z"],
  ])("%s in %s is %s", (wallTime, zone, instant) => {
    expect(instantOf(wallTime, zone)).toBe(instant);
  });

  test.each([
    ["2026-03-29T02:30", "Europe/Vienna"],
    ["2026-03-08T02:30", "America/New_York"],
    ["2026-10-04T02:15", "Australia/Lord_Howe"],
  ])("%s does not exist in %s, where clocks are set forward", (wallTime, zone) => {
    expect(instantOf(wallTime, zone)).toBeUndefined();
  });

  test("a time that clocks show twice is the first of the two", () => {
    expect(instantOf("2026-10-25T02:30", "Europe/Vienna")).toBe("2026-10-25T00:30:00.000Z");
    expect(instantOf("2026-11-01T01:30", "America/New_York")).toBe("2026-11-01T05:30:00.000Z");
  });

  test.each(["", "tomorrow", "2026-13-01T20:00"])("%j is no time", (wallTime) => {
    expect(instantOf(wallTime, "Europe/Vienna")).toBeUndefined();
  });
});

test("an instant that is shown in a zone is read back, on each side of a change", () => {
  for (const zone of ["Europe/Vienna", "America/New_York", "Australia/Lord_Howe"]) {
    for (let day = 0; day < 365; day += 1) {
      const instant = new Date(Date.UTC(2026, 0, 1 + day, 12)).toISOString();
      expect(instantOf(wallTimeIn(zone, instant), zone)).toBe(instant);
    }
  }
});

test("midnight is hour 0 of the new day", () => {
  expect(wallTimeIn("Europe/Vienna", "2026-12-31T23:00:00Z")).toBe("2027-01-01T00:00");
});

test("the zone of an old draft is offered even where the browser does not know it", () => {
  const zones = zonesWith("Mars/Olympus");
  expect(zones).toContain("Mars/Olympus");
  expect(zones).toContain("Europe/Vienna");
  expect(new Set(zones).size).toBe(zones.length);
});

test("a zone that the browser does not know throws nothing", () => {
  expect(isKnownZone("Europe/Vienna")).toBe(true);
  expect(isKnownZone("Mars/Olympus")).toBe(false);
});
