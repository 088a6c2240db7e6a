// The tickets of an order and their prices, in the form of a ticket's stub.
import { Link } from "react-router";

import type { OrderShow } from "../shared/api-types";
import { dayAndTime, readersTime, showTime } from "../shared/format";
import { useValue } from "../shared/observable";
import type { OrderRow } from "../shared/push-messages";
import { shows, ticketsByShow } from "../shared/shows-by-id";
import { text } from "../shared/texts";
import { PriceLines, PriceTotal } from "../shared/ui/price-lines";
import { ShowChange } from "../shared/ui/show-change";

/** `dated` adds the order's time, as a receipt needs it. */
export function OrderSummary({ order, dated }: { order: OrderRow; dated: boolean }) {
  const groups = ticketsByShow(order, useValue(shows));
  return (
    <section className="card summary" aria-label={text("checkout.your_order")}>
      {groups.map(({ showId, show, tickets }, index) => (
        <div key={showId}>
          <ShowName show={show} showId={showId} />
          <ShowChange order={order} showId={showId} />
          <hr className="perforation notched" />
          <PriceLines
            tickets={tickets}
            fee={index === groups.length - 1 ? order.fee : 0}
            currency={order.currency}
          />
          <hr className="perforation notched" />
        </div>
      ))}
      <PriceTotal count={order.tickets.length} total={order.total} currency={order.currency} />
      <p className="note summary-note">
        {text("checkout.order_number", { number: order.number })}
        {dated && (
          <>
            <br />
            {dayAndTime(order.created_at)}
          </>
        )}
      </p>
    </section>
  );
}

function ShowName({ show, showId }: { show: OrderShow | undefined; showId: string }) {
  if (!show) return <h2 className="section-title">{text("checkout.a_show")}</h2>;
  return (
    <>
      <p className="when">
        <time dateTime={show.starts_at}>{showTime(show)}</time> · {show.venue}, {show.city}
      </p>
      <h2 className="section-title">
        <Link to={`/shows/${showId}`}>{show.title}</Link>
      </h2>
      {readersTime(show) && <p className="note">{readersTime(show)}</p>}
    </>
  );
}
