// The visitor's own newest orders, for every page: the hold in the header, and the rows of tickets
// that the visitor holds. All components share one feed, which the buyer's channel keeps live.
import { useCallback, useEffect, useMemo } from "react";

import { get } from "./api";
import { learnServerTime, useClock } from "./clock";
import { UserFeed } from "./feed";
import { type Live, LiveRows } from "./live-rows";
import { useValue } from "./observable";
import { isHeld } from "./order-status";
import { subscribe } from "./push";
import type { OrderRow, PushMessage } from "./push-messages";
import { user } from "./session";

// An unpaid order is minutes old at most, so it is among the newest.
const NEWEST = 20;

class OwnOrders extends UserFeed {
  readonly orders = new LiveRows<OrderRow>();
  readonly #userId: string | undefined;
  #components = 0;
  #close: (() => void) | null = null;

  constructor(userId: string | undefined) {
    super();
    this.#userId = userId;
  }

  get userId(): string | undefined {
    return this.#userId;
  }

  /** Keep it live for one more component. Returns the function that ends this. */
  share = (): (() => void) => {
    this.#components += 1;
    if (this.#components === 1 && this.#userId) this.#close = this.open();
    return () => {
      this.#components -= 1;
      if (this.#components === 0) this.#close?.();
    };
  };

  protected override subscribe() {
    return subscribe(`private-user-${this.#userId ?? ""}`, this);
  }

  read = (): Promise<void> => {
    const before = this.orders.snapshot();
    const sentAt = performance.now();
    return this.load(
      (signal) => get("/api/orders", { query: { limit: NEWEST }, signal }),
      ({ items }) => {
        const [first] = items;
        if (first) learnServerTime(Date.parse(first.server_now), sentAt, performance.now());
        this.orders.replace(items, before);
      },
    );
  };

  onMessage = ({ data: { order } }: PushMessage): void => {
    if (order) this.orders.apply(order);
  };
}

let feed = new OwnOrders(undefined);

function feedOf(userId: string | undefined): OwnOrders {
  if (feed.userId !== userId) feed = new OwnOrders(userId);
  return feed;
}

/** The orders that the visitor holds at this moment, that which ends first as the first. */
export function useHeldOrders(): readonly Live<OrderRow>[] {
  const userId = useValue(user)?.id;
  const shared = feedOf(userId);
  useEffect(() => shared.share(), [shared]);
  const { rows } = useValue(shared.orders);
  const held = useClock(useCallback(() => heldIds(rows), [rows]));
  return useMemo(() => {
    const ids = new Set(held.split(" "));
    return rows.filter(({ id }) => ids.has(id)).sort(byEnd);
  }, [rows, held]);
}

const heldIds = (rows: readonly OrderRow[]) =>
  rows
    .filter(isHeld)
    .map(({ id }) => id)
    .join(" ");

const byEnd = (one: OrderRow, other: OrderRow) =>
  Date.parse(one.expires_at) - Date.parse(other.expires_at);
