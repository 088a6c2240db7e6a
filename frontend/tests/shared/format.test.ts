import { expect, test, vi } from "vitest";

import { shortened } from "../../assets/src/shared/format";

const SHOW = { starts_at: "2030-12-04T19:00:00Z", timezone: "Europe/Amsterdam" };

test("a text is shortened by characters and not by UTF-16 units", () => {
  expect(shortened("🩷🩷🩷", 3)).toBe("🩷🩷🩷");
  expect(shortened("🩷🩷🩷🩷", 3)).toBe("🩷🩷🩷");
  expect(shortened("abcd", 3)).toBe("abc");
  expect(shortened("abcd")).toBe("abcd");
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
