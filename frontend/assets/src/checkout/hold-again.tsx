// The tickets of an order that ended unpaid: whether they are free, live, and the button that
// holds them again.
import { type ReactNode, useEffect, useState } from "react";
import { Link, useNavigate } from "react-router";

import type { Ticket } from "../shared/api-types";
import { useEachSecond, useSecondsUntil } from "../shared/clock";
import { fullName, minutes, money } from "../shared/format";
import {
  changedTotal,
  durationText,
  holdRefusalText,
  holdTickets,
  quantityText,
} from "../shared/hold-tickets";
import { asProblem, type Problem } from "../shared/http";
import { IdempotentRequest } from "../shared/idempotency";
import { useValue } from "../shared/observable";
import { outageText, useOutage } from "../shared/outage";
import type { OrderRow } from "../shared/push-messages";
import { salesOf } from "../shared/show-sales";
import { refusedShows, shows, type ShowsById, shownShows } from "../shared/shows-by-id";
import type { SiteConfig } from "../shared/site-config";
import { text } from "../shared/texts";
import { availabilityOf, costOf, isListed, isOffered, ticketNames } from "../shared/tickets";
import { TicketsFeed } from "./tickets-feed";

interface HoldAgainProps {
  order: OrderRow;
  config: SiteConfig;
  /** The heading, from the state of the tickets in words and whether none of them is free. */
  children: (state: string, taken: boolean) => ReactNode;
}

export function HoldAgain({ order, config, children }: HoldAgainProps) {
  const [feed] = useState(() => new TicketsFeed(order.tickets.map((ticket) => ticket.id)));
  useEffect(() => feed.open(), [feed]);
  const { rows, ready } = useValue(feed.tickets);
  const known = useValue(shows);
  useEachSecond();
  const free = rows.filter((ticket) => isOffered(ticket) && isSelling(ticket, known));
  const ended = rows.length > 0 && !rows.some((ticket) => isSelling(ticket, known));
  const held = rows.filter((ticket) => ["held", "paying"].includes(availabilityOf(ticket)));
  const taken = ready && free.length === 0 && !ended;
  const state = ended ? text("shared.hold_sales_ended") : stateText(rows, free, held);
  const freeLines = order.tickets.filter(({ id }) => free.some((ticket) => ticket.id === id));
  const shown = costOf(freeLines, config.fee_percent, order.currency).total;
  const { refusal, holding, changed, hold } = useHold(free, shown, order);
  const outage = useOutage();
  const which =
    free.length === rows.length
      ? text("checkout.hold_again_all", { quantity: quantityText(free.length) })
      : text("checkout.hold_again_some");
  const duration = durationText(config.hold_seconds);
  return (
    <>
      {children(ready ? state : "", taken)}
      {taken && <FreeSoon ticket={held.find((ticket) => ticket.held_until)} />}
      {refusal && !outage && (
        <p className="notice" role="alert">
          {refusalText(refusal, free)}
        </p>
      )}
      {outage && free.length > 0 && (
        <p className="notice" role="status">
          {text("shared.hold_waits", { outage: outageText(outage) })}
        </p>
      )}
      <p className="actions">
        {free.length > 0 && (
          <button
            type="button"
            className="button primary"
            onClick={hold}
            aria-disabled={holding}
            disabled={outage !== null}
          >
            {holding
              ? text("checkout.holding")
              : changed !== null
                ? text("shared.hold_at", { total: money(changed, order.currency) })
                : text("checkout.hold_again", { which, duration })}
          </button>
        )}
        <Link className="button quiet" to={`/shows/${order.tickets[0]?.show_id ?? ""}`}>
          {text("checkout.show_tickets")}
        </Link>
      </p>
    </>
  );
}

/** A show that is not read yet counts as one whose tickets are sold. */
function isSelling({ show_id }: Ticket, known: ShowsById): boolean {
  const show = known.get(show_id);
  return !show || salesOf(show) === "open";
}

/** Rendered each second, since the text may contain the time to wait. */
function refusalText(problem: Problem, free: readonly Ticket[]): string {
  const ticket = free.find(({ id }) => id === problem.body.ticket_id);
  return holdRefusalText(problem, ticket ? fullName(ticket) : ticketNames(free));
}

function stateText(
  all: readonly Ticket[],
  free: readonly Ticket[],
  held: readonly Ticket[],
): string {
  const count = all.length;
  if (free.length === all.length) return text("checkout.free_all", { count });
  if (free.length > 0) {
    const gone = all.filter((ticket) => !free.includes(ticket));
    return text("checkout.gone_some", { names: ticketNames(gone) });
  }
  if (held.length > 0) return text("checkout.gone_held", { count });
  if (!all.some(isListed)) return text("checkout.gone_unlisted", { count });
  return text("checkout.gone_sold", { count });
}

function FreeSoon({ ticket }: { ticket: Ticket | undefined }) {
  const seconds = useSecondsUntil(ticket?.held_until);
  if (!ticket || !seconds) return null;
  return (
    <p className="soft" data-seconds={seconds}>
      {text("checkout.free_soon", { name: fullName(ticket), left: minutes(seconds) })}
    </p>
  );
}

/** `shown` is the total of these tickets by the prices of the order that ended. */
function useHold(free: readonly Ticket[], shown: number, ended: OrderRow) {
  const navigate = useNavigate();
  const [request] = useState(() => new IdempotentRequest());
  const [seen] = useState(() => shownShows(ended));
  const [refusal, setRefusal] = useState<Problem | null>(null);
  const [holding, setHolding] = useState(false);
  const changed = refusal && changedTotal(refusal);
  const hold = async () => {
    if (holding) return;
    setHolding(true);
    setRefusal(null);
    try {
      const ids = free.map((ticket) => ticket.id);
      // The next hold confirms the place and time that a refusal named.
      const shows = { ...seen, ...refusedShows(refusal) };
      const order = await holdTickets(ids, { total: changed ?? shown, shows }, request);
      await navigate(`/checkout/${order.id}`, { replace: true });
    } catch (error) {
      setHolding(false);
      setRefusal(asProblem(error));
    }
  };
  return { refusal, holding, changed, hold };
}
