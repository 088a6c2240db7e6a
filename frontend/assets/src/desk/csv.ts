// CSV for spreadsheets: RFC 4180 in UTF-8, with the byte order mark by which Excel recognizes it.
// There is no line `sep=;`: with one, Excel reads the file in the encoding of the machine.
import type { TextId } from "../shared/texts";

const BYTE_ORDER_MARK = "\ufeff";
// Excel and LibreOffice run a cell that begins with one of these, Excel in East Asian locales also
// with their fullwidth forms. A file that is opened with another separator has cells that begin
// inside a text: after any separator, where a quote may stand too.
const FORMULA = /(?<=(?:^|[,;|])[\s\p{C}"]*)(?=[=+\-@%|\uff1d\uff0b\uff0d\uff20])/gu;

/** How a file separates cells and fractions. A spreadsheet expects those of its own locale. */
export interface FileType {
  id: "comma" | "semicolon";
  label: TextId;
  separator: "," | ";";
  decimalMark: "." | ",";
}

export const COMMA: FileType = {
  id: "comma",
  label: "desk.file_commas",
  separator: ",",
  decimalMark: ".",
};
export const SEMICOLON: FileType = {
  id: "semicolon",
  label: "desk.file_semicolons",
  separator: ";",
  decimalMark: ",",
};
export const FILE_TYPES: readonly FileType[] = [COMMA, SEMICOLON];

/** A number with a decimal point, such as "-5" or "50.00". */
export class Decimal {
  readonly text: string;

  constructor(text: string) {
    if (!/^-?\d+(\.\d+)?$/.test(text)) throw new RangeError(`${text} is no number`);
    this.text = text;
  }
}

export type Cell = string | Decimal | null | undefined;

/** The type that a spreadsheet of this locale opens, by default of the reader's. */
export function usualFileType(locale?: string): FileType {
  const parts = new Intl.NumberFormat(locale).formatToParts(1.5);
  return parts.some(({ type, value }) => type === "decimal" && value === ",") ? SEMICOLON : COMMA;
}

export function csv(lines: readonly (readonly Cell[])[], type: FileType): string {
  const text = lines.map(
    (cells) => cells.map((cell) => encodeCell(cell, type)).join(type.separator) + "\r\n",
  );
  return BYTE_ORDER_MARK + text.join("");
}

/**
 * A text is quoted and on one line, and gets an apostrophe wherever a spreadsheet could read the
 * beginning of a formula: buyers and sellers write it.
 */
function encodeCell(cell: Cell, type: FileType): string {
  if (cell instanceof Decimal) return cell.text.replace(".", type.decimalMark);
  if (!cell) return "";
  const line = cell.replace(/\p{Cc}+/gu, " ");
  return `"${line.replace(FORMULA, "'").replaceAll('"', '""')}"`;
}

/** Saves a text as a file on the visitor's machine. */
export function download(name: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => {
    URL.revokeObjectURL(url);
  }, 10_000);
}
