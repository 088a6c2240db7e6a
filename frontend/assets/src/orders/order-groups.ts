// The groups of the list of orders: what is held orders, orders to come, and the rest.
import type { Order, OrderLine, Show } from "../shared/api-types";
import { isHeld } from "../shared/order-status";
import { salesOf } from "../shared/show-sales";

type Grouped = Pick<Order, "id" | "status" | "expires_at"> & {
  tickets: readonly Pick<OrderLine, "show_id" | "status">[];
};
type ShowTimes = Pick<Show, "starts_at" | "ends_at" | "sales_end_at" | "status">;
type Shows = ReadonlyMap<string, ShowTimes>;

export interface OrderGroups<O> {
  held: O[];
  /** Bought, for a show that is not over: the next show first. */
  upcoming: O[];
  earlier: O[];
}

/** Each group keeps the order of `orders` where it has none of its own. */
export function groupOrders<O extends Grouped>(orders: readonly O[], shows: Shows): OrderGroups<O> {
  const groups: OrderGroups<O> = { held: [], upcoming: [], earlier: [] };
  const starts = new Map<O, number>();
  for (const order of orders) {
    const start = isBought(order) ? nextStart(order, shows) : Infinity;
    starts.set(order, start);
    if (isHeld(order)) groups.held.push(order);
    else if (start < Infinity) groups.upcoming.push(order);
    else groups.earlier.push(order);
  }
  groups.upcoming.sort((one, other) => (starts.get(one) ?? 0) - (starts.get(other) ?? 0));
  return groups;
}

/** Changes when an order moves to another group. */
export function groupingOf(orders: readonly Grouped[], shows: Shows): string {
  const { held, upcoming } = groupOrders(orders, shows);
  return [held, upcoming].map((group) => group.map(({ id }) => id).join()).join(";");
}

/** A refunded ticket is no longer the buyer's. */
function isBought({ status }: Grouped): boolean {
  return status === "confirmed" || status === "completed" || status === "refund_pending";
}

/** The first start among the order's shows that are not over; Infinity if there is none. */
function nextStart({ tickets }: Grouped, shows: Shows): number {
  const starts = tickets.map(({ show_id, status }) => {
    const show = status === "refunded" ? null : shows.get(show_id);
    return show && salesOf(show) !== "over" ? Date.parse(show.starts_at) : Infinity;
  });
  return Math.min(...starts);
}
