// The lines of a section: a strip for each row of seats, the tickets, and one line for those that
// were sold before the page was opened.
import { type ReactNode, useState } from "react";

import type { Ticket } from "../shared/api-types";
import type { Live } from "../shared/live-rows";
import { text } from "../shared/texts";
import { availabilityOf, groupTickets } from "../shared/tickets";
import { LazyBlock } from "./lazy-block";
import { RowStrip } from "./row-strip";
import { seatRows } from "./seat-rows";
import { AlikeRow, TicketRow } from "./ticket-rows";
import type { OwnHolds } from "./use-own-holds";

/** A list with more lines is rendered in blocks of as many. */
const MAX_EAGER = 250;
const BLOCK = 25;
const LINE_PX = 56;

/** The state of the page that each line needs. */
export interface LinesProps {
  /** The ids of the selected tickets. */
  selected: ReadonlySet<string>;
  toggle: (id: string) => void;
  userId: string | undefined;
  holds: OwnHolds;
  holdSeconds: number;
  /** The tickets that the page has seen before they were sold. */
  seenOpen: ReadonlySet<string>;
  /** Whether the seats of a row are listed below its strip from the start. */
  listSeats: boolean;
}

interface SectionLinesProps extends LinesProps {
  tickets: readonly Live<Ticket>[];
  /** How many tickets of the section are sold. */
  sold: number;
}

export function SectionLines({ tickets, sold, ...props }: SectionLinesProps) {
  const { selected, toggle, holds, userId, seenOpen, listSeats } = props;
  const [toggled, setToggled] = useState<ReadonlySet<string>>(new Set());
  const [showSold, setShowSold] = useState(false);
  const isFolded = (ticket: Live<Ticket>) =>
    availabilityOf(ticket) === "sold" && !seenOpen.has(ticket.id);
  const { rows, others } = seatRows(tickets);
  const folded = tickets.filter(isFolded);
  const stripped = rows.filter((row) => !row.tickets.every(isFolded));
  const lines: ReactNode[] = [];
  for (const row of stripped) {
    const open = listSeats !== toggled.has(row.name);
    const onToggle = () => {
      const next = new Set(toggled);
      if (!next.delete(row.name)) next.add(row.name);
      setToggled(next);
    };
    lines.push(
      <RowStrip
        key={`row ${row.name}`}
        {...props}
        row={row}
        selected={selected}
        toggle={toggle}
        open={open}
        onToggle={onToggle}
      />,
    );
    if (!open) continue;
    lines.push(...row.tickets.filter((each) => !isFolded(each)).map((each) => line(each, props)));
  }
  const groups = groupTickets(
    others.filter((ticket) => !isFolded(ticket)),
    (id) => selected.has(id) || holds.has(id),
  );
  for (const { key, first, tickets: alike } of groups) {
    if (alike.length > 1) {
      const own = first.seller_id === userId;
      lines.push(<AlikeRow key={key} {...props} first={first} tickets={alike} own={own} />);
    } else lines.push(line(first, props));
  }
  const foldedCount =
    sold - tickets.filter((each) => each.status === "sold").length + folded.length;
  if (foldedCount > 0) {
    lines.push(
      <li className="ticket folded" key="folded">
        <span className="soft">{text("show.sold_before", { count: foldedCount })}</span>
        {folded.length > 0 && (
          <button
            type="button"
            className="button quiet small"
            aria-expanded={showSold}
            onClick={() => {
              setShowSold(!showSold);
            }}
          >
            {text(showSold ? "show.hide_sold" : "show.show_sold")}
          </button>
        )}
      </li>,
    );
  }
  if (showSold) lines.push(...folded.map((each) => line(each, props)));
  return <Lines lines={lines} />;
}

function line(ticket: Live<Ticket>, props: LinesProps): ReactNode {
  const { selected, toggle, userId, holds, holdSeconds } = props;
  return (
    <TicketRow
      key={ticket.id}
      ticket={ticket}
      availability={availabilityOf(ticket)}
      own={ticket.seller_id === userId}
      orderId={holds.get(ticket.id)}
      picked={selected.has(ticket.id)}
      toggle={toggle}
      holdSeconds={holdSeconds}
    />
  );
}

function Lines({ lines }: { lines: readonly ReactNode[] }) {
  if (lines.length <= MAX_EAGER) return <ul className="card tickets">{lines}</ul>;
  const blocks = Array.from({ length: Math.ceil(lines.length / BLOCK) }, (_, index) =>
    lines.slice(index * BLOCK, (index + 1) * BLOCK),
  );
  return (
    <div className="card tickets">
      {blocks.map((block, index) => (
        <LazyBlock key={index} estimate={block.length * LINE_PX}>
          {() => <ul className="tickets">{block}</ul>}
        </LazyBlock>
      ))}
    </div>
  );
}
