// The bar that changes the selected tickets at once: a price for all, or off sale.
import { type SyntheticEvent, useState } from "react";

import type { ChangedTicket, Ticket } from "../shared/api-types";
import { discardDraft } from "../shared/form";
import { fullName, money, sentence } from "../shared/format";
import { asProblem } from "../shared/http";
import type { LiveRows } from "../shared/live-rows";
import { text, type TextId } from "../shared/texts";
import { bySection } from "../shared/tickets";
import { toast } from "../shared/ui/toasts";
import { type BulkChange, BulkRequest } from "./bulk-change";
import { amountsOf } from "./price-fields";
import type { Selection } from "./selection";
import { changeFormName } from "./ticket-form";

/** The refused tickets that are named. */
const MAX_NAMED = 5;
const REFUSALS: Partial<Record<string, TextId>> = {
  ticket_taken: "sell.bulk_taken",
  ticket_withdrawn: "sell.bulk_withdrawn",
  other_currency: "sell.bulk_other_currency",
};

interface BulkBarProps {
  selection: Selection;
  sellerId: string;
  tickets: LiveRows<Ticket>;
}

export function BulkBar({ selection, sellerId, tickets }: BulkBarProps) {
  const [price, setPrice] = useState("");
  const [isSure, setIsSure] = useState(false);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const [refused, setRefused] = useState<readonly ChangedTicket[]>([]);
  const [request] = useState(() => new BulkRequest());
  const { selected, free } = selection;
  const count = selected.length;
  const currencies = [...new Set(selected.map((ticket) => ticket.currency))];
  const [currency = ""] = currencies;

  const apply = (items: readonly ChangedTicket[]) => {
    for (const { ticket } of items) {
      if (!ticket) continue;
      tickets.apply(ticket);
      if (ticket.status === "withdrawn") discardDraft(changeFormName(sellerId, ticket));
    }
  };
  const send = async (change: BulkChange, done: (count: number) => string) => {
    setBusy(true);
    setProblem(null);
    setRefused([]);
    // The page's order, so that the refused tickets are named in it.
    const ids = bySection(selected).flatMap(([, inSection]) => inSection.map(({ id }) => id));
    try {
      const outcome = await request.make(ids, change, apply);
      selection.select(ids, false);
      setRefused(outcome.refused);
      if (outcome.changed.length) toast(done(outcome.changed.length));
      setPrice("");
      setIsSure(false);
    } catch (error) {
      setProblem(sentence(asProblem(error).message));
    }
    setBusy(false);
  };
  const setPrices = async (event: SyntheticEvent) => {
    event.preventDefault();
    const { amounts, messages } = amountsOf({ price, currency, face_value: "" });
    if (messages.price !== undefined) {
      setProblem(sentence(messages.price));
      return;
    }
    const shown = money(amounts.price, currency);
    await send({ price: amounts.price, currency }, (changed) =>
      text("sell.bulk_priced", { count: changed, price: shown }),
    );
  };
  const withdraw = () =>
    send({ withdraw: true }, (changed) => text("sell.bulk_off_sale", { count: changed }));

  return (
    <section className="card bulk-bar" aria-label={text("sell.bulk")}>
      <header>
        <b role="status" data-selected={count}>
          {text("sell.bulk_selected", { count })}
        </b>
        <button
          type="button"
          className="link"
          disabled={busy || count === free.length}
          onClick={() => {
            selection.select(
              free.map(({ id }) => id),
              true,
            );
          }}
        >
          {text("sell.bulk_all", { count: free.length })}
        </button>
        <button
          type="button"
          className="button quiet small"
          onClick={() => {
            selection.setOpen(false);
          }}
        >
          {text("sell.bulk_close")}
        </button>
      </header>
      <form className="bulk-actions" noValidate onSubmit={setPrices}>
        <div className="field">
          <label htmlFor="bulk-price">
            {currency ? text("sell.bulk_price_in", { currency }) : text("sell.bulk_price")}
          </label>
          <input
            id="bulk-price"
            value={price}
            inputMode="decimal"
            autoComplete="off"
            disabled={currencies.length > 1}
            aria-describedby="bulk-problem"
            onChange={(event) => {
              setPrice(event.target.value);
              setProblem(null);
            }}
          />
        </div>
        <button className="button" disabled={busy || count === 0 || currencies.length > 1}>
          {busy ? text("shared.one_moment") : text("sell.bulk_set_price")}
        </button>
        {isSure ? (
          <button
            type="button"
            className="button danger"
            disabled={busy || count === 0}
            onClick={() => void withdraw()}
          >
            {text("sell.bulk_withdraw_sure", { count })}
          </button>
        ) : (
          <button
            type="button"
            className="button quiet"
            disabled={busy || count === 0}
            onClick={() => {
              setIsSure(true);
            }}
          >
            {text("sell.bulk_withdraw")}
          </button>
        )}
      </form>
      <p className="note" id="bulk-problem">
        {currencies.length > 1 && text("sell.bulk_mixed")}
        {problem && (
          <span className="problem" role="alert">
            {problem}
          </span>
        )}
      </p>
      <Refused items={refused} tickets={tickets} />
    </section>
  );
}

interface RefusedProps {
  items: readonly ChangedTicket[];
  tickets: LiveRows<Ticket>;
}

function Refused({ items, tickets }: RefusedProps) {
  if (items.length === 0) return null;
  return (
    <div className="notice bulk-refused" role="alert">
      <p>{text("sell.bulk_refused", { count: items.length })}</p>
      <ul>
        {items.slice(0, MAX_NAMED).map(({ id, error }) => (
          <li key={id} data-refused={id}>
            {`${nameOf(tickets, id)}: ${reasonOf(error)}`}
          </li>
        ))}
      </ul>
      {items.length > MAX_NAMED && (
        <p>{text("sell.bulk_refused_more", { count: items.length - MAX_NAMED })}</p>
      )}
    </div>
  );
}

function nameOf(tickets: LiveRows<Ticket>, id: string): string {
  const ticket = tickets.row(id);
  return ticket ? fullName(ticket) : text("shared.ticket");
}

function reasonOf(error: ChangedTicket["error"]): string {
  const known = REFUSALS[error?.code ?? ""];
  return known ? text(known) : (error?.detail ?? "");
}
