// From the address of the list to the API's question: what is asked, and between which days.

/** The API's question for an address; the empty one asks for all shows to come. */
export function questionOf(params) {
  const question = new URLSearchParams();
  for (const name of ["q", "city", "category", "sort"]) {
    if (params.get(name)) question.set(name, params.get(name));
  }
  const [from, to] = datesOf(params.get("when") ?? "");
  if (from) question.set("from", from.toISOString());
  if (to) question.set("to", to.toISOString());
  return question.toString();
}

const MONTH = /^(\d{4})-(0[1-9]|1[0-2])$/;

export const isMonth = (when) => MONTH.test(when);

/** The months from this one to that of the last show: ["2026-12", "December 2026"]. */
export function monthsUntil(last) {
  const months = [];
  const words = new Intl.DateTimeFormat(undefined, { month: "long", year: "numeric" });
  const end = last ? new Date(last) : new Date(0);
  const now = new Date();
  for (let month = new Date(now.getFullYear(), now.getMonth()); month <= end; ) {
    months.push([`${month.getFullYear()}-${String(month.getMonth() + 1).padStart(2, "0")}`, words.format(month)]);
    month = new Date(month.getFullYear(), month.getMonth() + 1);
  }
  return months;
}

/** From midnight to midnight where the reader is, not before today. */
function datesOf(when) {
  const today = new Date();
  today.setHours(0, 0, 0, 0);
  const day = (number) => new Date(today.getFullYear(), today.getMonth(), today.getDate() + number);
  const weekday = today.getDay();
  const month = MONTH.exec(when);
  if (month) {
    const [first, next] = [0, 1].map((later) => new Date(Number(month[1]), Number(month[2]) - 1 + later));
    return [first > today ? first : today, next];
  }
  switch (when) {
    case "weekend":
      // From Friday to Sunday night; on a Saturday or Sunday, what is left of it.
      if (weekday === 6) return [today, day(2)];
      return weekday === 0 ? [today, day(1)] : [day(5 - weekday), day(8 - weekday)];
    case "week":
      return [today, day(7)];
    default:
      return [null, null];
  }
}
