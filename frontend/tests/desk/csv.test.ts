import { expect, test } from "vitest";

import {
  type Cell,
  COMMA,
  csv,
  Decimal,
  FILE_TYPES,
  SEMICOLON,
  usualFileType,
} from "../../assets/src/desk/csv";

const lineOf = (...cells: Cell[]) => csv([cells], COMMA).slice(1);
const FORMULAS = [
  "=1+1",
  "+1",
  "-1",
  "@SUM(A1)",
  "|calc",
  "%00",
  "＝1+1",
  "＋1",
  "－1",
  "＠SUM(A1)",
];

/** The cells of one line, read as Excel does: a quote quotes only at the beginning of a cell. */
function cellsOf(line: string, separator: string): string[] {
  const cells: string[] = [];
  let rest = line.replace(/^\ufeff/, "");
  do {
    const quoted = /^"((?:[^"]|"")*)"?/.exec(rest);
    rest = rest.slice(quoted?.[0].length ?? 0);
    const end = rest.indexOf(separator);
    const plain = end < 0 ? rest : rest.slice(0, end);
    cells.push((quoted?.[1]?.replaceAll('""', '"') ?? "") + plain);
    rest = end < 0 ? "" : rest.slice(end + 1);
  } while (rest);
  return cells;
}

test("a file begins with a byte order mark, and its lines end with CR LF", () => {
  expect(csv([["a", "b"], ["c"]], COMMA)).toBe('\ufeff"a","b"\r\n"c"\r\n');
});

test("every text is quoted and on one line", () => {
  expect(lineOf("plain", "a,b", 'say "hi"', "two\r\n\tlines", " padded ")).toBe(
    '"plain","a,b","say ""hi""","two lines"," padded "\r\n',
  );
});

test.each(
  FORMULAS.flatMap((each) => [each, `  ${each}`, `\t${each}`, `\u200b${each}`, `"${each}`]),
)("%j is no formula", (text) => {
  const [cell] = cellsOf(lineOf(text), COMMA.separator);
  expect(cell).toMatch(/^[\s\p{Cf}"]*'/u);
  expect(cell?.replace("'", "")).toBe(text.replace("\t", " ") + "\r\n");
});

const PLACES = [
  "a;$",
  "a,$",
  "a; $",
  'a;"$',
  'a;""$',
  'a"; "$',
  "a|$",
  "a\n$",
  "a\r$",
  "a;b;\t$",
  ";$",
];

test.each(FORMULAS.flatMap((each) => PLACES.map((place) => place.replace("$", () => each))))(
  "%j is no formula with any separator",
  (text) => {
    for (const type of FILE_TYPES) {
      for (const separator of [",", ";", "\t", "|"]) {
        const line = csv([["x", text, new Decimal("1.50"), text]], type).trimEnd();
        for (const cell of cellsOf(line, separator)) {
          expect(cell).not.toMatch(/^[\s\p{C}"]*[=+\-@%\uff1d\uff0b\uff0d\uff20]/u);
        }
      }
    }
  },
);

test("a text with a hyphen or an address keeps its characters", () => {
  expect(lineOf("Balcony - left", "a@b.example", "3-4", "50%")).toBe(
    '"Balcony - left","a@b.example","3-4","50%"\r\n',
  );
});

test("a number is a number with the decimal mark of the file, and nothing is an empty cell", () => {
  const cells = [new Decimal("-5"), new Decimal("1234.50"), null, undefined, ""];
  expect(csv([cells], COMMA)).toBe("\ufeff-5,1234.50,,,\r\n");
  expect(csv([cells], SEMICOLON)).toBe("\ufeff-5;1234,50;;;\r\n");
  expect(() => new Decimal("=1")).toThrow(RangeError);
});

test.each([
  ["de-DE", "semicolon"],
  ["fr", "semicolon"],
  ["nl-BE", "semicolon"],
  ["en-US", "comma"],
  ["de-CH", "comma"],
  ["ja", "comma"],
])("a spreadsheet in %s expects the file with %ss", (locale, id) => {
  expect(usualFileType(locale).id).toBe(id);
});
