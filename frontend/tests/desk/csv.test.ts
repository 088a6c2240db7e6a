import { expect, test } from "vitest";

import { type Cell, csv } from "../../assets/src/desk/csv";

const lineOf = (...cells: Cell[]) => csv([cells]).slice(1);

test("a file begins with a byte order mark, and its lines end with CR LF", () => {
  expect(csv([["a", "b"], ["c"]])).toBe("\ufeffa,b\r\nc\r\n");
});

test("commas, quotes, line breaks and outer spaces are quoted", () => {
  expect(lineOf("a,b", 'say "hi"', "two\nlines", " padded ")).toBe(
    '"a,b","say ""hi""","two\nlines"," padded "\r\n',
  );
});

test.each(["=1+1", "+1", "-1", "@SUM(A1)", "|calc", "%00", "  =1+1", "\t=1"])(
  "%j is no formula",
  (text) => {
    expect(lineOf(text)).toMatch(/^"?'/);
  },
);

test("a formula in a quoted cell stays harmless", () => {
  expect(lineOf('=HYPERLINK("http://evil","x")')).toBe(`"'=HYPERLINK(""http://evil"",""x"")"\r\n`);
});

test("a negative number stays a number, and nothing is an empty cell", () => {
  expect(lineOf(-5, null, undefined, "")).toBe("-5,,,\r\n");
});
