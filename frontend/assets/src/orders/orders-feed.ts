// The visitor's orders, newest first, as many pages as were requested. The buyer's channel keeps
// them live.
import { getPages } from "../shared/api";
import { learnServerTime } from "../shared/clock";
import { UserFeed } from "../shared/feed";
import { LiveRows } from "../shared/live-rows";
import { Observable } from "../shared/observable";
import type { OrderRow, PushMessage } from "../shared/push-messages";
import { loadShows } from "../shared/shows-by-id";

const PAGE_SIZE = 20;

export class OrdersFeed extends UserFeed {
  readonly orders = new LiveRows<OrderRow>();
  readonly more = new Observable(false);
  #pages = 1;

  readMore = (): void => {
    this.#pages += 1;
    void this.refresh();
  };

  read = (): Promise<void> => {
    const before = this.orders.snapshot();
    return this.load(
      (signal) => this.#fetch(signal),
      ({ items, more }) => {
        this.orders.replace(items, before);
        this.more.set(more);
      },
    );
  };

  async #fetch(signal: AbortSignal): Promise<{ items: OrderRow[]; more: boolean }> {
    const found = await getPages("/api/orders", {
      query: { limit: PAGE_SIZE },
      pages: this.#pages,
      signal,
      onPage: ([first], sentAt) => {
        if (first) learnServerTime(Date.parse(first.server_now), sentAt, performance.now());
      },
    });
    await loadShows(found.items, signal);
    return found;
  }

  onMessage = ({ event, data: { order } }: PushMessage): void => {
    if (event === "show.updated") void this.refresh();
    if (!order) return;
    if (this.orders.row(order.id)) this.orders.apply(order);
    // A read brings a new order with its show, and the server's time to the millisecond.
    else void this.refresh();
  };
}
