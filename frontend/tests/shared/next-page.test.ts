import { describe, expect, it } from "vitest";

import { nextPage } from "../../assets/src/shared/next-page";

describe("the page after signing in", () => {
  it.each([
    ["", "/"],
    ["?next=%2Fdesk", "/desk"],
    ["?next=%2Fshows%2F1%3Fq%3Da%26b%23top", "/shows/1?q=a&b#top"],
    ["?next=%2Fsell%3Fshow%3Dnew", "/sell?show=new"],
  ])("is the page of this site in %s", (search, page) => {
    expect(nextPage(search)).toBe(page);
  });

  it.each([
    "https://evil.example",
    "//evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "/\r\n/evil.example",
    "/.//evil.example",
    "/a/..//evil.example",
    "/%2e//evil.example",
    "\t//evil.example",
    " //evil.example",
    "javascript:alert(1)",
    "desk",
    "/\u0000/evil.example",
    "//[",
  ])("is never another site: %j", (next) => {
    const page = nextPage(`?next=${encodeURIComponent(next)}`);
    for (const origin of ["https://gittix.example", "http://localhost:8000"])
      expect(new URL(page, origin).origin).toBe(origin);
    expect(page).toMatch(/^\/(?![/\\])/);
  });
});
