// Sums of the points of a sales summary.
import type { SalesPoint, SalesSummary, Takings } from "../shared/api-types";
import { readersDay } from "../shared/time-zones";
import type { DeskFilter } from "./periods";

/** A summary of the filter's period and of as long a time before it. */
export interface FilteredSummary extends SalesSummary {
  filter: DeskFilter;
}

type Amounts = Omit<Takings, "currency">;

export interface Sums {
  /** Tickets by the outcome of their holds. */
  sold: number;
  released: number;
  refunded: number;
  /** The takings in one currency. */
  takings: Amounts;
}

const NOTHING: Amounts = { amount: 0, sold: 0, refunded: 0, refunded_amount: 0 };

export function sumOf(points: readonly SalesPoint[], currency: string): Sums {
  const sums: Sums = { sold: 0, released: 0, refunded: 0, takings: NOTHING };
  for (const point of points) {
    sums.sold += point.sold;
    sums.released += point.released;
    sums.refunded += point.refunded;
    sums.takings = added(sums.takings, takingsOf(point, currency));
  }
  return sums;
}

function added(one: Amounts, other: Amounts): Amounts {
  return {
    amount: one.amount + other.amount,
    sold: one.sold + other.sold,
    refunded: one.refunded + other.refunded,
    refunded_amount: one.refunded_amount + other.refunded_amount,
  };
}

export function takingsOf(point: Pick<SalesPoint, "revenue">, currency: string): Amounts {
  return point.revenue.find((takings) => takings.currency === currency) ?? NOTHING;
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
  filter: {
    period: { days, by },
  },
}: FilteredSummary): [before: SalesPoint[], now: SalesPoint[]] {
  const last = points.at(-1);
  if (!last) return [[], []];
  const firstDay = daysBefore(readersDay(last.at), days - 1);
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
