// CSV for spreadsheets: RFC 4180 in UTF-8, with the byte order mark by which Excel recognizes it.
const BYTE_ORDER_MARK = "\ufeff";

export type Cell = string | number | null | undefined;

export function csv(lines: readonly (readonly Cell[])[]): string {
  const text = lines.map((cells) => cells.map(encodeCell).join(",") + "\r\n").join("");
  return BYTE_ORDER_MARK + text;
}

/**
 * A text that a spreadsheet would run as a formula gets an apostrophe: buyers and sellers write
 * it.
 */
function encodeCell(value: Cell): string {
  const text = String(value ?? "");
  const formula = typeof value !== "number" && /^\s*[=+\-@\t\r|%]/.test(text);
  const safe = formula ? `'${text}` : text;
  return /[",\r\n]|^\s|\s$/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
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
