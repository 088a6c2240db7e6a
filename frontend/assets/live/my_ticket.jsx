// A ticket as its seller sees it: how it stands, and the way to change it or take it off sale while nobody has it.
import { memo, useState } from "react";

import { Field } from "./account.jsx";
import { majorUnits } from "./amounts.js";
import { put, remove } from "./api.js";
import { useSecondsUntil } from "./clock.js";
import { useFacts } from "./facts.js";
import { fullName, minutes, money, seatName } from "./format.js";
import { FormProblem, refuse, useForm } from "./forms.jsx";
import { amountsOf, PriceFields, pricesReworded } from "./prices.jsx";
import { Ring } from "./ring.jsx";
import { toast } from "./toasts.jsx";

const FIELDS = ["section", "row", "seat", "price", "currency", "face_value"];
const HOLD_SECONDS = 60;
/** Why a seller may not change it. */
const LOCKED = {
  held: "It stays as it is while somebody holds it.",
  paying: "It stays as it is while it is being paid for.",
  sold: "A buyer has it, so it stays as it is.",
};

export const MyTicket = memo(function MyTicket({ ticket, is, sellerId, feed }) {
  const [open, setOpen] = useState(false);
  const className = ["ticket", is, open && "open", ticket.touched && "changed"].filter(Boolean).join(" ");
  return (
    <li className={className} data-ticket={ticket.id} data-is={is} data-version={ticket.version} data-beat={ticket.touched % 2}>
      <div className="ticket-line my-ticket">
        <span className="ticket-name">
          <b>{seatName(ticket)}</b>
          {is !== "free" && <span className="note locked">{LOCKED[is]}</span>}
        </span>
        <span className="ticket-state">
          <State ticket={ticket} is={is} />
        </span>
        <span className="ticket-price">{money(ticket.price, ticket.currency)}</span>
        {is === "free" || open ? (
          <button type="button" className="button quiet small" aria-expanded={open} aria-label={`${open ? "Close" : "Change"} ${fullName(ticket)}`} onClick={() => setOpen(!open)}>
            {open ? "Close" : "Change"}
          </button>
        ) : (
          <span />
        )}
      </div>
      {open && <TicketForm ticket={ticket} is={is} sellerId={sellerId} feed={feed} close={() => setOpen(false)} />}
    </li>
  );
});

function State({ ticket, is }) {
  if (is === "held") return <Held ticket={ticket} />;
  if (is === "paying") return "being paid for";
  return is === "sold" ? "sold" : <span className="is-free">on sale</span>;
}

function Held({ ticket }) {
  const seconds = useSecondsUntil(ticket.held_until);
  const whole = useFacts()?.hold_seconds ?? HOLD_SECONDS;
  return (
    <>
      <Ring until={ticket.held_until} whole={whole} />
      <span data-seconds={seconds}>held · {minutes(seconds)}</span>
    </>
  );
}

function TicketForm({ ticket, is, sellerId, feed, close }) {
  const { currency } = ticket;
  const blank = {
    section: ticket.section ?? "",
    row: ticket.row ?? "",
    seat: ticket.seat ?? "",
    price: majorUnits(ticket.price, currency),
    currency,
    face_value: ticket.face_value ? majorUnits(ticket.face_value, currency) : "",
  };
  const path = `/api/tickets/${ticket.id}`;
  const tag = `"${ticket.version}"`;
  /** Whatever changed behind the page's back is read, so that the next try is about what is there. */
  const about = async (ask) => {
    try {
      return await ask();
    } catch (fault) {
      if (fault.status === 409 || fault.status === 412) await feed.again();
      throw fault;
    }
  };
  const form = useForm(`${sellerId}:ticket:${ticket.id}`, blank, async (values) => {
    const { amounts, problems } = amountsOf(values);
    refuse(problems);
    const { section, row, seat } = values;
    const change = { ...amounts, currency: values.currency, section, row, seat };
    feed.tickets.apply(await about(() => pricesReworded(values.currency, () => put(path, change, { tag }))));
    form.reset();
    toast(`${fullName(ticket)} is changed.`);
    close();
  });
  const withdraw = useForm(`${sellerId}:withdrawal:${ticket.id}`, { sure: false }, async () => {
    await about(() => remove(path, { tag }));
    form.reset();
    withdraw.reset();
    feed.tickets.apply({ id: ticket.id, status: "withdrawn", version: ticket.version + 1 });
    toast(`${fullName(ticket)} is off sale.`);
  });
  const { values, field, busy, problem } = form;
  const locked = is !== "free";
  return (
    <div className="ticket-form">
      <form className="form" {...form.form} aria-label={fullName(ticket)}>
        <FormProblem problem={problem} fields={FIELDS} />
        {locked && (
          <p className="notice" role="status">
            {LOCKED[is]} What you typed is kept.
          </p>
        )}
        <div className="fields thirds">
          <Field {...field("section")} label="Section" maxLength={40} autoComplete="off" />
          <Field {...field("row")} label="Row" maxLength={40} autoComplete="off" />
          <Field {...field("seat")} label="Seat" maxLength={40} autoComplete="off" />
        </div>
        <PriceFields field={field} values={values} />
        <div className="form-actions">
          <button className="button" disabled={busy || locked}>
            {busy ? "One moment" : "Save"}
          </button>
        </div>
      </form>
      <form className="withdraw" {...withdraw.form} aria-label="Take it off sale">
        <FormProblem problem={withdraw.problem} fields={[]} />
        {withdraw.values.sure ? (
          <>
            <p>Nobody can buy it then. To sell it after all, list it again.</p>
            <button className="button danger" disabled={withdraw.busy || locked}>
              Take it off sale
            </button>
            <button type="button" className="button quiet" onClick={() => withdraw.reset()}>
              Keep it on sale
            </button>
          </>
        ) : (
          <button type="button" className="button quiet" disabled={locked} onClick={() => withdraw.set({ sure: true })}>
            Withdraw
          </button>
        )}
      </form>
    </div>
  );
}
