// The tickets of a section: free, in someone's hands, being paid for, sold; each as it is this second.
import { memo, useCallback } from "react";
import { Link } from "react-router";

import { serverNow, useClock, useSecondsUntil } from "./clock.js";
import { fullName, minutes, money, seatName } from "./format.js";
import { Ring } from "./ring.jsx";
import { counts, linesOf, standing } from "./tickets.js";

/** `me` is the visitor's id; `holds` leads from a ticket of its own to its order; `hold` is how long one lasts. */
export function Section({ name, tickets, pick, me, holds, hold }) {
  const left = tickets.filter((ticket) => standing(ticket) === "free").length;
  return (
    <section className="section" aria-label={name}>
      <header>
        <h2 className="section-title">{name}</h2>
        <span className="soft">{left} left</span>
      </header>
      <ul className="card tickets">
        {linesOf(tickets, (id) => pick.has(id) || holds.has(id)).map(({ key, tickets: alike }) =>
          alike.length > 1 ? (
            <Alike key={key} tickets={alike} selling={alike[0].seller_id === me} toggle={pick.toggle} hold={hold} />
          ) : (
            <Ticket
              key={key}
              ticket={alike[0]}
              is={standing(alike[0])}
              selling={alike[0].seller_id === me}
              order={holds.get(alike[0].id)}
              picked={pick.has(alike[0].id)}
              toggle={pick.toggle}
              hold={hold}
            />
          ),
        )}
      </ul>
    </section>
  );
}

/** One row. It renders again when its ticket's version, its standing or its tick changes, and at nothing else. */
const Ticket = memo(function Ticket({ ticket, is, selling, order, picked, toggle, hold }) {
  const className = ["ticket", is, picked && "picked", ticket.touched && "changed"].filter(Boolean).join(" ");
  const offered = is === "free" && !selling;
  const Line = offered ? "label" : "div";
  const price = money(ticket.price, ticket.currency);
  return (
    <li className={className} data-ticket={ticket.id} data-is={is} data-version={ticket.version} data-beat={ticket.touched % 2}>
      <Line className="ticket-line">
        {offered ? (
          <input type="checkbox" checked={picked} onChange={() => toggle(ticket.id)} aria-label={`${fullName(ticket)}, ${price}`} />
        ) : (
          <span />
        )}
        <span className="ticket-name">
          <b>{seatName(ticket)}</b>
          {is !== "sold" && <span>{selling ? "you sell this" : `@${ticket.seller_name}`}</span>}
        </span>
        <span className="ticket-state">
          {is === "held" && (order ? <Mine ticket={ticket} order={order} hold={hold} /> : <Held ticket={ticket} hold={hold} />)}
          {is === "free" && ticket.status === "held" && "may be free"}
          {is === "paying" && "being paid for"}
          {is === "sold" && <Sold at={ticket.updated_at} />}
        </span>
        <span className="ticket-price">{price}</span>
      </Line>
    </li>
  );
});

/** Tickets that nothing tells apart, as one row: its button picks one more of them. */
function Alike({ tickets, selling, toggle, hold }) {
  const { free, held, sold } = counts(tickets);
  const [first] = tickets;
  const next = selling ? undefined : tickets.find((ticket) => standing(ticket) === "free");
  const soonest = tickets
    .filter((ticket) => standing(ticket) === "held")
    .reduce((one, other) => (one && one.held_until < other.held_until ? one : other), null);
  const touched = tickets.reduce((sum, ticket) => sum + ticket.touched, 0);
  const is = free ? "free" : held ? "held" : "sold";
  const price = money(first.price, first.currency);
  const Line = next ? "label" : "div";
  return (
    <li className={`ticket ${is} ${touched ? "changed" : ""}`} data-alike={first.seller_id} data-is={is} data-beat={touched % 2}>
      <Line className="ticket-line">
        {next ? (
          <button type="button" className="add" onClick={() => toggle(next.id)} aria-label={`Add one: ${fullName(next)}, ${price}, ${free} left`}>
            +
          </button>
        ) : (
          <span />
        )}
        <span className="ticket-name">
          <b>{seatName(first)}</b>
          <span>
            {selling ? "you sell these" : `@${first.seller_name}`}
            {free > 0 && `, ${free} alike`}
          </span>
        </span>
        <span className="ticket-state">
          {soonest && <Ring until={soonest.held_until} whole={hold} />}
          {held > 0 && `${held} in someone's hands`}
          {held === 0 && sold > 0 && <span className="soft">{sold} sold</span>}
        </span>
        <span className="ticket-price">{price}</span>
      </Line>
    </li>
  );
}

function Held({ ticket, hold }) {
  const seconds = useSecondsUntil(ticket.held_until);
  return (
    <>
      <Ring until={ticket.held_until} whole={hold} />
      <span data-seconds={seconds}>
        {seconds > 10 ? "in someone's hands" : "may be free in"}
        {seconds > 10 ? " · " : " "}
        {minutes(seconds)}
      </span>
    </>
  );
}

/** The visitor's own hold, and the way back to paying for it. */
function Mine({ ticket, order, hold }) {
  const seconds = useSecondsUntil(ticket.held_until);
  return (
    <>
      <Ring until={ticket.held_until} whole={hold} />
      <span data-seconds={seconds}>yours · {minutes(seconds)}</span>
      <Link to={`/checkout/${order}`}>Check out</Link>
    </>
  );
}

function Sold({ at }) {
  return useClock(useCallback(() => soldWords((serverNow() - Date.parse(at)) / 1000), [at]));
}

function soldWords(seconds) {
  if (seconds < 60) return `sold ${Math.max(1, Math.floor(seconds))} s ago`;
  return seconds < 3600 ? `sold ${Math.floor(seconds / 60)} min ago` : "sold";
}
