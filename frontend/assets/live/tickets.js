// What a ticket is to a shopper at this moment, and how many there are of each kind.
import { serverNow } from "./clock.js";
import { fullName } from "./format.js";

const natural = new Intl.Collator(undefined, { numeric: true });

/** "free", "held", "paying" or "sold". A hold past its time is free: whoever asks for the ticket then gets it. */
export function standing(ticket) {
  if (ticket.status === "held") return Date.parse(ticket.held_until) > serverNow() ? "held" : "free";
  if (ticket.status === "reserved") return "paying";
  return ticket.status === "available" ? "free" : "sold";
}

export function counts(tickets) {
  const of = { free: 0, held: 0, sold: 0, from: null, currency: null };
  for (const ticket of tickets) {
    const is = standing(ticket);
    of[is === "paying" ? "held" : is] += 1;
    if (is === "free" && (of.from === null || ticket.price < of.from)) {
      of.from = ticket.price;
      of.currency = ticket.currency;
    }
  }
  return of;
}

export const sectionOf = (ticket) => ticket.section || "Tickets";

export const sectionsOf = (tickets) => [...new Set(tickets.map(sectionOf))].sort(natural.compare);

/** Sections by name, their tickets by row and seat, those without by price. */
export function bySection(tickets) {
  const sections = new Map();
  for (const ticket of tickets) {
    const name = sectionOf(ticket);
    if (!sections.has(name)) sections.set(name, []);
    sections.get(name).push(ticket);
  }
  for (const rows of sections.values()) rows.sort((one, other) => (placeOf(one) < placeOf(other) ? -1 : 1));
  return [...sections].sort(([one], [other]) => natural.compare(one, other));
}

/**
 * The lines of a section. A ticket with a seat has a line of its own. Tickets that nothing tells apart share one, which
 * never goes away, however they are held and sold; those of them that are picked have lines of their own.
 */
export function linesOf(tickets, isPicked) {
  const lines = [];
  const alike = new Map();
  for (const ticket of tickets) {
    const key = ticket.row || ticket.seat ? null : [ticket.title, ticket.price, ticket.currency, ticket.seller_id].join();
    if (key === null || isPicked(ticket.id)) lines.push({ key: ticket.id, tickets: [ticket] });
    else if (alike.has(key)) alike.get(key).tickets.push(ticket);
    else {
      alike.set(key, { key, tickets: [ticket] });
      lines.push(alike.get(key));
    }
  }
  return lines;
}

const places = new WeakMap();

/** Sorts as a person would: seat 9 before seat 10. Made once a row, since a busy page sorts with every frame. */
function placeOf(ticket) {
  let place = places.get(ticket);
  if (place === undefined) {
    const parts = [ticket.row ?? "", ticket.seat ?? "", String(ticket.price)];
    place = [...parts.map((part) => part.replace(/\d+/g, (digits) => digits.padStart(9, "0"))), ticket.id].join("\u0001");
    places.set(ticket, place);
  }
  return place;
}

/** What an order of these costs, as the API will say: the fee is rounded half away from zero, once. */
export function costOf(tickets, feePercent) {
  const subtotal = tickets.reduce((sum, ticket) => sum + ticket.price, 0);
  const fee = Math.floor((subtotal * feePercent) / 100 + 0.5);
  return { subtotal, fee, total: subtotal + fee };
}

export function names(tickets) {
  return new Intl.ListFormat(undefined, { type: "conjunction" }).format(tickets.map(fullName));
}
