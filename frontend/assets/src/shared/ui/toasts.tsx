// Short notices that vanish by themselves. Screen readers announce them politely.
import { useEffect } from "react";

import { fullName, money } from "../format";
import { Observable, useValue } from "../observable";
import { subscribe } from "../push";
import type { PushMessage } from "../push-messages";
import { user } from "../session";
import { text } from "../texts";

const SHOWN_MS = 6000;
const MAX_SHOWN = 3;

const toasts = new Observable<readonly { id: number; notice: string }[]>([]);
let lastId = 0;

export function toast(notice: string): void {
  const id = (lastId += 1);
  toasts.set([...toasts.value, { id, notice }].slice(-MAX_SHOWN));
  setTimeout(dismiss, SHOWN_MS, id);
}

function dismiss(id: number): void {
  toasts.set(toasts.value.filter((each) => each.id !== id));
}

/** A notice of a change to the visitor's own orders and sales, on any page. */
function notify({ event, data: { order, sale } }: PushMessage): void {
  // The checkout of this order shows the change itself.
  if (order && location.pathname === `/checkout/${order.id}`) return;
  if (sale) {
    const amount = money(sale.amount, sale.currency);
    const name = fullName(sale.ticket);
    if (event === "sale.sold") toast(text("shared.toast_sold", { name, amount }));
    if (event === "sale.refunded") toast(text("shared.toast_sale_refunded", { name, amount }));
  }
  if (order) {
    const total = money(order.total, order.currency);
    if (event === "order.refunded") toast(text("shared.toast_refunded", { total }));
    if (event === "order.expired") {
      toast(text("shared.toast_expired"));
    }
    if (event === "order.completed") toast(text("shared.toast_paid", { total }));
  }
}

// A missed notice is out of date: the pages themselves show the state of orders and sales.
const nothingToRead = () => Promise.resolve();

export function Toasts() {
  const userId = useValue(user)?.id;
  useEffect(() => {
    if (!userId) return undefined;
    return subscribe(`private-user-${userId}`, { onMessage: notify, read: nothingToRead });
  }, [userId]);
  return (
    <div className="toasts" role="status" aria-live="polite">
      {useValue(toasts).map(({ id, notice }) => (
        <p className="toast" key={id}>
          <span>{notice}</span>
          <button
            type="button"
            aria-label={text("shared.dismiss")}
            onClick={() => {
              dismiss(id);
            }}
          >
            ×
          </button>
        </p>
      ))}
    </div>
  );
}
