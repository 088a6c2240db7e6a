// The visitor's own orders: what is held, with its clock, and what was, newest first.
import { memo, useCallback, useMemo } from "react";
import { Link } from "react-router";

import { get } from "./api.js";
import { heard, useClock, useSecondsUntil } from "./clock.js";
import { useFacts } from "./facts.js";
import { Feed } from "./feed.js";
import { art, dayAndTime, minutes, money, showTime } from "./format.js";
import { LiveRows } from "./live_rows.js";
import { MembersOnly } from "./members.jsx";
import { useMine } from "./mine.js";
import { Observable, useValue } from "./observable.js";
import { isHeld, levelOf, wholeSeconds } from "./orders.js";
import { Ring } from "./ring.jsx";
import { byShow, learnShows, shows } from "./shows.js";
import { Empty, Failed, More, OfflineBanner } from "./states.jsx";
import { names } from "./tickets.js";

const PAGE = 20;

class OrdersFeed extends Feed {
  orders = new LiveRows();
  more = new Observable(false);
  #pages = 1;

  readMore = () => {
    this.#pages += 1;
    return this.again();
  };

  read = () => {
    const began = this.orders.mark();
    return this.take(
      (signal) => this.#ask(signal),
      (found) => {
        this.orders.replace(found.orders, began);
        this.more.set(found.more);
      },
    );
  };

  async #ask(signal) {
    const orders = [];
    let cursor = "";
    for (let page = 0; page < this.#pages && cursor !== null; page += 1) {
      const sentAt = performance.now();
      const answer = await get(`/api/orders?limit=${PAGE}${cursor && `&cursor=${encodeURIComponent(cursor)}`}`, { signal });
      if (answer.items.length) heard(Date.parse(answer.items[0].server_now), sentAt, performance.now());
      orders.push(...answer.items);
      cursor = answer.next_cursor;
    }
    await learnShows(orders, { signal });
    return { orders, more: cursor !== null };
  }

  message = (_event, data) => {
    if (!data?.order) return;
    if (this.orders.row(data.order.id)) this.orders.apply(data.order);
    // An answer brings a new one with its show, and tells the server's time to the millisecond.
    else this.again();
  };
}

export function MyOrders() {
  return (
    <MembersOnly title="Sign in to see your orders" words="What you hold or buy stands here, live, on every device." waiting={<Waiting />}>
      {(buyer) => <BuyersOrders key={buyer.id} />}
    </MembersOnly>
  );
}

function BuyersOrders() {
  const feed = useMemo(() => new OrdersFeed(), []);
  const { rows, ready } = useValue(feed.orders);
  const problem = useValue(feed.problem);
  const more = useValue(feed.more);
  const facts = useFacts();
  useMine(feed);
  // Its ids begin with their time.
  const orders = useMemo(() => [...rows].sort((one, other) => (one.id < other.id ? 1 : -1)), [rows]);
  const held = useClock(useCallback(() => orders.filter(isHeld).length, [orders]));

  if (!ready || !facts) return problem ? <Failed problem={problem} again={feed.again} /> : <Waiting />;
  if (orders.length === 0) return <None />;
  return (
    <>
      <OfflineBanner />
      {held > 0 && <Group title="Yours for now" orders={orders.filter(isHeld)} facts={facts} />}
      {held < orders.length && <Group title="Earlier" orders={orders.filter((order) => !isHeld(order))} facts={facts} />}
      {more && <More read={feed.readMore} />}
    </>
  );
}

function Group({ title, orders, facts }) {
  return (
    <section className="orders" aria-label={title}>
      <h2 className="section-title">{title}</h2>
      <ul>
        {orders.map((order) => (
          <OrderRow key={order.id} order={order} facts={facts} held={isHeld(order)} />
        ))}
      </ul>
    </section>
  );
}

/** What an order's status is called, and how it looks. */
const STATUSES = {
  confirmed: ["Paid, being finished", "held"],
  completed: ["Paid", "free"],
  cancelled: ["Let go, not charged", ""],
  refund_pending: ["Refund on its way", "held"],
  refunded: ["Refunded", ""],
};
const RAN_OUT = ["Ran out, not charged", ""];
const RECEIPTS = new Set(["completed", "refund_pending", "refunded"]);
const PAID = new Set(["confirmed", "completed"]);

const OrderRow = memo(function OrderRow({ order, facts, held }) {
  const known = useValue(shows);
  const groups = byShow(order, known);
  const [words, look] = STATUSES[order.status] ?? RAN_OUT;
  return (
    <li className={`card order ${order.touched ? "changed" : ""}`} data-order={order.id} data-status={held ? "held" : order.status} data-beat={order.touched % 2}>
      <div className="order-art" style={{ background: art(order.tickets[0].show_id) }} />
      <div className="order-words">
        {groups.map(([show, tickets]) => (
          <div key={tickets[0].show_id}>
            <h3>{show ? show.title : "A show"}</h3>
            <p className="soft">
              {show && `${showTime(show)} · ${show.venue}, ${show.city}`}
            </p>
            <p>{names(tickets)}</p>
          </div>
        ))}
        <p className="note">Ordered {dayAndTime(order.created_at)}</p>
      </div>
      <div className="order-end">
        <b className={`order-total ${held || PAID.has(order.status) ? "" : "soft"}`}>{money(order.total, order.currency)}</b>
        {held ? <Running order={order} facts={facts} /> : <span className={`order-status ${look}`}>{words}</span>}
        {held && (
          <Link className="button small" to={`/checkout/${order.id}`} aria-label={`To the checkout of ${names(order.tickets)}`}>
            To the checkout
          </Link>
        )}
        {RECEIPTS.has(order.status) && (
          <Link className="button quiet small" to={`/checkout/${order.id}`} aria-label={`Receipt for ${names(order.tickets)}`}>
            Receipt
          </Link>
        )}
      </div>
    </li>
  );
});

function Running({ order, facts }) {
  const seconds = useSecondsUntil(order.expires_at);
  return (
    <span className="order-status held" data-seconds={seconds}>
      <Ring until={order.expires_at} whole={wholeSeconds(order, facts.payment_grace_seconds)} level={levelOf(seconds)} />
      {order.status === "pending" ? "Yours for" : "Pay within"} {minutes(seconds)}
    </span>
  );
}

function None() {
  return (
    <Empty
      title="No orders yet"
      action={
        <Link className="button primary" to="/">
          See the shows
        </Link>
      }
    >
      What you hold or buy stands here, live, on every device.
    </Empty>
  );
}

/** The page's frame while it is read, in the sizes that it will have. */
function Waiting() {
  return (
    <div className="orders" aria-busy="true">
      <span className="unseen" role="status">
        Loading your orders
      </span>
      <div className="skeleton" style={{ width: 90, height: 21 }} />
      <ul>
        {Array.from({ length: 3 }, (_, index) => (
          <li className="card skeleton order" style={{ height: 136 }} key={index} />
        ))}
      </ul>
    </div>
  );
}
