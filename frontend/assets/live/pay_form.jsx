// The card and the button that pays with it. It stays as it is while a payment is under way, so that a refusal loses nothing.
import { useRef, useState } from "react";

import { Attempt, post, remove } from "./api.js";
import { money } from "./format.js";
import { declineWords } from "./orders.js";
import { StripeCard } from "./stripe_card.jsx";
import { TestCards } from "./test_cards.jsx";

const WORDS = {
  offline: "No connection to the shop. Try again: you will not be charged twice.",
  payment_provider_unavailable: "The bank could not be reached. You were not charged. Try again.",
};

export function PayForm({ order, stage, payment, feed, facts }) {
  const card = useRef(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(null);
  const waiting = busy || stage !== "choosing";
  const [pay, letGo] = useWays({ order, feed, card, waiting, setBusy, setProblem });
  const declined = !waiting && !problem && payment?.status === "failed" ? declineWords(payment) : null;
  const { publishable_key: key, sandbox_url: sandbox } = facts.stripe;

  return (
    <form className="pay" onSubmit={pay} hidden={stage === "challenge"} aria-busy={waiting}>
      {(problem || declined) && (
        <p className="told" role="alert">
          {problem ?? `${declined} You were not charged.`}
        </p>
      )}
      {key && <StripeCard ref={card} order={order} publishableKey={key} disabled={waiting} />}
      {!key && sandbox && <TestCards ref={card} disabled={waiting} />}
      {!key && !sandbox && <p className="told">This shop takes no cards yet. Its owner has to name a key of Stripe first.</p>}
      <button className="button primary full" aria-disabled={waiting} disabled={!key && !sandbox}>
        {waiting ? "Paying" : `Pay ${money(order.total, order.currency)}`}
      </button>
      <p className="soft pay-or">
        or{" "}
        <button type="button" className="link" onClick={letGo} disabled={waiting}>
          let {order.tickets.length > 1 ? "them" : "it"} go
        </button>{" "}
        so that somebody else can have {order.tickets.length > 1 ? "them" : "it"}
      </p>
    </form>
  );
}

/** To pay and to let go. Whatever comes of either, the order is read again: it says where things stand. */
function useWays({ order, feed, card, waiting, setBusy, setProblem }) {
  const paying = useRef(new Attempt());
  const leaving = useRef(new Attempt());

  const attempt = async (act) => {
    setBusy(true);
    setProblem(null);
    try {
      await act();
      await feed.again();
    } catch (fault) {
      await feed.again();
      setProblem(wordsOf(fault));
    } finally {
      setBusy(false);
    }
  };
  const pay = (event) => {
    event.preventDefault();
    if (waiting) return undefined;
    return attempt(async () => {
      const method = await card.current();
      feed.paidHere = true;
      const body = { order_id: order.id, payment_method: method };
      await paying.current.make(method, (key) => post("/api/payments", body, { key }));
    });
  };
  const letGo = () => attempt(() => leaving.current.make(order.id, (key) => remove(`/api/orders/${order.id}`, { key })));
  return [pay, letGo];
}

// The order and its payment say these themselves, or Stripe says it at the field.
const SAID = new Set(["payment_method_refused", "said_at_field"]);

function wordsOf(fault) {
  if (fault.status === 402 || fault.status === 409 || SAID.has(fault.code)) return null;
  return WORDS[fault.code] ?? `${fault.message} You were not charged.`;
}
