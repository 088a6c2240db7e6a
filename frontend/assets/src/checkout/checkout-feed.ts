// One order and its payment: read from the API, kept live by the buyer's channel.
import { get } from "../shared/api";
import { learnServerTime } from "../shared/clock";
import { UserFeed } from "../shared/feed";
import { LiveRows } from "../shared/live-rows";
import type { OrderRow, PaymentRow, PushMessage } from "../shared/push-messages";
import { loadShows } from "../shared/shows-by-id";

export class CheckoutFeed extends UserFeed {
  /** The order's id, or its number until the order is read. */
  #orderId: string;
  readonly orders = new LiveRows<OrderRow>();
  readonly payments = new LiveRows<PaymentRow>();
  #paidHere = false;

  constructor(orderId: string) {
    super();
    this.#orderId = orderId;
  }

  /** Whether the buyer pressed Pay on this page. */
  get paidHere(): boolean {
    return this.#paidHere;
  }

  payHere(): void {
    this.#paidHere = true;
  }

  read = (): Promise<void> => {
    const [orders, payments] = [this.orders.snapshot(), this.payments.snapshot()];
    return this.load(
      (signal) => this.#fetch(signal),
      (found) => {
        this.payments.replace(found.payments, payments);
        this.orders.replace([found.order], orders);
      },
    );
  };

  async #fetch(signal: AbortSignal): Promise<{ order: OrderRow; payments: PaymentRow[] }> {
    const sentAt = performance.now();
    const order = await get("/api/orders/{id}", { params: { id: this.#orderId }, signal });
    this.#orderId = order.id;
    learnServerTime(Date.parse(order.server_now), sentAt, performance.now());
    const [payments] = await Promise.all([
      this.#fetchPayments(order.payment_id, signal),
      loadShows([order], signal),
    ]);
    return { order, payments };
  }

  async #fetchPayments(id: string | null, signal: AbortSignal): Promise<PaymentRow[]> {
    return id ? [await get("/api/payments/{id}", { params: { id }, signal })] : [];
  }

  onMessage = ({ event, data: { order, payment } }: PushMessage): void => {
    if (event === "show.updated") void this.refresh();
    if (order?.id === this.#orderId) this.orders.apply(order);
    if (payment?.order_id === this.#orderId) this.payments.apply(payment);
  };
}
