// A ticket as its seller sees it: its state, and the form that changes it while it is free.
import { memo, useEffect, useRef, useState } from "react";

import type { Ticket } from "../shared/api-types";
import { useSecondsUntil } from "../shared/clock";
import { fullName, minutes, money, seatName } from "../shared/format";
import type { Live } from "../shared/live-rows";
import type { ShowFeed } from "../shared/show-feed";
import { useSiteConfig } from "../shared/site-config";
import { text } from "../shared/texts";
import type { Availability } from "../shared/tickets";
import { TimeRing } from "../shared/ui/time-ring";
import { useFocusBeside } from "./focus-beside";
import { LOCKED_TEXTS, TicketForm } from "./ticket-form";

const DEFAULT_HOLD_SECONDS = 60;

interface OwnTicketProps {
  ticket: Live<Ticket>;
  availability: Availability;
  sellerId: string;
  feed: ShowFeed;
  /** Undefined unless many tickets are being selected. */
  isSelected?: boolean | undefined;
  onSelect?: (ids: readonly string[], isSelected: boolean) => void;
}

export const OwnTicket = memo(function OwnTicket(props: OwnTicketProps) {
  const { ticket, availability, sellerId, feed, isSelected, onSelect } = props;
  const [open, setOpen] = useState(false);
  const row = useRef<HTMLLIElement>(null);
  const focus = useFocusBeside(row);
  const closed = useRef(false);
  useEffect(() => {
    if (!open && closed.current) row.current?.querySelector("button")?.focus();
    closed.current = false;
  }, [open]);
  const className = ["ticket", availability, open && "open", ticket.touched && "changed"];
  return (
    <li
      ref={row}
      {...focus}
      className={className.filter(Boolean).join(" ")}
      data-ticket={ticket.id}
      data-is={availability}
      data-version={ticket.version}
      data-beat={ticket.touched % 2}
    >
      <div className={`ticket-line my-ticket ${isSelected === undefined ? "" : "selectable"}`}>
        {isSelected !== undefined && (
          <input
            type="checkbox"
            checked={isSelected && availability === "free"}
            disabled={availability !== "free"}
            aria-label={text("sell.bulk_select_one", { name: fullName(ticket) })}
            onChange={(event) => onSelect?.([ticket.id], event.target.checked)}
          />
        )}
        <span className="ticket-name">
          <b>{seatName(ticket)}</b>
          {availability !== "free" && (
            <span className="note locked">{text(LOCKED_TEXTS[availability])}</span>
          )}
        </span>
        <span className="ticket-state">
          <TicketState ticket={ticket} availability={availability} />
        </span>
        <span className="ticket-price">{money(ticket.price, ticket.currency)}</span>
        {availability === "free" || open ? (
          <button
            type="button"
            className="button quiet small"
            aria-expanded={open}
            aria-label={
              open
                ? text("sell.close_of", { name: fullName(ticket) })
                : text("sell.change_of", { name: fullName(ticket) })
            }
            onClick={() => {
              setOpen(!open);
            }}
          >
            {text(open ? "sell.close" : "sell.change")}
          </button>
        ) : (
          <span />
        )}
      </div>
      {open && (
        <TicketForm
          ticket={ticket}
          availability={availability}
          sellerId={sellerId}
          feed={feed}
          close={() => {
            closed.current = true;
            setOpen(false);
          }}
        />
      )}
    </li>
  );
});

type TicketStateProps = Pick<OwnTicketProps, "ticket" | "availability">;

function TicketState({ ticket, availability }: TicketStateProps) {
  switch (availability) {
    case "held":
      return <Held until={ticket.held_until ?? ""} />;
    case "paying":
      return text("sell.is_paying");
    case "sold":
      return text("sell.is_sold");
    case "free":
      return ticket.hidden ? (
        <span className="is-held">{text("sell.hidden_by_owner")}</span>
      ) : (
        <span className="is-free">{text("sell.is_free")}</span>
      );
  }
}

function Held({ until }: { until: string }) {
  const seconds = useSecondsUntil(until);
  const whole = useSiteConfig()?.hold_seconds ?? DEFAULT_HOLD_SECONDS;
  return (
    <>
      <TimeRing until={until} whole={whole} />
      <span data-seconds={seconds}>{text("sell.held_for", { left: minutes(seconds) })}</span>
    </>
  );
}
