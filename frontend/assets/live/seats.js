// Many tickets from few words: rows "A–F" and seats "1–20".
export const MOST_TICKETS = 2000;
const LONGEST = 40;

/**
 * The labels that a text names: "A–C, F" is A, B, C, F and "1-20" is 1 to 20. What is no range is a label as it stands.
 * Throws a RangeError whose message says what is wrong.
 */
export function labelsOf(text) {
  const labels = text
    .split(",")
    .map((part) => part.trim())
    .filter(Boolean)
    .flatMap(rangeOf);
  const twice = labels.find((label, index) => labels.indexOf(label) !== index);
  if (twice) throw new RangeError(`${twice} is named twice`);
  const long = labels.find((label) => label.length > LONGEST);
  if (long) throw new RangeError(`${LONGEST} characters at most`);
  return labels;
}

function rangeOf(part) {
  const [, from, to] = part.match(/^(\d+|\p{L})\s*[-–—]\s*(\d+|\p{L})$/u) ?? [];
  if (from === undefined || /\d/.test(from) !== /\d/.test(to)) return [part];
  const numbers = /\d/.test(from);
  const [first, last] = numbers ? [Number(from), Number(to)] : [from.codePointAt(0), to.codePointAt(0)];
  if (last < first) throw new RangeError(`${part} runs backwards`);
  if (last - first >= MOST_TICKETS) throw new RangeError(`${MOST_TICKETS} at most`);
  const label = numbers ? (number) => String(number).padStart(from.startsWith("0") ? from.length : 0, "0") : String.fromCodePoint;
  return Array.from({ length: last - first + 1 }, (_, step) => label(first + step));
}
