// The tickets that the visitor holds, so that their rows link to the checkout.
import { useEffect, useState } from "react";

import { get } from "../shared/api";
import type { Order } from "../shared/api-types";
import { LatestRead } from "../shared/latest-read";
import { useValue } from "../shared/observable";
import { isHeld } from "../shared/order-status";
import { subscribe } from "../shared/push";
import type { PushMessage } from "../shared/push-messages";
import { user } from "../shared/session";

/** The id of the visitor's unpaid order, by the id of a ticket in it. */
export type OwnHolds = ReadonlyMap<string, string>;

const NONE: OwnHolds = new Map();
// An unpaid order is minutes old at most, so it is among the newest.
const NEWEST = 20;

export function useOwnHolds(): OwnHolds {
  const userId = useValue(user)?.id;
  const [holds, setHolds] = useState(NONE);
  useEffect(() => {
    if (!userId) return undefined;
    const latest = new LatestRead();
    const read = async () => {
      const found = await latest.run((signal) =>
        get("/api/orders", { query: { limit: NEWEST }, signal }),
      );
      if (found) setHolds(orderByTicket(found.items));
    };
    const refresh = () => void read().catch(() => undefined);
    refresh();
    const onMessage = ({ event }: PushMessage) => {
      if (event.startsWith("order.")) refresh();
    };
    const unsubscribe = subscribe(`private-user-${userId}`, { onMessage, read });
    return () => {
      unsubscribe();
      latest.close();
      setHolds(NONE);
    };
  }, [userId]);
  return holds;
}

function orderByTicket(orders: readonly Order[]): OwnHolds {
  const held = orders.filter(isHeld);
  return new Map(held.flatMap(({ id, tickets }) => tickets.map((ticket) => [ticket.id, id])));
}
