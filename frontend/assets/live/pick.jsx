// The shopper's pick: what is chosen, what it costs, and the button that holds it.
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { useNavigate } from "react-router";

import { newKey, post } from "./api.js";
import { secondsUntil } from "./clock.js";
import { fullName, minutes, money } from "./format.js";
import { askUser, user } from "./session.js";
import { costOf, names, standing } from "./tickets.js";
import { toast } from "./toasts.jsx";

const MOST = 8;

/** The chosen tickets of a show, kept for this tab: signing in on the way does not lose them. */
export function usePick(showId, tickets, ready) {
  const name = `gittix:pick:${showId}`;
  const [ids, setIds] = useState(() => new Set());
  const [holding, setHolding] = useState(false);

  useEffect(() => setIds(new Set(JSON.parse(stored(name) ?? "[]"))), [name]);
  const toggle = useCallback(
    (id) =>
      setIds((chosen) => {
        const next = new Set(chosen);
        if (!next.delete(id)) next.add(id);
        store(name, JSON.stringify([...next]));
        return next;
      }),
    [name],
  );
  const clear = useCallback(() => {
    store(name, "[]");
    setIds(new Set());
  }, [name]);

  const chosen = ready ? tickets.filter((ticket) => ids.has(ticket.id) && standing(ticket) === "free") : [];
  return { chosen, toggle, clear, holding, setHolding, has: (id) => ids.has(id) };
}

export function Pick({ show, pick, facts, tickets }) {
  const { chosen } = pick;
  const [problem, hold] = useHold(show, pick, tickets);
  const currencies = new Set(chosen.map((ticket) => ticket.currency));
  const most = facts?.max_tickets_per_order ?? MOST;
  const seconds = facts?.hold_seconds ?? 60;
  const [{ currency }] = chosen.length ? chosen : [{ currency: null }];
  const cost = costOf(chosen, facts?.fee_percent ?? 0);
  const obstacle =
    (currencies.size > 1 && "An order has one currency. Hold the others apart.") ||
    (chosen.length > most && `An order can have ${most} tickets.`);
  return (
    <aside className={`card pick ${chosen.length ? "" : "empty"}`} aria-label="Your pick">
      <h2 className="section-title">Your pick</h2>
      {problem && (
        <p className="pick-problem" role="alert">
          {problem}
        </p>
      )}
      {chosen.length === 0 && (
        <p className="soft pick-empty">
          Choose one ticket or several. They are yours alone for {seconds} seconds while you pay.
        </p>
      )}
      {chosen.length > 0 && (
        <>
          <ul className="pick-lines">
            {chosen.map((ticket) => (
              <li className="pick-line" key={ticket.id}>
                <span>{fullName(ticket)}</span>
                <span>{money(ticket.price, ticket.currency)}</span>
              </li>
            ))}
            {!obstacle && cost.fee > 0 && (
              <li className="pick-line soft">
                <span>Service fee</span>
                <span>{money(cost.fee, currency)}</span>
              </li>
            )}
          </ul>
          <hr className="perforation notched" />
          <p className="pick-total">
            <span className="soft">{chosen.length === 1 ? "1 ticket" : `${chosen.length} tickets`}, all-in</span>
            <b>{obstacle ? "—" : money(cost.total, currency)}</b>
          </p>
          {obstacle && (
            <p className="pick-problem" role="status">
              {obstacle}
            </p>
          )}
          <button
            type="button"
            className="button primary full"
            disabled={Boolean(obstacle) || pick.holding || !facts}
            onClick={hold}
          >
            {pick.holding ? "Holding" : holdWords(chosen.length, seconds)}
          </button>
          <p className="note">Yours alone while the clock runs. You pay nothing until you confirm.</p>
        </>
      )}
    </aside>
  );
}

function holdWords(count, seconds) {
  const what = count === 1 ? "it" : count === 2 ? "both" : `all ${count}`;
  return `Hold ${what} for ${seconds < 120 ? `${seconds} seconds` : `${Math.round(seconds / 60)} minutes`}`;
}

/** What went wrong last, and the way to hold the pick. A repeat after a lost reply carries the same key. */
function useHold(show, pick, tickets) {
  const navigate = useNavigate();
  const [problem, setProblem] = useState(null);
  const attempt = useRef({ ids: "", key: "" });
  const ids = useMemo(() => pick.chosen.map((ticket) => ticket.id).sort(), [pick.chosen]);

  const toSignIn = () => navigate(`/signin?next=${encodeURIComponent(`/shows/${show.id}`)}`);
  const hold = async () => {
    await askUser();
    if (user.value === null) {
      toSignIn();
      return;
    }
    const named = ids.join();
    if (attempt.current.ids !== named) attempt.current = { ids: named, key: newKey() };
    pick.setHolding(true);
    setProblem(null);
    try {
      const order = await post("/api/orders", { ticket_ids: ids }, { key: attempt.current.key });
      pick.clear();
      navigate(`/checkout/${order.id}`);
    } catch (fault) {
      pick.setHolding(false);
      if (fault.status !== 0) attempt.current = { ids: "", key: "" };
      if (fault.status === 401) toSignIn();
      else setProblem(refusal(fault, pick, tickets));
    }
  };
  return [problem, hold];
}

/** Why it could not be held, in words; what somebody else has leaves the pick. */
function refusal(fault, pick, tickets) {
  const ticket = tickets.find(({ id }) => id === fault.body?.ticket_id);
  const which = ticket ? fullName(ticket) : names(pick.chosen.slice(0, 3));
  switch (fault.code) {
    case "ticket_unavailable": {
      if (ticket) pick.toggle(ticket.id);
      const until = fault.body.held_until;
      const hope = until ? ` It may be free in ${minutes(secondsUntil(until))}.` : "";
      return `Somebody was faster with ${which}.${hope}`;
    }
    case "own_ticket":
      if (ticket) pick.toggle(ticket.id);
      return `You are selling ${which} yourself.`;
    case "too_many_open_orders":
      return "You hold several orders already. Pay for one or let one go first.";
    case "too_many_tickets_of_show":
      return `You may have ${fault.body.max_tickets_per_show} tickets of one show.`;
    case "cooling_down":
      return `Several of your holds ended unpaid. You can hold again in ${minutes(secondsUntil(fault.body.retry_at))}.`;
    case "offline":
      return "No connection to the shop. Try again: you will not hold anything twice.";
    default:
      toast("That could not be held. Try again.");
      return fault.message;
  }
}

function stored(name) {
  try {
    return sessionStorage.getItem(name);
  } catch {
    return null;
  }
}

function store(name, value) {
  try {
    sessionStorage.setItem(name, value);
  } catch {
    // Storage is switched off: the pick then lasts as long as the page.
  }
}
