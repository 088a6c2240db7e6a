// Proposals for "how many?": tickets together, the cheapest first.
//
// Seats are together when they are neighbours in one row of one section. Tickets without a seat are
// together when they have the same section and row: their holders find places for themselves. Of
// the places in a gap between taken seats, one that leaves no single seat is proposed if there is
// one. Seats that are not known, such as seats that nobody sells, count as taken.
import type { Ticket } from "../shared/api-types";
import { isOffered, placeOf } from "../shared/tickets";
import { seatNumber, seatStep } from "./seat-rows";

export interface Proposal {
  tickets: readonly Ticket[];
  /** The sum of the prices. */
  total: number;
  currency: string;
  /** False if they are the cheapest ones of different places. */
  together: boolean;
  /** How many single free seats they leave beside them. */
  singles: number;
}

interface Wanted {
  quantity: number;
  /** A buyer cannot hold tickets of their own. */
  userId: string | undefined;
  /** Whether the visitor's filters let the ticket pass. Single seats are counted without them. */
  isWanted?: (ticket: Ticket) => boolean;
  /** The most proposals. */
  limit?: number;
}

/**
 * The proposals, by currency (that with the most free tickets first), then by total, then those
 * that leave no single seat. Without any tickets together, one of tickets apart; none if too few
 * are free.
 */
export function proposalsOf(tickets: readonly Ticket[], wanted: Wanted): Proposal[] {
  const { quantity, userId, isWanted = () => true, limit = 3 } = wanted;
  const isFree = (ticket: Ticket) => isOffered(ticket) && ticket.seller_id !== userId;
  const free = tickets.filter((ticket) => isFree(ticket) && isWanted(ticket));
  const order = currencyOrder(free);
  const found: Proposal[] = [];
  for (const inPlace of Map.groupBy(tickets, placeKey).values()) {
    const [seated, unseated] = partition(inPlace, ({ seat }) => seatNumber(seat) !== null);
    found.push(...ofSeats(seated, quantity, isFree, isWanted));
    found.push(
      ...ofAnyPlaces(
        unseated.filter((each) => isFree(each) && isWanted(each)),
        quantity,
      ),
    );
  }
  if (found.length === 0) found.push(...ofAnyPlaces(free, quantity, false));
  return found
    .sort(
      (one, other) =>
        (order.get(one.currency) ?? 0) - (order.get(other.currency) ?? 0) ||
        one.total - other.total ||
        one.singles - other.singles ||
        comparePlaces(one, other),
    )
    .slice(0, limit);
}

/** The places (see `placeKey`) that have so many tickets together. */
export function placesFor(
  tickets: readonly Ticket[],
  quantity: number,
  userId: string | undefined,
): ReadonlySet<string> {
  const places = new Set<string>();
  const isFree = (ticket: Ticket) => isOffered(ticket) && ticket.seller_id !== userId;
  for (const [place, inPlace] of Map.groupBy(tickets, placeKey)) {
    const [seated, unseated] = partition(inPlace, ({ seat }) => seatNumber(seat) !== null);
    const together = [...gapsOf(seated, isFree), unseated.filter(isFree)];
    if (together.some(({ length }) => length >= quantity)) places.add(place);
  }
  return places;
}

/** The row of a section, in which tickets can be together. */
export const placeKey = ({ section, row }: Ticket) => JSON.stringify([section, row]);

/** The best place of each gap. */
function ofSeats(
  seated: readonly Ticket[],
  quantity: number,
  isFree: (ticket: Ticket) => boolean,
  isWanted: (ticket: Ticket) => boolean,
): Proposal[] {
  return gapsOf(seated, isFree).flatMap((gap) => {
    let best: Proposal | undefined;
    for (let start = 0; start + quantity <= gap.length; start += 1) {
      const chosen = gap.slice(start, start + quantity);
      const [currency, ...others] = new Set(chosen.map((ticket) => ticket.currency));
      if (currency === undefined || others.length > 0 || !chosen.every(isWanted)) continue;
      const after = gap.length - start - quantity;
      const singles = Number(start === 1) + Number(after === 1);
      const total = sumOf(chosen);
      const isBetter =
        !best || singles < best.singles || (singles === best.singles && total < best.total);
      if (isBetter) best = { tickets: chosen, total, currency, together: true, singles };
    }
    return best ?? [];
  });
}

/** The free seats next to each other, in each part of a row that has no taken seat in it. */
function gapsOf(seated: readonly Ticket[], isFree: (ticket: Ticket) => boolean): Ticket[][] {
  const step = seatStep(seated);
  const gaps: Ticket[][] = [];
  const groups = Map.groupBy(seated, ({ seat }) => seatNumber(seat)?.before ?? "");
  for (const group of groups.values()) {
    const places = group
      .map((ticket) => ({ ticket, number: seatNumber(ticket.seat)?.number ?? 0 }))
      .sort((one, other) => one.number - other.number);
    let last = Number.NaN;
    for (const { ticket, number } of places) {
      if (!isFree(ticket)) continue;
      if (number - last === step) gaps.at(-1)?.push(ticket);
      // Two tickets of one seat are from before the rule that a seat is one ticket.
      else if (number !== last) gaps.push([ticket]);
      last = number;
    }
  }
  return gaps;
}

/** The cheapest tickets of each currency. */
function ofAnyPlaces(free: readonly Ticket[], quantity: number, together = true): Proposal[] {
  return [...Map.groupBy(free, (ticket) => ticket.currency)].flatMap(([currency, tickets]) => {
    if (tickets.length < quantity) return [];
    const chosen = tickets.toSorted((one, other) => one.price - other.price).slice(0, quantity);
    return [{ tickets: chosen, total: sumOf(chosen), currency, together, singles: 0 }];
  });
}

function currencyOrder(free: readonly Ticket[]): Map<string, number> {
  const counts = [...Map.groupBy(free, (ticket) => ticket.currency)]
    .map(([currency, tickets]) => ({ currency, count: tickets.length }))
    .sort((one, other) => other.count - one.count || (one.currency < other.currency ? -1 : 1));
  return new Map(counts.map(({ currency }, index) => [currency, index]));
}

const sumOf = (tickets: readonly Ticket[]) => tickets.reduce((sum, { price }) => sum + price, 0);

function comparePlaces(one: Proposal, other: Proposal): number {
  const [first] = one.tickets;
  const [second] = other.tickets;
  return first && second ? placeOf(first).localeCompare(placeOf(second)) : 0;
}

function partition<T>(items: readonly T[], is: (item: T) => boolean): [T[], T[]] {
  const groups = Map.groupBy(items, is);
  return [groups.get(true) ?? [], groups.get(false) ?? []];
}
