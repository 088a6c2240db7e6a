// The shopper's pick: what is chosen, what it costs, and the button that holds it.
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { useNavigate } from "react-router";

import { Attempt } from "./api.js";
import { Bill, Total } from "./bill.jsx";
import { fullName } from "./format.js";
import { allOf, holdTickets, refusalOfHold, timeOf } from "./holding.js";
import { askUser, user } from "./session.js";
import { keep, recall } from "./stored.js";
import { costOf, names, standing } from "./tickets.js";

const MOST = 8;

/** The chosen tickets of a show, kept for this tab: signing in on the way does not lose them. */
export function usePick(showId, tickets, ready) {
  const name = `gittix:pick:${showId}`;
  const [ids, setIds] = useState(() => new Set());
  const [holding, setHolding] = useState(false);

  useEffect(() => setIds(new Set(recall(name) ?? [])), [name]);
  const toggle = useCallback(
    (id) =>
      setIds((chosen) => {
        const next = new Set(chosen);
        if (!next.delete(id)) next.add(id);
        keep(name, [...next]);
        return next;
      }),
    [name],
  );
  const clear = useCallback(() => {
    keep(name, []);
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
        <p className="told pick-problem" role="alert">
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
          <Bill tickets={chosen} fee={obstacle ? 0 : cost.fee} currency={currency} />
          <hr className="perforation notched" />
          <Total count={chosen.length} total={obstacle ? null : cost.total} currency={currency} />
          {obstacle && (
            <p className="told pick-problem" role="status">
              {obstacle}
            </p>
          )}
          <button
            type="button"
            className="button primary full"
            disabled={Boolean(obstacle) || pick.holding || !facts}
            onClick={hold}
          >
            {pick.holding ? "Holding" : `Hold ${allOf(chosen.length)} for ${timeOf(seconds)}`}
          </button>
          <p className="note">Yours alone while the clock runs. You pay nothing until you confirm.</p>
        </>
      )}
    </aside>
  );
}

/** What went wrong last, and the way to hold the pick. */
function useHold(show, pick, tickets) {
  const navigate = useNavigate();
  const [problem, setProblem] = useState(null);
  const attempt = useRef(new Attempt());
  const ids = useMemo(() => pick.chosen.map((ticket) => ticket.id).sort(), [pick.chosen]);

  const toSignIn = () => navigate(`/signin?next=${encodeURIComponent(`/shows/${show.id}`)}`);
  const hold = async () => {
    await askUser();
    if (user.value === null) {
      toSignIn();
      return;
    }
    pick.setHolding(true);
    setProblem(null);
    try {
      const order = await holdTickets(ids, attempt.current);
      pick.clear();
      navigate(`/checkout/${order.id}`);
    } catch (fault) {
      pick.setHolding(false);
      if (fault.status === 401) toSignIn();
      else setProblem(refusal(fault, pick, tickets));
    }
  };
  return [problem, hold];
}

/** Why it could not be held, in words; what somebody else has leaves the pick. */
function refusal(fault, pick, tickets) {
  const ticket = tickets.find(({ id }) => id === fault.body?.ticket_id);
  if (ticket && ["ticket_unavailable", "own_ticket"].includes(fault.code)) pick.toggle(ticket.id);
  return refusalOfHold(fault, ticket ? fullName(ticket) : names(pick.chosen.slice(0, 3)));
}
