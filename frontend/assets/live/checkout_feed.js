// One order and the payment of it: read from the API, kept live by its buyer's channel, the same in every tab.
import { get } from "./api.js";
import { heard } from "./clock.js";
import { LiveRows } from "./live_rows.js";
import { Observable } from "./observable.js";
import { Reading } from "./reading.js";
import { learnShows } from "./shows.js";

export class CheckoutFeed {
  orders = new LiveRows();
  payments = new LiveRows();
  problem = new Observable(null);
  /** Whether Pay was pressed on this page. */
  paidHere = false;
  #reading = new Reading();

  constructor(id) {
    this.id = id;
  }

  /** Read. Returns the way to stop. */
  open() {
    this.#reading.open();
    this.again();
    return () => this.#reading.close();
  }

  /** Read, and keep what went wrong for the page to show. */
  again = () => this.read().catch(() => undefined);

  read = async () => {
    const [orders, payments] = [this.orders.mark(), this.payments.mark()];
    try {
      const found = await this.#reading.latest((signal) => this.#ask(signal));
      if (!found) return;
      this.payments.replace(found.payments, payments);
      this.orders.replace([found.order], orders);
      this.problem.set(null);
    } catch (fault) {
      this.problem.set(fault);
      throw fault;
    }
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
