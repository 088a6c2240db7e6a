// From the address of the list of shows to the API's query.
import { formatTime } from "../shared/format";
import { text } from "../shared/texts";

/** The query for an address; the empty one finds all upcoming shows. */
export function queryOf(address: URLSearchParams): string {
  const query = new URLSearchParams();
  for (const name of ["q", "city", "category", "sort"]) {
    const value = address.get(name);
    if (value) query.set(name, value);
  }
  const [first, last] = daysOf(address.get("when") ?? "");
  if (first) query.set("first_day", dayText(first));
  if (last) query.set("last_day", dayText(last));
  return query.toString();
}

/** The query for the facets of an address: the same filters. */
export function facetsQueryOf(address: URLSearchParams): string {
  const query = new URLSearchParams(queryOf(address));
  query.delete("sort");
  return query.toString();
}

/** In a sentence: "in Zürich in December 2026"; empty without a city and a date. */
export function placeAndTimeOf(address: URLSearchParams): string {
  const city = address.get("city");
  const when = address.get("when") ?? "";
  const words = [city && text("browse.in_city", { city }), wordsFor(when)];
  return words.filter(Boolean).join(" ");
}

function wordsFor(when: string): string {
  if (when === "weekend") return text("browse.this_weekend");
  if (when === "week") return text("browse.in_7_days");
  return isMonth(when) ? text("browse.in_month", { month: monthText(when) }) : "";
}

/** "December 2026"; empty for what is no month. */
export function monthText(when: string): string {
  const [, year, month] = MONTH.exec(when) ?? [];
  if (!year || !month) return "";
  const first = new Date(Number(year), Number(month) - 1);
  return formatTime(first.toISOString(), { month: "long", year: "numeric" });
}

const MONTH = /^(\d{4})-(0[1-9]|1[0-2])$/;

export const isMonth = (when: string): boolean => MONTH.test(when);

/** The months from the present one to that of the last show: ["2026-12", "December 2026"]. */
export function monthsUntil(last: string | null): [value: string, label: string][] {
  const months: [string, string][] = [];
  const end = last ? new Date(last) : new Date(0);
  const now = new Date();
  for (let month = new Date(now.getFullYear(), now.getMonth()); month <= end;) {
    const value = `${month.getFullYear()}-${String(month.getMonth() + 1).padStart(2, "0")}`;
    months.push([value, formatTime(month.toISOString(), { month: "long", year: "numeric" })]);
    month = new Date(month.getFullYear(), month.getMonth() + 1);
  }
  return months;
}

/** "2026-12-04" */
function dayText(day: Date): string {
  const two = (number: number) => String(number).padStart(2, "0");
  return `${day.getFullYear()}-${two(day.getMonth() + 1)}-${two(day.getDate())}`;
}

/**
 * The first and the last day, which count at each show's venue; none for any. The API leaves out
 * what is over, so only a day in the future needs to be the first.
 */
function daysOf(when: string): [first?: Date, last?: Date] {
  const today = new Date();
  const day = (number: number) =>
    new Date(today.getFullYear(), today.getMonth(), today.getDate() + number);
  const [, year, month] = MONTH.exec(when) ?? [];
  if (year && month) {
    return [new Date(Number(year), Number(month) - 1), new Date(Number(year), Number(month), 0)];
  }
  if (when === "week") return [undefined, day(6)];
  if (when !== "weekend") return [];
  // From Friday to Sunday, also on one of these days: a show of Friday may run until Sunday.
  const fromMonday = (today.getDay() + 6) % 7;
  return [day(4 - fromMonday), day(6 - fromMonday)];
}
