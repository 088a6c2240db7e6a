// The rows of seats of a section, and which seats are next to each other.
import type { Ticket } from "../shared/api-types";
import { inSeatOrder } from "../shared/tickets";

/** A row of seats, in the order of the seats. */
export interface SeatRow<T> {
  /** The name of the row. */
  name: string;
  tickets: T[];
}

/** A row with fewer seats has no strip. */
export const MIN_STRIP = 4;

/** The rows with enough seats for a strip, by name, and the other tickets. */
export function seatRows<T extends Ticket>(
  tickets: readonly T[],
): { rows: SeatRow<T>[]; others: T[] } {
  const seated = tickets.filter(({ row, seat }) => row && seat);
  const groups = Map.groupBy(inSeatOrder(seated), ({ row }) => row ?? "");
  const rows: SeatRow<T>[] = [];
  const inRows = new Set<T>();
  for (const [name, inRow] of groups) {
    if (inRow.length < MIN_STRIP) continue;
    rows.push({ name, tickets: inRow });
    for (const ticket of inRow) inRows.add(ticket);
  }
  return { rows, others: tickets.filter((ticket) => !inRows.has(ticket)) };
}

/** A seat's number, and what stands before it: "A12" is 12 of "A". Null without a number. */
export function seatNumber(seat: string | null): { before: string; number: number } | null {
  const match = /^(.*?)(\d{1,9})$/.exec(seat?.trim() ?? "");
  return match ? { before: match[1] ?? "", number: Number(match[2]) } : null;
}

/**
 * The step between neighbours in a row: 2 where all of three or more seats are odd, or all even, as
 * in theatres with one kind on each side; else 1.
 */
export function seatStep(tickets: readonly Pick<Ticket, "seat">[]): 1 | 2 {
  const numbers = tickets.flatMap(({ seat }) => seatNumber(seat)?.number ?? []);
  const parities = new Set(numbers.map((number) => number % 2));
  return numbers.length >= 3 && parities.size === 1 ? 2 : 1;
}
