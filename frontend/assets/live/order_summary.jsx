// What an order is for and what it costs: a ticket's stub.
import { Link } from "react-router";

import { Bill, Total } from "./bill.jsx";
import { dayAndTime, readersTime, showTime } from "./format.js";
import { useValue } from "./observable.js";
import { byShow, shows } from "./shows.js";

/** `numbered` as a receipt is. */
export function OrderSummary({ order, numbered }) {
  const known = useValue(shows);
  const groups = byShow(order, known);
  return (
    <section className="card summary" aria-label="Your order">
      {groups.map(([show, tickets], index) => (
        <div key={tickets[0].show_id}>
          <ShowName show={show} />
          <hr className="perforation notched" />
          <Bill tickets={tickets} fee={index === groups.length - 1 ? order.fee : 0} currency={order.currency} />
          <hr className="perforation notched" />
        </div>
      ))}
      <Total count={order.tickets.length} total={order.total} currency={order.currency} />
      {numbered && (
        <p className="note summary-note">
          Order {order.id}
          <br />
          {dayAndTime(order.created_at)}
        </p>
      )}
    </section>
  );
}

function ShowName({ show }) {
  if (!show) return <h2 className="section-title">A show</h2>;
  return (
    <>
      <p className="when">
        <time dateTime={show.starts_at}>{showTime(show)}</time> · {show.venue}, {show.city}
      </p>
      <h2 className="section-title">
        <Link to={`/shows/${show.id}`}>{show.title}</Link>
      </h2>
      {readersTime(show) && <p className="note">{readersTime(show)}</p>}
    </>
  );
}
