// The tickets that others sell in a show, for its owner: each can be hidden and listed again.
import { memo, useState } from "react";

import { post } from "../shared/api";
import type { Ticket } from "../shared/api-types";
import { fullName, money, seatName } from "../shared/format";
import { asProblem } from "../shared/http";
import type { Live } from "../shared/live-rows";
import type { ShowFeed } from "../shared/show-feed";
import { text, type TextId } from "../shared/texts";
import { type Availability, availabilityOf } from "../shared/tickets";
import { toast } from "../shared/ui/toasts";
import { SectionLists } from "./section-lists";

interface OthersTicketsProps {
  tickets: readonly Live<Ticket>[];
  feed: ShowFeed;
}

export function OthersTickets({ tickets, feed }: OthersTicketsProps) {
  const hidden = tickets.filter((ticket) => ticket.hidden).length;
  return (
    <section className="my-tickets" aria-label={text("sell.others")}>
      <header>
        <h2 className="section-title">{text("sell.others")}</h2>
        <span className="soft">
          {text("sell.others_count", { listed: tickets.length - hidden, hidden })}
        </span>
      </header>
      <p className="note">{text("sell.others_note")}</p>
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
      toast(text("sell.not_hidden", { name: fullName(ticket), reason: asProblem(error).message }));
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
            {text(ticket.hidden ? "sell.is_hidden" : STATES[availability])}
          </span>
        </span>
        <span className="ticket-price">{money(ticket.price, ticket.currency)}</span>
        <button
          type="button"
          className="button quiet small"
          disabled={busy}
          aria-label={
            ticket.hidden
              ? text("sell.unhide_of", { name: fullName(ticket) })
              : text("sell.hide_of", { name: fullName(ticket) })
          }
          onClick={() => void change()}
        >
          {text(ticket.hidden ? "sell.unhide" : "sell.hide")}
        </button>
      </div>
    </li>
  );
});

const STATES: Record<Availability, TextId> = {
  free: "sell.is_free",
  held: "sell.is_held",
  paying: "sell.is_paying",
  sold: "sell.is_sold",
};
