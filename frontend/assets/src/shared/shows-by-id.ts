// The shows of orders: each is read once by its id and then kept.
import { get } from "./api";
import type { Order, OrderLine, OrderShow, Show } from "./api-types";
import { Observable } from "./observable";
import { bySection } from "./tickets";

const MAX_IDS = 100; // that the API takes in one request

export type ShowsById = ReadonlyMap<string, Show>;

/** The shows that were read so far. */
export const shows = new Observable<ShowsById>(new Map());

/** Read the shows of these orders that are not known. */
export async function loadShows(
  orders: readonly Pick<Order, "tickets">[],
  signal: AbortSignal,
): Promise<void> {
  const wanted = new Set(orders.flatMap((order) => order.tickets.map((ticket) => ticket.show_id)));
  const missing = [...wanted].filter((id) => !shows.value.has(id));
  for (let start = 0; start < missing.length; start += MAX_IDS) {
    const ids = missing.slice(start, start + MAX_IDS).join();
    const { items } = await get("/api/shows", { query: { ids, limit: MAX_IDS }, signal });
    shows.set(new Map([...shows.value, ...items.map((show) => [show.id, show] as const)]));
  }
}

/** Read the shows of this order again. Returns those that moved, before and now. */
export async function findMovedShows(
  order: Pick<Order, "tickets">,
): Promise<{ before: Show; now: Show }[]> {
  const ids = [...new Set(order.tickets.map((ticket) => ticket.show_id))];
  const { items } = await get("/api/shows", { query: { ids: ids.join(), limit: MAX_IDS } });
  const moved = items.flatMap((now) => {
    const before = shows.value.get(now.id);
    return before && placeAndTime(before) !== placeAndTime(now) ? [{ before, now }] : [];
  });
  shows.set(new Map([...shows.value, ...items.map((show) => [show.id, show] as const)]));
  return moved;
}

const placeAndTime = ({ starts_at, timezone, venue, city }: Show) =>
  JSON.stringify([starts_at, timezone, venue, city]);

/** The tickets of an order for one of its shows, seats in order. */
export interface ShowTickets {
  showId: string;
  /** As it was when the order was placed. */
  show: OrderShow | undefined;
  tickets: OrderLine[];
}

export function ticketsByShow(order: Pick<Order, "tickets">, known: ShowsById): ShowTickets[] {
  const groups = Map.groupBy(order.tickets, (ticket) => ticket.show_id);
  return [...groups].map(([showId, tickets]) => ({
    showId,
    // A message of an event from before the upgrade has no show.
    show: tickets[0]?.show ?? known.get(showId),
    tickets: bySection(tickets).flatMap(([, seats]) => seats),
  }));
}
