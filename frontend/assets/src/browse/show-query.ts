// From the address of the list of shows to the API's query.
import { formatTime } from "../shared/format";

/** The query for an address; the empty one finds all upcoming shows. */
export function queryOf(address: URLSearchParams): string {
  const query = new URLSearchParams();
  for (const name of ["q", "city", "category", "sort"]) {
    const value = address.get(name);
    if (value) query.set(name, value);
  }
  const dates = datesOf(address.get("when") ?? "");
  if (dates) {
    query.set("from", dates[0].toISOString());
    query.set("to", dates[1].toISOString());
  }
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
  const words = [city && `in ${city}`, wordsFor(when)];
  return words.filter(Boolean).join(" ");
}

function wordsFor(when: string): string {
  if (when === "weekend") return "this weekend";
  if (when === "week") return "in the next 7 days";
  const [, year, month] = MONTH.exec(when) ?? [];
  if (!year || !month) return "";
  const first = new Date(Number(year), Number(month) - 1);
  return `in ${formatTime(first.toISOString(), { month: "long", year: "numeric" })}`;
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

/** From midnight to midnight in the reader's zone, not before today; null for any date. */
function datesOf(when: string): [from: Date, to: Date] | null {
  const today = new Date();
  today.setHours(0, 0, 0, 0);
  const day = (number: number) =>
    new Date(today.getFullYear(), today.getMonth(), today.getDate() + number);
  const [, year, month] = MONTH.exec(when) ?? [];
  if (year && month) {
    const first = new Date(Number(year), Number(month) - 1);
    return [first > today ? first : today, new Date(Number(year), Number(month))];
  }
  if (when === "week") return [today, day(7)];
  if (when !== "weekend") return null;
  // From Friday to the end of Sunday; on a Saturday or Sunday, the rest of that weekend.
  const weekday = today.getDay();
  if (weekday === 6) return [today, day(2)];
  return weekday === 0 ? [today, day(1)] : [day(5 - weekday), day(8 - weekday)];
}
