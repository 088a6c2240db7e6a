// The periods of the desk. Each filter of the page is of one period and of one show, or of all.
import type { TextId } from "../shared/texts";
import { readersDay } from "../shared/time-zones";
import type { SaleRow } from "./sales-feed";

/** A period that ends today. It is compared with as long a time before it. */
export interface Period {
  id: "today" | "week" | "month";
  /** On its button, in a sentence, and the words for the time before. */
  label: TextId;
  words: TextId;
  before: TextId;
  days: number;
  by: "hour" | "day";
}

export const WEEK: Period = {
  id: "week",
  label: "desk.week",
  words: "desk.week_words",
  before: "desk.week_before",
  days: 7,
  by: "day",
};
export const PERIODS: readonly Period[] = [
  {
    id: "today",
    label: "desk.today",
    words: "desk.today_words",
    before: "desk.today_before",
    days: 1,
    by: "hour",
  },
  WEEK,
  {
    id: "month",
    label: "desk.month",
    words: "desk.month_words",
    before: "desk.month_before",
    days: 30,
    by: "day",
  },
];

/** The desk's filters: its totals, chart, lists and export share them. */
export interface DeskFilter {
  period: Period;
  /** Null for all shows. */
  showId: string | null;
}

/** The midnight in the reader's zone at which the period began. */
export function startOf({ days }: Period, now: number): string {
  const [year = 0, month = 1, day = 1] = readersDay(now).split("-").map(Number);
  return new Date(year, month - 1, day - days + 1).toISOString();
}

/** Whether a sale is of the filter's show, and of its period or still held. */
export function isShown(sale: SaleRow, { period, showId }: DeskFilter, now: number): boolean {
  if (showId !== null && sale.show_id !== showId) return false;
  const isOpen = sale.status === "held" || sale.status === "paying";
  return isOpen || placedAt(sale) >= Date.parse(startOf(period, now));
}

/** A message has no `created_at`; an order's id, a UUIDv7, begins with its time. */
function placedAt({ order_id }: SaleRow): number {
  return Number.parseInt(order_id.replaceAll("-", "").slice(0, 12), 16);
}
