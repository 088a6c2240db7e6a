// The hold that ends first, in the header of every page and in the title of the tab.
import { useEffect } from "react";
import { Link, useLocation } from "react-router";

import { useSecondsUntil } from "../clock";
import { minutes } from "../format";
import { countdownSeconds, urgencyOf } from "../order-status";
import { useHeldOrders } from "../own-orders";
import type { OrderRow } from "../push-messages";
import { useSiteConfig } from "../site-config";
import { text } from "../texts";
import { TimeRing } from "./time-ring";

export function HoldPill() {
  const [first, ...others] = useHeldOrders();
  return first ? <Pill order={first} others={others.length} /> : null;
}

function Pill({ order, others }: { order: OrderRow; others: number }) {
  const seconds = useSecondsUntil(order.expires_at);
  const config = useSiteConfig();
  const { pathname } = useLocation();
  const checkout = `/checkout/${order.id}`;
  const urgency = urgencyOf(seconds);
  const time = minutes(seconds);
  useTitlePrefix(time);
  if (!config) return null;
  const content = (
    <>
      <TimeRing
        until={order.expires_at}
        whole={countdownSeconds(order, config)}
        urgency={urgency}
      />
      <span className="hold-pill-time" aria-hidden="true">
        {time}
      </span>
      <span className="unseen">{text("shared.pay_time_left", { time })}</span>
      {others > 0 && (
        <span className="hold-pill-more">{text("shared.hold_more", { count: others })}</span>
      )}
    </>
  );
  // The checkout of this order has the button that pays.
  if (pathname === checkout) {
    return (
      <span className="hold-pill here" data-seconds={seconds}>
        {content}
      </span>
    );
  }
  return (
    <Link className={`hold-pill ${urgency}`} data-seconds={seconds} to={checkout}>
      {content}
      <b>{text("shared.pay_now")}</b>
    </Link>
  );
}

const PREFIX = /^\d+:\d\d · /;

/** The page itself may set the title at any time, so the prefix is set again with each change. */
function useTitlePrefix(prefix: string): void {
  useEffect(() => {
    document.title = `${prefix} · ${document.title.replace(PREFIX, "")}`;
    return () => {
      document.title = document.title.replace(PREFIX, "");
    };
  }, [prefix]);
}
