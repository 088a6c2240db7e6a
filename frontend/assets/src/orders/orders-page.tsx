// The visitor's own orders: those that are held, with their countdown, those for shows to come, and
// earlier ones.
import { useCallback, useMemo, useState } from "react";
import { Link } from "react-router";

import { useClock } from "../shared/clock";
import { useValue } from "../shared/observable";
import { isHeld } from "../shared/order-status";
import type { OrderRow } from "../shared/push-messages";
import { shows } from "../shared/shows-by-id";
import { type SiteConfig, useSiteConfig } from "../shared/site-config";
import { text } from "../shared/texts";
import { Empty, Failed, MoreButton } from "../shared/ui/page-states";
import { SignedInOnly } from "../shared/ui/signed-in-only";
import { useShowChanges, useUserFeed } from "../shared/use-user-feed";
import type { Live } from "../shared/live-rows";
import { groupingOf, groupOrders } from "./order-groups";
import { OrderItem } from "./order-item";
import { OrdersFeed } from "./orders-feed";

export function OrdersPage() {
  return (
    <SignedInOnly title={text("orders.sign_in")} words={text("orders.about")} waiting={<Waiting />}>
      {(buyer) => <Orders key={buyer.id} />}
    </SignedInOnly>
  );
}

function Orders() {
  const [feed] = useState(() => new OrdersFeed());
  const { rows, ready } = useValue(feed.orders);
  const problem = useValue(feed.problem);
  const more = useValue(feed.more);
  const config = useSiteConfig();
  useUserFeed(feed);
  useShowChanges(feed, rows);
  // Newest first: the ids are UUIDv7, which begin with their time.
  const orders = useMemo(() => [...rows].sort((a, b) => (a.id < b.id ? 1 : -1)), [rows]);
  const known = useValue(shows);
  useClock(useCallback(() => groupingOf(orders, known), [orders, known]));

  if (!ready || !config) {
    return problem ? <Failed problem={problem} retry={() => void feed.refresh()} /> : <Waiting />;
  }
  if (orders.length === 0) return <NoOrders />;
  const { held, upcoming, earlier } = groupOrders(orders, known);
  return (
    <>
      <Group title={text("orders.now")} orders={held} config={config} />
      <Group title={text("orders.coming_up")} orders={upcoming} config={config} />
      <Group title={text("orders.earlier")} orders={earlier} config={config} />
      {more && <MoreButton onClick={feed.readMore} />}
    </>
  );
}

interface GroupProps {
  title: string;
  orders: readonly Live<OrderRow>[];
  config: SiteConfig;
}

function Group({ title, orders, config }: GroupProps) {
  if (orders.length === 0) return null;
  return (
    <section className="orders" aria-label={title}>
      <h2 className="section-title">{title}</h2>
      <ul>
        {orders.map((order) => (
          <OrderItem key={order.id} order={order} config={config} held={isHeld(order)} />
        ))}
      </ul>
    </section>
  );
}

function NoOrders() {
  return (
    <Empty
      title={text("orders.none")}
      action={
        <Link className="button primary" to="/">
          {text("orders.see_shows")}
        </Link>
      }
    >
      {text("orders.about")}
    </Empty>
  );
}

/** The frame of the page until its data is read, in the sizes that the page will have. */
function Waiting() {
  return (
    <div className="orders" aria-busy="true">
      <span className="unseen" role="status">
        {text("orders.loading")}
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
