// One order in the list, with its countdown while it is held.
import { memo } from "react";
import { Link } from "react-router";

import { useSecondsUntil } from "../shared/clock";
import { dayAndTime, minutes, money, showTime } from "../shared/format";
import type { Live } from "../shared/live-rows";
import { useValue } from "../shared/observable";
import { countdownSeconds, urgencyOf } from "../shared/order-status";
import type { OrderRow } from "../shared/push-messages";
import { showArt } from "../shared/show-art";
import { shows, type ShowTickets, ticketsByShow } from "../shared/shows-by-id";
import type { SiteConfig } from "../shared/site-config";
import { text, type TextId } from "../shared/texts";
import { ticketNames } from "../shared/tickets";
import { ShowChange } from "../shared/ui/show-change";
import { TimeRing } from "../shared/ui/time-ring";

/** The words for an order's status, and their class. */
const STATUSES: Partial<Record<OrderRow["status"], [text: TextId, className: string]>> = {
  confirmed: ["orders.confirmed", "held"],
  completed: ["orders.completed", "free"],
  cancelled: ["orders.cancelled", ""],
  refund_pending: ["orders.refund_pending", "held"],
  refunded: ["orders.refunded", ""],
};
const EXPIRED = ["orders.expired", ""] as const;
const WITH_RECEIPT = new Set<OrderRow["status"]>(["completed", "refund_pending", "refunded"]);
const PAID = new Set<OrderRow["status"]>(["confirmed", "completed"]);

interface OrderItemProps {
  order: Live<OrderRow>;
  config: SiteConfig;
  held: boolean;
}

export const OrderItem = memo(function OrderItem({ order, config, held }: OrderItemProps) {
  const known = useValue(shows);
  const groups = ticketsByShow(order, known);
  const firstShow = groups[0]?.showId ?? "";
  const [status, className] = STATUSES[order.status] ?? EXPIRED;
  const names = ticketNames(order.tickets);
  const checkout = `/checkout/${order.id}`;
  return (
    <li
      className={`card order ${order.touched ? "changed" : ""}`}
      data-order={order.id}
      data-status={held ? "held" : order.status}
      data-beat={order.touched % 2}
    >
      <div
        className="order-art"
        style={{ background: showArt(firstShow, known.get(firstShow)?.category) }}
      />
      <div className="order-words">
        {groups.map((group) => (
          <ShowOfOrder key={group.showId} order={order} {...group} />
        ))}
        <p className="note">
          {text("orders.ordered", { number: order.number, time: dayAndTime(order.created_at) })}
        </p>
      </div>
      <div className="order-end">
        <b className={`order-total ${held || PAID.has(order.status) ? "" : "soft"}`}>
          {money(order.total, order.currency)}
        </b>
        {held ? (
          <TimeLeft order={order} config={config} />
        ) : (
          <span className={`order-status ${className}`}>{text(status)}</span>
        )}
        {order.status === "completed" && order.refunded > 0 && (
          <span className="note">
            {text("orders.part_refunded", { amount: money(order.refunded, order.currency) })}
          </span>
        )}
        {held && (
          <Link
            className="button small"
            to={checkout}
            aria-label={text("orders.to_checkout_of", { names })}
          >
            {text("orders.to_checkout")}
          </Link>
        )}
        {WITH_RECEIPT.has(order.status) && (
          <Link
            className="button quiet small"
            to={checkout}
            aria-label={text("orders.receipt_of", { names })}
          >
            {text("orders.receipt")}
          </Link>
        )}
      </div>
    </li>
  );
});

function ShowOfOrder({ order, showId, show, tickets }: ShowTickets & { order: OrderRow }) {
  return (
    <div>
      <h3>{show ? show.title : text("orders.a_show")}</h3>
      <p className="soft">{show && `${showTime(show)} · ${show.venue}, ${show.city}`}</p>
      <ShowChange order={order} showId={showId} />
      <p>{ticketNames(tickets)}</p>
    </div>
  );
}

function TimeLeft({ order, config }: { order: OrderRow; config: SiteConfig }) {
  const seconds = useSecondsUntil(order.expires_at);
  return (
    <span className="order-status held" data-seconds={seconds}>
      <TimeRing
        until={order.expires_at}
        whole={countdownSeconds(order, config)}
        urgency={urgencyOf(seconds)}
      />
      {order.status === "pending"
        ? text("orders.yours_for", { left: minutes(seconds) })
        : text("orders.pay_within", { left: minutes(seconds) })}
    </span>
  );
}
