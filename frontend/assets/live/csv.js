// Tables for spreadsheets: RFC 4180, in UTF-8 with the mark that spreadsheets know it by.
const MARK = "\ufeff";

/** Lines of cells as a file's text. */
export function csv(lines) {
  return MARK + lines.map((cells) => cells.map(cell).join(",") + "\r\n").join("");
}

/** A text that a spreadsheet would take for a formula is shown as text: others write titles and labels. */
function cell(value) {
  const text = String(value ?? "");
  const harmless = typeof value !== "number" && /^[\s]*[=+\-@\t\r|%]/.test(text) ? `'${text}` : text;
  return /[",\r\n]|^\s|\s$/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}

/** Hands a text to the visitor as a file. */
export function download(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
