// Data of the signed-in user: read with the session's cookie, and kept live by the private channel
// of that user.
import { useEffect } from "react";

import type { UserFeed } from "./feed";
import { useValue } from "./observable";
import { subscribe } from "./push";
import type { OrderRow } from "./push-messages";
import { user } from "./session";

/** Keep the feed open while the component is mounted. */
export function useUserFeed(feed: UserFeed): void {
  const id = useValue(user)?.id;
  useEffect(() => feed.open(), [feed]);
  useEffect(() => {
    if (id) return subscribe(`private-user-${id}`, feed);
    return undefined;
  }, [feed, id]);
}

const WITH_TICKETS = new Set(["pending", "awaiting_payment", "confirmed", "completed"]);
/** A page subscribes to the changes of this many shows. */
export const MAX_SHOWS = 20;

/** The shows of these orders for which the user holds or has tickets. */
export function showsOf(orders: readonly Pick<OrderRow, "status" | "tickets">[]): string[] {
  const withTickets = orders.filter(({ status }) => WITH_TICKETS.has(status));
  const ids = withTickets.flatMap(({ tickets }) => tickets.map(({ show_id }) => show_id));
  return [...new Set(ids)].slice(0, MAX_SHOWS);
}

/** Keep the feed of these orders live for changes of their shows, such as another date. */
export function useShowChanges(feed: UserFeed, orders: readonly OrderRow[]): void {
  const ids = showsOf(orders).join(" ");
  useEffect(() => {
    const stops = ids ? ids.split(" ").map((id) => subscribe(`changes-${id}`, feed)) : [];
    return () => {
      for (const stop of stops) stop();
    };
  }, [feed, ids]);
}
