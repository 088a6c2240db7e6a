// The shows that orders are for: read by their ids, once each.
import { get } from "./api.js";
import { Observable } from "./observable.js";
import { bySection } from "./tickets.js";

const MOST = 100; // that the API tells at once

/** Shows by id, as far as they were asked for. */
export const shows = new Observable(new Map());

export async function learnShows(orders, { signal } = {}) {
  const wanted = new Set(orders.flatMap((order) => order.tickets.map((ticket) => ticket.show_id)));
  const missing = [...wanted].filter((id) => !shows.value.has(id));
  for (let start = 0; start < missing.length; start += MOST) {
    const ids = missing.slice(start, start + MOST).join();
    const { items } = await get(`/api/shows?ids=${ids}&limit=${MOST}`, { signal });
    shows.set(new Map([...shows.value, ...items.map((show) => [show.id, show])]));
  }
}

/** An order's tickets by their shows, seats in order: `[[show, tickets], …]`, the show undefined while it isn't known. */
export function byShow(order, known) {
  const groups = Map.groupBy(order.tickets, (ticket) => ticket.show_id);
  return [...groups].map(([id, tickets]) => [known.get(id), bySection(tickets).flatMap(([, seats]) => seats)]);
}
