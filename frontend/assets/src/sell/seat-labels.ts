// Many seats from few words: rows "A–F" and seats "1–20".
import { text } from "../shared/texts";

export const MAX_TICKETS = 2000;
const MAX_LABEL_LENGTH = 40;

/**
 * The labels in a list of labels and ranges: "A–C, F" is A, B, C, F and "1-20" is 1 to 20. A part
 * that is no range is a label. Throws a RangeError, whose message is for the user.
 */
export function seatLabels(typed: string): string[] {
  const labels = typed
    .split(",")
    .map((part) => part.trim())
    .filter(Boolean)
    .flatMap(expand);
  const repeated = labels.find((label, index) => labels.indexOf(label) !== index);
  if (repeated !== undefined) throw new RangeError(text("sell.label_twice", { label: repeated }));
  if (labels.some((label) => label.length > MAX_LABEL_LENGTH)) {
    throw new RangeError(text("sell.label_too_long", { most: MAX_LABEL_LENGTH }));
  }
  return labels;
}

const RANGE = /^(\d+|\p{L})\s*[-–—]\s*(\d+|\p{L})$/u;

/** The labels of a range; any other part is one label. */
function expand(part: string): string[] {
  const [, from, to] = RANGE.exec(part) ?? [];
  if (from === undefined || to === undefined) return [part];
  const numeric = /\d/.test(from);
  if (numeric !== /\d/.test(to)) return [part];
  const first = numeric ? Number(from) : codeOf(from);
  const last = numeric ? Number(to) : codeOf(to);
  if (last < first) throw new RangeError(text("sell.range_backwards", { range: part }));
  if (last - first >= MAX_TICKETS)
    throw new RangeError(text("sell.range_too_long", { most: MAX_TICKETS }));
  const width = from.startsWith("0") ? from.length : 0;
  return Array.from({ length: last - first + 1 }, (_, step) =>
    numeric ? String(first + step).padStart(width, "0") : String.fromCodePoint(first + step),
  );
}

function codeOf(letter: string): number {
  return letter.codePointAt(0) ?? 0;
}
