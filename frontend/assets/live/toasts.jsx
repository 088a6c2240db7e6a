// Short notices. They are said to screen readers as well, politely.
import { useEffect } from "react";

import { fullName, money } from "./format.js";
import { Observable, useValue } from "./observable.js";
import { listen } from "./push.js";
import { user } from "./session.js";

const SHOWN_MS = 6000;
const MOST = 3;

const toasts = new Observable([]);
let last = 0;

export function toast(words) {
  const id = (last += 1);
  toasts.set([...toasts.value, { id, words }].slice(-MOST));
  setTimeout(() => dismiss(id), SHOWN_MS);
}

const dismiss = (id) => toasts.set(toasts.value.filter((each) => each.id !== id));

// A notice that was missed is no longer news; the pages themselves show how things stand.
const nothingToRead = async () => {};

/** What happened to the visitor's own orders and sales, on whatever page that finds it. */
function notice(event, data) {
  // Its own page shows it.
  if (data?.order && location.pathname === `/checkout/${data.order.id}`) return;
  if (event === "sale.sold") toast(`Sold: ${fullName(data.sale.ticket)} for ${money(data.sale.amount, data.sale.currency)}.`);
  if (event === "sale.refunded") toast(`Refunded: ${fullName(data.sale.ticket)}, ${money(data.sale.amount, data.sale.currency)}.`);
  if (event === "order.refunded") toast(`Refunded to you: ${money(data.order.total, data.order.currency)}.`);
  if (event === "order.expired") toast("The time of your hold ran out. You were not charged.");
  if (event === "order.completed") toast(`Paid ${money(data.order.total, data.order.currency)}. The tickets are yours.`);
}

export function Toasts() {
  const id = useValue(user)?.id;
  useEffect(() => (id ? listen(`private-user-${id}`, { message: notice, reread: nothingToRead }) : undefined), [id]);
  return (
    <div className="toasts" role="status" aria-live="polite">
      {useValue(toasts).map(({ id, words }) => (
        <p className="toast" key={id}>
          <span>{words}</span>
          <button type="button" aria-label="Dismiss" onClick={() => dismiss(id)}>
            ×
          </button>
        </p>
      ))}
    </div>
  );
}
