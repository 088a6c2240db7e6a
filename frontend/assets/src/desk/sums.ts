// Sums of the points of a sales summary.
import type { SalesPoint, SalesSummary, Takings } from "../shared/api-types";
import { readersDay } from "../shared/time-zones";

/** A period with as long a time before it, to compare with. */
export interface Period {
  label: string;
  /** The words for the time before. */
  before: string;
  /** Of both. */
  days: number;
  by: "hour" | "day";
}

export interface PeriodSummary extends SalesSummary {
  period: Period;
}

export interface Sums {
  /** Tickets by the outcome of their holds. */
  sold: number;
  released: number;
  refunded: number;
  /** The takings in one currency. */
  takings: Pick<Takings, "amount" | "sold">;
}

export function sumOf(points: readonly SalesPoint[], currency: string): Sums {
  const sums: Sums = { sold: 0, released: 0, refunded: 0, takings: { amount: 0, sold: 0 } };
  for (const point of points) {
    sums.sold += point.sold;
    sums.released += point.released;
    sums.refunded += point.refunded;
    const { amount, sold } = takingsOf(point, currency);
    sums.takings.amount += amount;
    sums.takings.sold += sold;
  }
  return sums;
}

export function takingsOf(point: Pick<SalesPoint, "revenue">, currency: string): Sums["takings"] {
  const found = point.revenue.find((takings) => takings.currency === currency);
  return found ?? { amount: 0, sold: 0 };
}

type Outcomes = Pick<Sums, "sold" | "released" | "refunded">;

export function endedOf({ sold, refunded, released }: Outcomes): number {
  return sold + refunded + released;
}

/** The percentage of the ended holds that were paid; null when none has ended. */
export function conversionOf(outcomes: Outcomes): number | null {
  const ended = endedOf(outcomes);
  const paid = outcomes.sold + outcomes.refunded;
  return ended ? Math.round((100 * paid) / ended) : null;
}

/** The points before the period, and those in it. */
export function halvesOf({
  points,
  period: { days, by },
}: PeriodSummary): [before: SalesPoint[], now: SalesPoint[]] {
  const last = points.at(-1);
  if (!last) return [[], []];
  const firstDay = daysBefore(readersDay(last.at), days / 2 - 1);
  const start = points.findIndex((point) => readersDay(point.at) >= firstDay);
  const [before, now] = [points.slice(0, start), points.slice(start)];
  // A day that has not ended is compared with the same hours of the day before.
  return by === "hour" ? [before.slice(0, now.length), now] : [before, now];
}

function daysBefore(day: string, days: number): string {
  const date = new Date(`${day}T00:00Z`);
  date.setUTCDate(date.getUTCDate() - days);
  return date.toISOString().slice(0, 10);
}
