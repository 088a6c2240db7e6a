// The visitor's selection: its tickets, their cost, and the button that holds them.
import { useState } from "react";
import { useNavigate } from "react-router";

import type { Ticket } from "../shared/api-types";
import { rulesOf } from "../shared/currencies";
import { fullName, money } from "../shared/format";
import { durationText, holdRefusalText, holdTickets, quantityText } from "../shared/hold-tickets";
import { asProblem, type Problem } from "../shared/http";
import { IdempotentRequest } from "../shared/idempotency";
import { useValue } from "../shared/observable";
import { readUser, user } from "../shared/session";
import type { SiteConfig } from "../shared/site-config";
import { costOf, ticketNames } from "../shared/tickets";
import { PriceLines, PriceTotal } from "../shared/ui/price-lines";
import type { Selection } from "./selection";

/** Until the server's limits are read. */
const DEFAULTS = { max_tickets_per_order: 8, hold_seconds: 60, fee_percent: 0 };

interface SelectionPanelProps {
  showId: string;
  selection: Selection;
  /** The selected tickets that are free. */
  chosen: readonly Ticket[];
  /** All tickets of the show. */
  tickets: readonly Ticket[];
  config: SiteConfig | null;
}

export function SelectionPanel({
  showId,
  selection,
  chosen,
  tickets,
  config,
}: SelectionPanelProps) {
  const holding = useValue(selection.holding);
  const [refusal, hold] = useHold(showId, selection, chosen, tickets);
  const {
    max_tickets_per_order: max,
    hold_seconds: seconds,
    fee_percent: fee,
  } = config ?? DEFAULTS;
  const obstacle = obstacleOf(chosen, max, fee);
  const [first] = chosen;
  return (
    <aside className={`card pick ${first ? "" : "empty"}`} aria-label="Your pick">
      <h2 className="section-title">Your pick</h2>
      {refusal && (
        <p className="notice pick-problem" role="alert">
          {refusal}
        </p>
      )}
      {!first && (
        <p className="soft pick-empty">
          Choose one ticket or several. They are yours alone for {seconds} seconds while you pay.
        </p>
      )}
      {first && (
        <>
          <Prices chosen={chosen} currency={first.currency} obstacle={obstacle} config={config} />
          <button
            type="button"
            className="button primary full"
            disabled={obstacle !== null || holding || !config}
            onClick={hold}
          >
            {holding
              ? "Holding"
              : `Hold ${quantityText(chosen.length)} for ${durationText(seconds)}`}
          </button>
          <p className="note">
            Yours alone while the clock runs. You pay nothing until you confirm.
          </p>
        </>
      )}
    </aside>
  );
}

interface PricesProps {
  chosen: readonly Ticket[];
  currency: string;
  obstacle: string | null;
  config: SiteConfig | null;
}

function Prices({ chosen, currency, obstacle, config }: PricesProps) {
  const cost = costOf(chosen, (config ?? DEFAULTS).fee_percent, currency);
  return (
    <>
      <PriceLines tickets={chosen} fee={obstacle ? 0 : cost.fee} currency={currency} />
      <hr className="perforation notched" />
      <PriceTotal count={chosen.length} total={obstacle ? null : cost.total} currency={currency} />
      {obstacle && (
        <p className="notice pick-problem" role="status">
          {obstacle}
        </p>
      )}
    </>
  );
}

/** Why these tickets cannot be held in one order, or null. */
function obstacleOf(chosen: readonly Ticket[], max: number, feePercent: number): string | null {
  const [currency, ...others] = new Set(chosen.map((ticket) => ticket.currency));
  if (currency === undefined) return null;
  if (others.length > 0) return "An order has one currency. Hold the others apart.";
  if (chosen.length > max) return `An order can have ${max} tickets.`;
  const { maximum } = rulesOf(currency);
  return costOf(chosen, feePercent, currency).total > maximum
    ? `One payment takes at most ${money(maximum, currency)}. Choose fewer tickets.`
    : null;
}

/** The words of the last refusal, and the function that holds the selection. */
function useHold(
  showId: string,
  selection: Selection,
  chosen: readonly Ticket[],
  tickets: readonly Ticket[],
): [refusal: string | null, hold: () => Promise<void>] {
  const navigate = useNavigate();
  const [refusal, setRefusal] = useState<string | null>(null);
  const [request] = useState(() => new IdempotentRequest());

  const goToSignIn = () => navigate(`/signin?next=${encodeURIComponent(`/shows/${showId}`)}`);
  const hold = async () => {
    await readUser();
    if (user.value === null) {
      await goToSignIn();
      return;
    }
    selection.holding.set(true);
    setRefusal(null);
    try {
      const order = await holdTickets(
        chosen.map((ticket) => ticket.id),
        request,
      );
      selection.clear();
      await navigate(`/checkout/${order.id}`);
    } catch (error) {
      selection.holding.set(false);
      const problem = asProblem(error);
      if (problem.status === 401) await goToSignIn();
      else setRefusal(refusalText(problem, selection, chosen, tickets));
    }
  };
  return [refusal, hold];
}

/** A ticket that the visitor cannot have leaves the selection. */
function refusalText(
  problem: Problem,
  selection: Selection,
  chosen: readonly Ticket[],
  tickets: readonly Ticket[],
): string {
  const ticket = tickets.find(({ id }) => id === problem.body.ticket_id);
  const lost = problem.code === "ticket_unavailable" || problem.code === "own_ticket";
  if (ticket && lost && selection.has(ticket.id)) selection.toggle(ticket.id);
  return holdRefusalText(problem, ticket ? fullName(ticket) : ticketNames(chosen.slice(0, 3)));
}
