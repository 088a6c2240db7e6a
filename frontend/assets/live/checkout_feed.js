// One order and the payment of it: read from the API, kept live by its buyer's channel, the same in every tab.
import { get } from "./api.js";
import { heard } from "./clock.js";
import { Feed } from "./feed.js";
import { LiveRows } from "./live_rows.js";
import { learnShows } from "./shows.js";

export class CheckoutFeed extends Feed {
  orders = new LiveRows();
  payments = new LiveRows();
  /** Whether Pay was pressed on this page. */
  paidHere = false;

  constructor(id) {
    super();
    this.id = id;
  }

  read = () => {
    const [orders, payments] = [this.orders.mark(), this.payments.mark()];
    return this.take(
      (signal) => this.#ask(signal),
      (found) => {
        this.payments.replace(found.payments, payments);
        this.orders.replace([found.order], orders);
      },
    );
  };

  async #ask(signal) {
    const sentAt = performance.now();
    const order = await get(`/api/orders/${this.id}`, { signal });
    heard(Date.parse(order.server_now), sentAt, performance.now());
    const [payment] = await Promise.all([
      order.payment_id && get(`/api/payments/${order.payment_id}`, { signal }),
      learnShows([order], { signal }),
    ]);
    return { order, payments: payment ? [payment] : [] };
  }

  message = (_event, data) => {
    if (data?.order?.id === this.id) this.orders.apply(data.order);
    if (data?.payment?.order_id === this.id) this.payments.apply(data.payment);
  };
}
