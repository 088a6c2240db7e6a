// A ticket as a shopper sees it at this moment, and how many there are of each kind.
import type { FromPrice, Ticket } from "./api-types";
import { serverNow } from "./clock";
import { rulesOf } from "./currencies";
import { fullName, type Seat } from "./format";

/** As many as the API's `from_prices` have. */
const MAX_FROM_PRICES = 5;

const natural = new Intl.Collator(undefined, { numeric: true });

/** "paying": its holder's payment is under way. */
export type Availability = "free" | "held" | "paying" | "sold";

/** A hold past its time is free: the next request for the ticket gets it. */
export function availabilityOf(ticket: Pick<Ticket, "status" | "held_until">): Availability {
  switch (ticket.status) {
    case "held":
      return Date.parse(ticket.held_until ?? "") > serverNow() ? "held" : "free";
    case "reserved":
      return "paying";
    case "available":
      return "free";
    default:
      return "sold";
  }
}

/** Whether the show's page lists it. */
export function isListed(ticket: Pick<Ticket, "status" | "hidden">): boolean {
  return ticket.status !== "withdrawn" && !ticket.hidden;
}

/** Whether a buyer may hold it. */
export function isOffered(ticket: Pick<Ticket, "status" | "held_until" | "hidden">): boolean {
  return !ticket.hidden && availabilityOf(ticket) === "free";
}

export interface TicketCounts {
  free: number;
  /** With those that are being paid for. */
  held: number;
  sold: number;
  /**
   * The lowest price of a free ticket in each currency, that with the most free tickets first, as
   * `from_prices` of the API.
   */
  from: FromPrice[];
}

/** A withdrawn ticket counts nowhere. */
export function countTickets(tickets: readonly Ticket[]): TicketCounts {
  const counts: TicketCounts = { free: 0, held: 0, sold: 0, from: [] };
  const offers = new Map<string, FromPrice & { free: number }>();
  for (const ticket of tickets) {
    if (ticket.status === "withdrawn") continue;
    const availability = availabilityOf(ticket);
    counts[availability === "paying" ? "held" : availability] += 1;
    if (availability !== "free") continue;
    const { currency, price } = ticket;
    const offer = offers.get(currency) ?? { currency, price, free: 0 };
    offer.price = Math.min(offer.price, price);
    offer.free += 1;
    offers.set(currency, offer);
  }
  counts.from = [...offers.values()]
    .sort((one, other) => other.free - one.free || (one.currency < other.currency ? -1 : 1))
    .slice(0, MAX_FROM_PRICES)
    .map(({ currency, price }) => ({ currency, price }));
  return counts;
}

export const sectionOf = ({ section }: Pick<Seat, "section">): string => section || "Tickets";

export function sectionsOf(tickets: readonly Pick<Seat, "section">[]): string[] {
  return [...new Set(tickets.map(sectionOf))].sort((one, other) => natural.compare(one, other));
}

/** The tickets of an order have one currency, and none of their own. */
type Placed = Seat & { id: string; price: number; currency?: string };

/** Sections by name; their tickets by row and seat, those without by currency and price. */
export function bySection<T extends Placed>(tickets: readonly T[]): [string, T[]][] {
  const sections = Map.groupBy(tickets, sectionOf);
  for (const inSection of sections.values()) {
    inSection.sort((one, other) => (sortKeyOf(one) < sortKeyOf(other) ? -1 : 1));
  }
  return [...sections].sort(([one], [other]) => natural.compare(one, other));
}

/** By row and seat. */
export function inSeatOrder<T extends Placed>(tickets: readonly T[]): T[] {
  return tickets.toSorted((one, other) => (sortKeyOf(one) < sortKeyOf(other) ? -1 : 1));
}

/** A text that sorts tickets of several sections by place. */
export const placeOf = (ticket: Placed): string =>
  [padded(sectionOf(ticket)), sortKeyOf(ticket)].join("\u0001");

export const compareNames = natural.compare;

/** When the first hold of the tickets ends. */
export function firstEnd(tickets: readonly Ticket[]): string | undefined {
  return tickets
    .filter((ticket) => availabilityOf(ticket) === "held")
    .map((ticket) => ticket.held_until ?? "")
    .sort()[0];
}

/** A row of a section's list: one ticket, or several that differ in nothing. */
export interface TicketGroup<T> {
  key: string;
  first: T;
  tickets: T[];
}

/**
 * A ticket with a seat has a row of its own. Tickets without one that have the same title, price
 * and seller share a row, which stays however they are held and sold; a selected one has its own
 * row.
 */
export function groupTickets<T extends Ticket>(
  tickets: readonly T[],
  isPicked: (id: string) => boolean,
): TicketGroup<T>[] {
  const groups = new Map<string, TicketGroup<T>>();
  for (const ticket of tickets) {
    const single = ticket.row || ticket.seat || isPicked(ticket.id);
    const { title, price, currency, seller_id } = ticket;
    const key = single ? ticket.id : JSON.stringify([title, price, currency, seller_id]);
    const group = groups.get(key);
    if (group) group.tickets.push(ticket);
    else groups.set(key, { key, first: ticket, tickets: [ticket] });
  }
  return [...groups.values()];
}

const padded = (part: string) => part.replace(/\d+/g, (digits) => digits.padStart(12, "0"));

const sortKeys = new WeakMap<Placed, string>();

/** Natural order: seat 9 before seat 10. Cached, since a busy page sorts in every frame. */
function sortKeyOf(ticket: Placed): string {
  let key = sortKeys.get(ticket);
  if (key === undefined) {
    const { row, seat, currency, price } = ticket;
    const parts = [row ?? "", seat ?? "", currency ?? "", String(price)];
    key = [...parts.map(padded), ticket.id].join("\u0001");
    sortKeys.set(ticket, key);
  }
  return key;
}

/**
 * The cost of an order as `orders.cost` computes it: the fee is rounded once, half away from zero,
 * so that the total ends in the step of the currency.
 */
export function costOf(
  tickets: readonly { price: number }[],
  feePercent: number,
  currency: string,
) {
  const { step } = rulesOf(currency);
  const subtotal = tickets.reduce((sum, ticket) => sum + ticket.price, 0);
  const rounded = Math.floor((subtotal * (100 + feePercent)) / (100 * step) + 0.5);
  const total = step * Math.max(rounded, Math.ceil(subtotal / step));
  return { subtotal, fee: total - subtotal, total };
}

export function ticketNames(tickets: readonly Seat[]): string {
  return new Intl.ListFormat(undefined, { type: "conjunction" }).format(tickets.map(fullName));
}
