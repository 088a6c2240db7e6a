// The shows of orders: each is read once by its id and then kept.
import { get } from "./api";
import type { Order, OrderLine, OrderShow, Show } from "./api-types";
import { showTime } from "./format";
import type { Problem } from "./http";
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

/** The place and time of a show as a page shows them, for the API to compare. */
export type ShownShow = Pick<OrderShow, "venue" | "city" | "starts_at" | "timezone">;

export function shownShow({ venue, city, starts_at, timezone }: ShownShow): ShownShow {
  return { venue, city, starts_at, timezone };
}

/** The shows of a refusal because they moved. */
export function refusedShows(problem: Problem | null): Record<string, ShownShow> {
  const shows = Object.entries(problem?.body.shows ?? {});
  return Object.fromEntries(shows.map(([id, show]) => [id, shownShow(show)]));
}

export function placeText(show: ShownShow): string {
  return `${showTime(show)} · ${show.venue}, ${show.city}`;
}

/** The shows of an order as its pages show them: as bought, or as they are now if that changed. */
export function shownShows(
  order: Pick<Order, "tickets"> & Partial<Pick<Order, "show_changed">>,
): Record<string, ShownShow> {
  return Object.fromEntries(
    order.tickets.map(({ show_id, show }) => [
      show_id,
      shownShow(order.show_changed?.[show_id] ?? show),
    ]),
  );
}

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
