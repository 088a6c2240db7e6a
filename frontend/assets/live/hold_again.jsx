// The tickets of an order that ended unpaid: whether they can be had again, live, and the way to hold them.
import { useEffect, useMemo, useRef, useState } from "react";
import { Link, useNavigate } from "react-router";

import { Attempt, get } from "./api.js";
import { serverNow, useClock, useSecondsUntil } from "./clock.js";
import { fullName, minutes } from "./format.js";
import { allOf, holdTickets, refusalOfHold, timeOf } from "./holding.js";
import { LiveRows } from "./live_rows.js";
import { useValue } from "./observable.js";
import { listen } from "./push.js";
import { Reading } from "./reading.js";
import { names, standing } from "./tickets.js";

class TicketsFeed {
  tickets = new LiveRows();
  #reading = new Reading();

  constructor(ids) {
    this.ids = ids;
  }

  open() {
    this.#reading.open();
    this.read().catch(() => undefined);
    const stops = this.ids.map((id) => listen(`ticket-${id}`, { message: this.#message, reread: this.read }));
    return () => {
      stops.forEach((stop) => stop());
      this.#reading.close();
    };
  }

  read = async () => {
    const began = this.tickets.mark();
    const found = await this.#reading.latest((signal) =>
      Promise.all(this.ids.map((id) => get(`/api/tickets/${id}`, { signal }))),
    );
    if (found) this.tickets.replace(found, began);
  };

  #message = (_event, data) => {
    if (data?.ticket) this.tickets.apply(data.ticket);
  };
}

/** `children(words, taken)` says how things stand; below it is what can be done. */
export function HoldAgain({ order, facts, children }) {
  const ids = order.tickets.map((ticket) => ticket.id);
  const feed = useMemo(() => new TicketsFeed(ids), [ids.join()]);
  useEffect(() => feed.open(), [feed]);
  const { rows, ready } = useValue(feed.tickets);
  useClock(wholeSecond);
  const free = rows.filter((ticket) => standing(ticket) === "free");
  const held = rows.filter((ticket) => ["held", "paying"].includes(standing(ticket)));
  const taken = ready && free.length === 0;
  const [problem, holding, hold] = useHold(free);
  const what = free.length === rows.length ? `${allOf(free.length)} again` : "what is left";
  return (
    <>
      {children(ready ? wordsOf(rows, free, held) : "", taken)}
      {taken && <Soon ticket={held.find((ticket) => ticket.held_until)} />}
      {problem && (
        <p className="told" role="alert">
          {problem}
        </p>
      )}
      <p className="actions">
        {free.length > 0 && (
          <button type="button" className="button primary" onClick={hold} aria-disabled={holding}>
            {holding ? "Holding" : `Hold ${what} for ${timeOf(facts.hold_seconds)}`}
          </button>
        )}
        <Link className="button quiet" to={`/shows/${order.tickets[0].show_id}`}>
          See the show's tickets
        </Link>
      </p>
    </>
  );
}

const wholeSecond = () => Math.floor(serverNow() / 1000);

function wordsOf(all, free, held) {
  const one = all.length === 1;
  if (free.length === all.length) return one ? "Nobody has taken it yet." : "Nobody has taken them yet.";
  if (free.length > 0) return `${names(all.filter((ticket) => !free.includes(ticket)))} went to somebody else.`;
  if (held.length > 0) return one ? "It is in someone's hands now." : "They are in someone's hands now.";
  return one ? "It has been sold since." : "They have been sold since.";
}

function Soon({ ticket }) {
  const seconds = useSecondsUntil(ticket?.held_until);
  if (!seconds) return null;
  return (
    <p className="soft" data-seconds={seconds}>
      {fullName(ticket)} may be free in {minutes(seconds)}. Wait here: the way back opens by itself.
    </p>
  );
}

function useHold(free) {
  const navigate = useNavigate();
  const attempt = useRef(new Attempt());
  const [problem, setProblem] = useState(null);
  const [holding, setHolding] = useState(false);
  const hold = async () => {
    if (holding) return;
    setHolding(true);
    setProblem(null);
    try {
      const order = await holdTickets(
        free.map((ticket) => ticket.id),
        attempt.current,
      );
      navigate(`/checkout/${order.id}`, { replace: true });
    } catch (fault) {
      setHolding(false);
      const ticket = free.find(({ id }) => id === fault.body?.ticket_id);
      setProblem(refusalOfHold(fault, ticket ? fullName(ticket) : names(free)));
    }
  };
  return [problem, holding, hold];
}
