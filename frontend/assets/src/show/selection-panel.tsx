// The visitor's selection: its tickets, their cost, and the button that holds them.
import { useEffect, useRef, useState } from "react";
import { useNavigate } from "react-router";

import type { Show, Ticket } from "../shared/api-types";
import { rulesOf } from "../shared/currencies";
import { fullName, money } from "../shared/format";
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
import { readUser, user } from "../shared/session";
import type { SiteConfig } from "../shared/site-config";
import { text } from "../shared/texts";
import { refusedShows, shownShow } from "../shared/shows-by-id";
import { useSkipTarget } from "../shared/skip-targets";
import { costOf, ticketNames } from "../shared/tickets";
import { PriceLines, PriceTotal } from "../shared/ui/price-lines";
import { useKey } from "../shared/use-key";
import type { Selection } from "./selection";

const PANEL = "selection";
/** The list of tickets, in which the key of the panel works. */
const LIST = "[data-tickets]";
/** Until the server's limits are read. */
const DEFAULTS = { max_tickets_per_order: 8, hold_seconds: 60, fee_percent: 0 };

interface SelectionPanelProps {
  show: Show;
  /** Reads the show and its tickets again. */
  refresh: () => Promise<void>;
  selection: Selection;
  /** The selected tickets that are free. */
  chosen: readonly Ticket[];
  /** All tickets of the show. */
  tickets: readonly Ticket[];
  config: SiteConfig | null;
  /** Replace the chosen proposal, of which another buyer has this ticket. */
  replaceLost: (lost: Ticket) => void;
}

export function SelectionPanel({
  show,
  refresh,
  selection,
  chosen,
  tickets,
  config,
  replaceLost,
}: SelectionPanelProps) {
  const holding = useValue(selection.holding);
  const { max_tickets_per_order: max, hold_seconds: seconds, fee_percent } = config ?? DEFAULTS;
  const [first] = chosen;
  const total = first ? costOf(chosen, fee_percent, first.currency).total : 0;
  const { refusal, changed, hold } = useHold({
    show,
    refresh,
    selection,
    chosen,
    tickets,
    total,
    replaceLost,
  });
  const lost = useValue(selection.lost);
  const replaced = useValue(selection.replaced);
  const risen = useRisenPrices(selection, chosen);
  const obstacle = obstacleOf(chosen, max, fee_percent);
  const outage = useOutage();
  const panel = usePanelKeys(first !== undefined);
  return (
    <aside
      className={`card pick ${first ? "" : "empty"}`}
      aria-label={text("show.pick")}
      id={PANEL}
      tabIndex={-1}
      ref={panel}
    >
      <p className="unseen" role="status">
        {statusOf(chosen, total)}
      </p>
      <h2 className="section-title">{text("show.pick")}</h2>
      {refusal && !outage && (
        <p className="notice pick-problem" role="alert">
          {refusal}
        </p>
      )}
      {risen.map((notice) => (
        <p className="notice pick-problem" role="status" key={notice}>
          {notice}
        </p>
      ))}
      {lost && (
        <p className="notice pick-problem" role="status">
          {text("show.replacing", { name: fullName(lost) })}
        </p>
      )}
      {replaced && (
        <p className="notice pick-problem" role="alert">
          {replaced}
        </p>
      )}
      {!first && <p className="soft pick-empty">{text("show.choose", { count: seconds })}</p>}
      {first && (
        <>
          <Prices chosen={chosen} currency={first.currency} obstacle={obstacle} config={config} />
          <button
            type="button"
            className="button primary full"
            aria-keyshortcuts={text("show.pick_key")}
            disabled={obstacle !== null || outage !== null || holding || !config || lost !== null}
            onClick={hold}
          >
            {holding
              ? text("show.holding")
              : changed !== null || risen.length > 0 || replaced
                ? text("shared.hold_at", { total: money(changed ?? total, first.currency) })
                : text("show.hold", {
                    quantity: quantityText(chosen.length),
                    duration: durationText(seconds),
                  })}
          </button>
          {outage ? (
            <p className="notice" role="status">
              {text("shared.hold_waits", { outage: outageText(outage) })}
            </p>
          ) : (
            <p className="note">{text("show.pick_note")}</p>
          )}
        </>
      )}
    </aside>
  );
}

