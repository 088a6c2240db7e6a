import { expect, test } from "vitest";

import { shortened } from "../../assets/src/shared/format";

test("a text is shortened by characters and not by UTF-16 units", () => {
  expect(shortened("🩷🩷🩷", 3)).toBe("🩷🩷🩷");
  expect(shortened("🩷🩷🩷🩷", 3)).toBe("🩷🩷🩷");
  expect(shortened("abcd", 3)).toBe("abc");
  expect(shortened("abcd")).toBe("abcd");
});
