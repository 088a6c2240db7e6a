// A ticket as a shopper sees it at this moment, and how many there are of each kind.
import type { Ticket } from "./api-types";
import { serverNow } from "./clock";
import { fullName, type Seat } from "./format";

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
  /** The lowest price of a free ticket. */
  from: { price: number; currency: string } | null;
}

export function countTickets(tickets: readonly Ticket[]): TicketCounts {
  const counts: TicketCounts = { free: 0, held: 0, sold: 0, from: null };
  for (const ticket of tickets) {
    const availability = availabilityOf(ticket);
    counts[availability === "paying" ? "held" : availability] += 1;
    if (availability === "free" && (counts.from === null || ticket.price < counts.from.price)) {
      counts.from = { price: ticket.price, currency: ticket.currency };
    }
  }
  return counts;
}

export const sectionOf = (ticket: Seat): string => ticket.section || "Tickets";

export function sectionsOf(tickets: readonly Seat[]): string[] {
  return [...new Set(tickets.map(sectionOf))].sort((one, other) => natural.compare(one, other));
}

type Placed = Seat & { id: string; price: number };

/** Sections by name; their tickets by row and seat, those without by price. */
export function bySection<T extends Placed>(tickets: readonly T[]): [string, T[]][] {
  const sections = Map.groupBy(tickets, sectionOf);
  for (const inSection of sections.values()) {
    inSection.sort((one, other) => (sortKeyOf(one) < sortKeyOf(other) ? -1 : 1));
  }
  return [...sections].sort(([one], [other]) => natural.compare(one, other));
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

const sortKeys = new WeakMap<Placed, string>();

/** Natural order: seat 9 before seat 10. Cached, since a busy page sorts in every frame. */
function sortKeyOf(ticket: Placed): string {
  let key = sortKeys.get(ticket);
  if (key === undefined) {
    const parts = [ticket.row ?? "", ticket.seat ?? "", String(ticket.price)];
    const padded = parts.map((part) => part.replace(/\d+/g, (digits) => digits.padStart(9, "0")));
    key = [...padded, ticket.id].join("\u0001");
    sortKeys.set(ticket, key);
  }
  return key;
}

/** The cost of an order as the API computes it: the fee is rounded once, half away from zero. */
export function costOf(tickets: readonly { price: number }[], feePercent: number) {
  const subtotal = tickets.reduce((sum, ticket) => sum + ticket.price, 0);
  const fee = Math.floor((subtotal * feePercent) / 100 + 0.5);
  return { subtotal, fee, total: subtotal + fee };
}

export function ticketNames(tickets: readonly Seat[]): string {
  return new Intl.ListFormat(undefined, { type: "conjunction" }).format(tickets.map(fullName));
}
