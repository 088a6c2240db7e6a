// The tickets that others sell in a show, for its owner: each can be hidden and listed again.
import { memo, useState } from "react";

import { post } from "../shared/api";
import type { Ticket } from "../shared/api-types";
import { fullName, money, seatName } from "../shared/format";
import { asProblem } from "../shared/http";
import type { Live } from "../shared/live-rows";
import type { ShowFeed } from "../shared/show-feed";
import { availabilityOf } from "../shared/tickets";
import { toast } from "../shared/ui/toasts";
import { SectionLists } from "./section-lists";

interface OthersTicketsProps {
  tickets: readonly Live<Ticket>[];
  feed: ShowFeed;
}

export function OthersTickets({ tickets, feed }: OthersTicketsProps) {
  const hidden = tickets.filter((ticket) => ticket.hidden).length;
  return (
    <section className="my-tickets" aria-label="Tickets of other sellers">
      <header>
        <h2 className="section-title">Tickets of other sellers</h2>
        <span className="soft">
          {tickets.length - hidden} listed · {hidden} hidden
        </span>
      </header>
      <p className="note">
        Buyers neither find nor buy a hidden ticket. An order that holds it or paid for it keeps it.
      </p>
      <SectionLists
        tickets={tickets}
        row={(ticket) => <OthersTicket key={ticket.id} ticket={ticket} feed={feed} />}
      />
    </section>
  );
}

interface OthersTicketProps {
  ticket: Live<Ticket>;
  feed: ShowFeed;
}

const OthersTicket = memo(function OthersTicket({ ticket, feed }: OthersTicketProps) {
  const [busy, setBusy] = useState(false);
  const availability = availabilityOf(ticket);
  const change = async () => {
    setBusy(true);
    try {
      const path = ticket.hidden ? "/api/tickets/{id}/unhide" : "/api/tickets/{id}/hide";
      feed.tickets.apply(await post(path, undefined, { params: { id: ticket.id } }));
    } catch (error) {
      toast(`${fullName(ticket)} stays as it is. (${asProblem(error).message})`);
    }
    setBusy(false);
  };
  return (
    <li
      className={`ticket ${availability} ${ticket.touched ? "changed" : ""}`}
      data-ticket={ticket.id}
      data-is={availability}
      data-hidden={ticket.hidden}
      data-version={ticket.version}
      data-beat={ticket.touched % 2}
    >
      <div className="ticket-line my-ticket">
        <span className="ticket-name">
          <b>{seatName(ticket)}</b>
          <span>@{ticket.seller_handle}</span>
        </span>
        <span className="ticket-state">
          <span className={!ticket.hidden && availability === "free" ? "is-free" : undefined}>
            {ticket.hidden ? "hidden" : STATES[availability]}
          </span>
        </span>
        <span className="ticket-price">{money(ticket.price, ticket.currency)}</span>
        <button
          type="button"
          className="button quiet small"
          disabled={busy}
          aria-label={`${ticket.hidden ? "List again" : "Hide"} ${fullName(ticket)}`}
          onClick={() => void change()}
        >
          {ticket.hidden ? "List again" : "Hide"}
        </button>
      </div>
    </li>
  );
});

const STATES = { free: "on sale", held: "held", paying: "being paid for", sold: "sold" };