/** The keys of the list lead to the button that holds, and Escape leads back to the row. */
function usePanelKeys(offered: boolean) {
  const panel = useRef<HTMLElement>(null);
  const row = useRef<Element | null>(null);
  useSkipTarget(PANEL, text("show.skip_to_pick"), offered);
  useKey(
    text("show.pick_key"),
    () => {
      row.current = document.activeElement;
      (panel.current?.querySelector<HTMLElement>("button:enabled") ?? panel.current)?.focus();
    },
    LIST,
  );
  useKey(
    "Escape",
    () => {
      if (row.current instanceof HTMLElement) row.current.focus();
    },
    `#${PANEL}`,
  );
  return panel;
}

function statusOf(chosen: readonly Ticket[], total: number): string {
  const [first] = chosen;
  return text("show.pick_status", {
    count: chosen.length,
    total: first ? money(total, first.currency) : "",
    key: text("show.pick_key"),
  });
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
  if (others.length > 0) return text("show.one_currency");
  if (chosen.length > max) return text("show.too_many", { count: max });
  const { maximum } = rulesOf(currency);
  return costOf(chosen, feePercent, currency).total > maximum
    ? text("show.too_much", { maximum: money(maximum, currency) })
    : null;
}

/** A notice for each selected ticket that costs more than when it was selected. */
function useRisenPrices(selection: Selection, chosen: readonly Ticket[]): string[] {
  const prices = useValue(selection.prices);
  useEffect(() => {
    selection.recordPrices(chosen);
  }, [selection, chosen]);
  return chosen.flatMap((ticket) => {
    const before = prices.get(ticket.id) ?? ticket.price;
    if (ticket.price <= before) return [];
    return [
      text("show.price_rose", {
        name: fullName(ticket),
        before: money(before, ticket.currency),
        now: money(ticket.price, ticket.currency),
      }),
    ];
  });
}

interface Hold {
  /** The words of the last refusal. */
  refusal: string | null;
  /** The total of a refusal because of a higher price: the next hold confirms it. */
  changed: number | null;
  hold: () => Promise<void>;
}

type HoldProps = Omit<SelectionPanelProps, "config"> & { total: number };

function useHold(props: HoldProps): Hold {
  const { show, refresh, selection, chosen, total } = props;
  const navigate = useNavigate();
  const [refusal, setRefusal] = useState<string | null>(null);
  const [confirmable, setConfirmable] = useState<{ ids: string; total: number } | null>(null);
  const ids = chosen.map((ticket) => ticket.id);
  const changed = confirmable?.ids === ids.join() ? confirmable.total : null;
  const [request] = useState(() => new IdempotentRequest());
  useEffect(() => {
    selection.recordPlace(shownShow(show));
  }, [selection, show, ids.length]);

  const goToSignIn = () => navigate(`/signin?next=${encodeURIComponent(`/shows/${show.id}`)}`);
  const hold = async () => {
    await readUser();
    if (user.value === null) {
      await goToSignIn();
      return;
    }
    selection.holding.set(true);
    setRefusal(null);
    try {
      // A message may have moved the show just before the click, too late for the visitor to read
      // it. The API therefore compares the place at which the tickets were selected.
      const place = selection.place ?? shownShow(show);
      const shown = { total: changed ?? total, shows: { [show.id]: place } };
      const order = await holdTickets(ids, shown, request);
      selection.clear();
      await navigate(`/checkout/${order.id}`);
    } catch (error) {
      selection.holding.set(false);
      const problem = asProblem(error);
      const now = changedTotal(problem);
      if (now !== null) setConfirmable({ ids: ids.join(), total: now });
      // The notice has the present place and time, which the next hold confirms.
      if (problem.code === "show_changed") {
        selection.confirmPlace(refusedShows(problem)[show.id] ?? null);
        await refresh();
      }
      if (problem.status === 401) await goToSignIn();
      else setRefusal(refusalText(problem, props));
    }
  };
  return { refusal, changed, hold };
}

/** A ticket that the visitor cannot have leaves the selection; a proposal with it is replaced. */
function refusalText(
  problem: Problem,
  { selection, chosen, tickets, replaceLost }: HoldProps,
): string | null {
  const ticket = tickets.find(({ id }) => id === problem.body.ticket_id);
  const lost = problem.code === "ticket_unavailable" || problem.code === "own_ticket";
  if (ticket && lost && selection.has(ticket.id)) {
    if (selection.proposed.value !== null) {
      // The notice of the replacement has the refusal.
      replaceLost(ticket);
      return null;
    }
    selection.toggle(ticket.id);
  }
  return holdRefusalText(problem, ticket ? fullName(ticket) : ticketNames(chosen.slice(0, 3)));
}
