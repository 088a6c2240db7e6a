// The tickets that the visitor holds, so that their rows link to the checkout.
import { useMemo } from "react";

import { useHeldOrders } from "../shared/own-orders";

/** The id of the visitor's unpaid order, by the id of a ticket in it. */
export type OwnHolds = ReadonlyMap<string, string>;

export function useOwnHolds(): OwnHolds {
  const held = useHeldOrders();
  return useMemo(
    () => new Map(held.flatMap(({ id, tickets }) => tickets.map((ticket) => [ticket.id, id]))),
    [held],
  );
}
