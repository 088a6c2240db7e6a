// A row of seats as a strip: a cell for each seat, free, held or sold. One stop of the Tab key; the
// arrow keys move between the seats.
import { type KeyboardEvent, memo, useRef, useState } from "react";

import type { Ticket } from "../shared/api-types";
import { money } from "../shared/format";
import type { Live } from "../shared/live-rows";
import { useOutage } from "../shared/outage";
import { text } from "../shared/texts";
import { type Availability, availabilityOf, countTickets, firstEnd } from "../shared/tickets";
import { TimeRing } from "../shared/ui/time-ring";
import type { SeatRow } from "./seat-rows";
import type { OwnHolds } from "./use-own-holds";

interface RowStripProps {
  row: SeatRow<Live<Ticket>>;
  selected: ReadonlySet<string>;
  toggle: (id: string) => void;
  userId: string | undefined;
  holds: OwnHolds;
  holdSeconds: number;
  /** Whether the seats are listed below. */
  open: boolean;
  onToggle: () => void;
}

export function RowStrip(props: RowStripProps) {
  const { row, selected, holds, userId, toggle, holdSeconds, open, onToggle } = props;
  const { free, held, sold, from } = countTickets(row.tickets);
  const [best] = from;
  const until = firstEnd(row.tickets);
  const name = text("show.row", { name: row.name });
  return (
    <li className="row-strip">
      <div className="row-strip-head">
        <b>{name}</b>
        <span className="soft">
          {best
            ? text("show.row_free", { count: free, price: money(best.price, best.currency) })
            : text("show.none_available")}
        </span>
        <span className="row-strip-state soft">
          {until && <TimeRing until={until} whole={holdSeconds} />}
          {held > 0 && text("show.all_held", { count: held })}
        </span>
        <button
          type="button"
          className="button quiet small"
          aria-expanded={open}
          aria-label={
            open ? text("show.hide_seats_of", { name }) : text("show.show_seats_of", { name })
          }
          onClick={onToggle}
        >
          {text(open ? "show.hide_seats" : "show.show_seats")}
        </button>
      </div>
      <Strip
        label={text("show.strip", { name, available: free, held, sold })}
        tickets={row.tickets}
        selected={selected}
        toggle={toggle}
        userId={userId}
        holds={holds}
      />
    </li>
  );
}

interface StripProps {
  label: string;
  tickets: readonly Live<Ticket>[];
  selected: ReadonlySet<string>;
  toggle: (id: string) => void;
  userId: string | undefined;
  holds: OwnHolds;
}

function Strip({ label, tickets, selected, toggle, userId, holds }: StripProps) {
  const ref = useRef<HTMLDivElement>(null);
  const [stop, setStop] = useState<string | null>(null);
  const isKnown = tickets.some(({ id }) => id === stop);
  const firstFree = tickets.find((ticket) => availabilityOf(ticket) === "free") ?? tickets[0];
  const move = (event: KeyboardEvent) => {
    const cells = [...(ref.current?.querySelectorAll<HTMLElement>("[data-seat]") ?? [])];
    const at = cells.findIndex((cell) => cell === document.activeElement);
    const next = cells[nextCell(event, at, cells.length, ref.current)];
    if (!next) return;
    event.preventDefault();
    setStop(next.dataset.seat ?? null);
    next.focus();
  };
  return (
    <div ref={ref} className="strip" role="toolbar" aria-label={label} onKeyDown={move}>
      {tickets.map((ticket) => (
        <Cell
          key={ticket.id}
          ticket={ticket}
          availability={availabilityOf(ticket)}
          own={ticket.seller_id === userId}
          yours={holds.has(ticket.id)}
          picked={selected.has(ticket.id)}
          isStop={isKnown ? ticket.id === stop : ticket === firstFree}
          toggle={toggle}
        />
      ))}
    </div>
  );
}

/** The index of the cell that a key leads to; -1 for other keys. */
function nextCell(
  event: KeyboardEvent,
  at: number,
  count: number,
  strip: HTMLElement | null,
): number {
  const forwards = strip && getComputedStyle(strip).direction === "rtl" ? -1 : 1;
  switch (event.key) {
    case "ArrowRight":
      return Math.min(count - 1, Math.max(0, at + forwards));
    case "ArrowLeft":
      return Math.min(count - 1, Math.max(0, at - forwards));
    case "Home":
      return 0;
    case "End":
      return count - 1;
    default:
      return -1;
  }
}

interface CellProps {
  ticket: Live<Ticket>;
  availability: Availability;
  own: boolean;
  yours: boolean;
  picked: boolean;
  isStop: boolean;
  toggle: (id: string) => void;
}

const STATES = {
  free: "show.seat_free",
  held: "show.seat_held",
  paying: "show.seat_held",
  sold: "show.seat_sold",
} as const;

const Cell = memo(function Cell(props: CellProps) {
  const { ticket, availability, own, yours, picked, isStop, toggle } = props;
  const unreached = useOutage() !== null;
  const offered = availability === "free" && !own && !unreached;
  const price = money(ticket.price, ticket.currency);
  const state = yours ? "show.seat_yours" : own ? "show.seat_own" : STATES[availability];
  const label = text("show.seat", { seat: ticket.seat ?? "", price, state: text(state) });
  return (
    <button
      type="button"
      className={`seat ${yours ? "yours" : availability} ${picked ? "picked" : ""}`}
      data-seat={ticket.id}
      data-is={availability}
      data-version={ticket.version}
      data-beat={ticket.touched % 2}
      aria-pressed={offered ? picked : undefined}
      aria-disabled={offered ? undefined : true}
      aria-label={label}
      title={label}
      tabIndex={isStop ? 0 : -1}
      onClick={() => {
        if (offered) toggle(ticket.id);
      }}
    >
      {ticket.seat}
    </button>
  );
});
