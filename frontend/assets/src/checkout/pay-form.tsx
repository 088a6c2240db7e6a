// The card input and the button that pays. They stay as they are while a payment is under way, so
// that a declined card loses no input.
import { type RefObject, type SyntheticEvent, useRef, useState } from "react";

import { post, remove } from "../shared/api";
import { money } from "../shared/format";
import { waitText } from "../shared/hold-tickets";
import { asProblem, type Problem } from "../shared/http";
import { IdempotentRequest } from "../shared/idempotency";
import type { RunningStage } from "../shared/order-status";
import type { OrderRow, PaymentRow } from "../shared/push-messages";
import type { SiteConfig } from "../shared/site-config";
import { type CardInput, SHOWN_AT_FIELD } from "./card-input";
import type { CheckoutFeed } from "./checkout-feed";
import { declineText } from "./decline-text";
import { StripeCard } from "./stripe-card";
import { TestCards } from "./test-cards";

interface PayFormProps {
  order: OrderRow;
  stage: RunningStage;
  payment: PaymentRow | undefined;
  feed: CheckoutFeed;
  config: SiteConfig;
}

export function PayForm({ order, stage, payment, feed, config }: PayFormProps) {
  const card = useRef<CardInput>(null);
  const { busy, problem, pay, letGo } = useActions(order, feed);
  const waiting = busy || stage !== "choosing";
  const declined = !waiting && payment?.status === "failed";
  const message = problem ?? (declined ? `${declineText(payment)} You were not charged.` : null);
  const takesCards = config.stripe.publishable_key !== "" || config.stripe.sandbox_url !== "";
  const them = order.tickets.length > 1 ? "them" : "it";
  const onSubmit = (event: SyntheticEvent) => {
    event.preventDefault();
    if (!waiting && card.current) void pay(card.current);
  };
  return (
    <form className="pay" onSubmit={onSubmit} hidden={stage === "challenge"} aria-busy={waiting}>
      {message && (
        <p className="notice" role="alert">
          {message}
        </p>
      )}
      <Card ref={card} order={order} config={config} disabled={waiting} />
      <button className="button primary full" aria-disabled={waiting} disabled={!takesCards}>
        {waiting ? "Paying" : `Pay ${money(order.total, order.currency)}`}
      </button>
      <p className="soft pay-or">
        or{" "}
        <button type="button" className="link" onClick={letGo} disabled={waiting}>
          let {them} go
        </button>{" "}
        so that somebody else can have {them}
      </p>
    </form>
  );
}

interface CardProps {
  ref: RefObject<CardInput | null>;
  order: OrderRow;
  config: SiteConfig;
  disabled: boolean;
}

function Card({ ref, order, config, disabled }: CardProps) {
  const { publishable_key: key, sandbox_url: sandbox } = config.stripe;
  if (key) return <StripeCard ref={ref} order={order} publishableKey={key} disabled={disabled} />;
  if (sandbox) return <TestCards ref={ref} disabled={disabled} />;
  return (
    <p className="notice">
      This shop takes no cards yet. Its owner has to name a key of Stripe first.
    </p>
  );
}

/** The requests that pay and that cancel. After either the order is read again. */
function useActions(order: OrderRow, feed: CheckoutFeed) {
  const [payment] = useState(() => new IdempotentRequest());
  const [cancellation] = useState(() => new IdempotentRequest());
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);

  const run = async (action: () => Promise<void>) => {
    setBusy(true);
    setProblem(null);
    let refused: string | null = null;
    try {
      await action();
    } catch (error) {
      refused = messageOf(asProblem(error));
    }
    await feed.refresh();
    setProblem(refused);
    setBusy(false);
  };
  const pay = (card: CardInput) =>
    run(async () => {
      const method = await card.paymentMethod();
      feed.payHere();
      const body = { order_id: order.id, payment_method: method };
      await payment.make(method, (idempotencyKey) =>
        post("/api/payments", body, { idempotencyKey }),
      );
    });
  const letGo = () =>
    run(() =>
      cancellation.make(order.id, (idempotencyKey) =>
        remove("/api/orders/{id}", { params: { id: order.id }, idempotencyKey }),
      ),
    );
  return { busy, problem, pay, letGo };
}

const MESSAGES: Record<string, string> = {
  offline: "No connection to the shop. Try again: you will not be charged twice.",
  no_attempts_left:
    "Too many payments of this order failed. Its tickets are free when the time is up. You were " +
    "not charged.",
  payment_provider_unavailable: "The bank could not be reached. You were not charged. Try again.",
};

/** Null for an error that the order, its payment or Stripe's field shows already. */
function messageOf(problem: Problem): string | null {
  const { status, code, message } = problem;
  if (code === "too_many_declines") {
    return `Too many cards were declined. You can pay in ${waitText(problem)}.`;
  }
  if (MESSAGES[code]) return MESSAGES[code];
  if (status === 402 || status === 409) return null;
  if (code === "payment_method_refused" || code === SHOWN_AT_FIELD) return null;
  return `${message} You were not charged.`;
}
