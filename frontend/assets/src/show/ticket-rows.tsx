// The lines of tickets: free, held, being paid for or sold; each as it is this second.
import { memo, useCallback } from "react";
import { Link } from "react-router";

import type { Ticket } from "../shared/api-types";
import { serverNow, useClock, useSecondsUntil } from "../shared/clock";
import { fullName, minutes, money, seatName } from "../shared/format";
import type { Live } from "../shared/live-rows";
import { useOutage } from "../shared/outage";
import { text } from "../shared/texts";
import { type Availability, availabilityOf, countTickets, firstEnd } from "../shared/tickets";
import { TimeRing } from "../shared/ui/time-ring";

interface TicketRowProps {
  ticket: Live<Ticket>;
  availability: Availability;
  /** Whether the visitor sells it. */
  own: boolean;
  /** The visitor's order that holds it. */
  orderId: string | undefined;
  picked: boolean;
  toggle: (id: string) => void;
  holdSeconds: number;
}

/** Renders again when its ticket's version or its availability changes, and for nothing else. */
export const TicketRow = memo(function TicketRow(props: TicketRowProps) {
  const { ticket, availability, own, picked, toggle } = props;
  const offered = availability === "free" && !own;
  const unreached = useOutage() !== null;
  const Line = offered ? "label" : "div";
  const price = money(ticket.price, ticket.currency);
  const className = ["ticket", availability, picked && "picked", ticket.touched && "changed"];
  return (
    <li
      className={className.filter(Boolean).join(" ")}
      data-ticket={ticket.id}
      data-is={availability}
      data-version={ticket.version}
      data-beat={ticket.touched % 2}
    >
      <Line className="ticket-line">
        {offered ? (
          <input
            type="checkbox"
            checked={picked}
            disabled={unreached}
            onChange={() => {
              toggle(ticket.id);
            }}
            aria-label={`${fullName(ticket)}, ${price}`}
          />
        ) : (
          <span />
        )}
        <span className="ticket-name">
          <b>{seatName(ticket)}</b>
          {availability !== "sold" && (
            <span>
              {own
                ? text("show.you_sell", { count: 1 })
                : text("show.seller", { name: ticket.seller_handle })}
            </span>
          )}
        </span>
        <span className="ticket-state">
          <TicketState {...props} />
        </span>
        <span className="ticket-price">{price}</span>
      </Line>
    </li>
  );
});

function TicketState({ ticket, availability, orderId, holdSeconds }: TicketRowProps) {
  switch (availability) {
    case "free":
      return ticket.status === "held" && text("show.may_be_free");
    case "paying":
      return text("show.being_paid");
    case "sold":
      return <Sold at={ticket.updated_at} />;
    case "held": {
      const hold = { until: ticket.held_until ?? "", holdSeconds };
      return orderId ? <OwnHold {...hold} orderId={orderId} /> : <OthersHold {...hold} />;
    }
  }
}

interface AlikeRowProps {
  first: Live<Ticket>;
  tickets: readonly Live<Ticket>[];
  own: boolean;
  toggle: (id: string) => void;
  holdSeconds: number;
}

/** Tickets that differ in nothing, as one row. Its button selects one more of them. */
export function AlikeRow({ first, tickets, own, toggle, holdSeconds }: AlikeRowProps) {
  const { free, held, sold } = countTickets(tickets);
  const unreached = useOutage() !== null;
  const next = own ? undefined : tickets.find((ticket) => availabilityOf(ticket) === "free");
  const touched = tickets.reduce((sum, ticket) => sum + ticket.touched, 0);
  const availability = free ? "free" : held ? "held" : "sold";
  const price = money(first.price, first.currency);
  const until = firstEnd(tickets);
  const seller = own
    ? text("show.you_sell", { count: tickets.length })
    : text("show.seller", { name: first.seller_handle });
  const Line = next ? "label" : "div";
  return (
    <li
      className={`ticket ${availability} ${touched ? "changed" : ""}`}
      data-alike={first.seller_id}
      data-is={availability}
      data-beat={touched % 2}
    >
      <Line className="ticket-line">
        {next ? (
          <button
            type="button"
            className="add"
            disabled={unreached}
            onClick={() => {
              toggle(next.id);
            }}
            aria-label={text("show.add_one", { name: fullName(next), price, count: free })}
          >
            +
          </button>
        ) : (
          <span />
        )}
        <span className="ticket-name">
          <b>{seatName(first)}</b>
          <span>{free > 0 ? text("show.alike", { seller, count: free }) : seller}</span>
        </span>
        <span className="ticket-state">
          {until && <TimeRing until={until} whole={holdSeconds} />}
          {held > 0 && text("show.all_held", { count: held })}
          {held === 0 && sold > 0 && (
            <span className="soft">{text("show.sold_count", { count: sold })}</span>
          )}
        </span>
        <span className="ticket-price">{price}</span>
      </Line>
    </li>
  );
}

interface HoldProps {
  until: string;
  holdSeconds: number;
}

function OthersHold({ until, holdSeconds }: HoldProps) {
  const seconds = useSecondsUntil(until);
  return (
    <>
      <TimeRing until={until} whole={holdSeconds} />
      <span data-seconds={seconds}>
        {seconds > 10
          ? text("show.held_by_other", { left: minutes(seconds) })
          : text("show.may_be_free_in", { left: minutes(seconds) })}
      </span>
    </>
  );
}

/** The visitor's own hold, with the link to its checkout. */
function OwnHold({ until, holdSeconds, orderId }: HoldProps & { orderId: string }) {
  const seconds = useSecondsUntil(until);
  return (
    <>
      <TimeRing until={until} whole={holdSeconds} />
      <span data-seconds={seconds}>{text("show.yours", { left: minutes(seconds) })}</span>
      <Link to={`/checkout/${orderId}`}>{text("show.check_out")}</Link>
    </>
  );
}

function Sold({ at }: { at: string }) {
  return useClock(useCallback(() => soldText((serverNow() - Date.parse(at)) / 1000), [at]));
}

function soldText(seconds: number): string {
  if (seconds < 60) return text("show.sold_seconds", { count: Math.max(1, Math.floor(seconds)) });
  return seconds < 3600
    ? text("show.sold_minutes", { count: Math.floor(seconds / 60) })
    : text("show.sold");
}
