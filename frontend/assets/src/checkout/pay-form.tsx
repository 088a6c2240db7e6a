// The card input and the button that pays. They stay as they are while a payment is under way, so
// that a declined card loses no input.
import { type ReactNode, type RefObject, type SyntheticEvent, useRef, useState } from "react";

import { post, remove } from "../shared/api";
import { useSecondsUntil } from "../shared/clock";
import { minutes, money } from "../shared/format";
import { waitText } from "../shared/hold-tickets";
import { asProblem, type Problem } from "../shared/http";
import { IdempotentRequest } from "../shared/idempotency";
import { countdownSeconds, type RunningStage, urgencyOf } from "../shared/order-status";
import { outageText, pastOutageText, useOutage } from "../shared/outage";
import type { OrderRow, PaymentRow } from "../shared/push-messages";
import { placeText, refusedShows, type ShownShow, shownShows } from "../shared/shows-by-id";
import type { SiteConfig } from "../shared/site-config";
import { richText, text, type TextId } from "../shared/texts";
import { TimeRing } from "../shared/ui/time-ring";
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
  const outage = useOutage();
  const declined = !waiting && payment?.status === "failed";
  const message =
    problem ?? (declined ? `${declineText(payment)} ${text("checkout.not_charged")}` : null);
  const takesCards = config.stripe.publishable_key !== "" || config.stripe.sandbox_url !== "";
  const count = order.tickets.length;
  const onSubmit = (event: SyntheticEvent) => {
    event.preventDefault();
    if (!waiting && card.current) void pay(card.current);
  };
  return (
    <form className="pay" onSubmit={onSubmit} hidden={stage === "challenge"} aria-busy={waiting}>
      {message && !outage && (
        <p className="notice" role="alert">
          {message}
        </p>
      )}
      <Card ref={card} order={order} config={config} disabled={waiting} />
      <PayBar order={order} config={config}>
        <button
          className="button primary full"
          aria-disabled={waiting}
          disabled={!takesCards || outage !== null}
        >
          {waiting ? text("checkout.paying") : <PayLabel order={order} />}
        </button>
      </PayBar>
      {outage && !waiting && (
        <p className="notice" role="status">
          {text("checkout.pay_waits", { outage: outageText(outage) })}
        </p>
      )}
      <p className="soft pay-or">
        {richText("checkout.let_go", {
          count,
          button: (content) => (
            <button type="button" className="link" onClick={letGo} disabled={waiting}>
              {content}
            </button>
          ),
        })}
      </p>
    </form>
  );
}

interface PayBarProps {
  order: OrderRow;
  config: SiteConfig;
  /** The button that pays. */
  children: ReactNode;
}

/** On a phone, the bottom of the screen: with the button, the time and the total stay visible. */
function PayBar({ order, config, children }: PayBarProps) {
  const seconds = useSecondsUntil(order.expires_at);
  return (
    <div className="pay-bar">
      {/* The countdown and the summary have the same for a screen reader. */}
      <span className="pay-bar-time" aria-hidden="true">
        <TimeRing
          until={order.expires_at}
          whole={countdownSeconds(order, config)}
          size={26}
          urgency={urgencyOf(seconds)}
        />
        {minutes(seconds)}
      </span>
      <span className="pay-bar-total" aria-hidden="true">
        <b>{money(order.total, order.currency)}</b>
        <span className="note">{text("shared.all_in", { count: order.tickets.length })}</span>
      </span>
      {children}
    </div>
  );
}

/** The bar of a phone shows the amount beside the button. */
function PayLabel({ order }: { order: OrderRow }) {
  const amount = money(order.total, order.currency);
  const hidden = (content: ReactNode[]) => <span className="pay-amount">{content}</span>;
  return richText("checkout.pay", { amount, hidden });
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
  return <p className="notice">{text("checkout.no_cards")}</p>;
}

/** The requests that pay and that cancel. After either the order is read again. */
function useActions(order: OrderRow, feed: CheckoutFeed) {
  const [payment] = useState(() => new IdempotentRequest());
  const [cancellation] = useState(() => new IdempotentRequest());
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  // As the buyer saw them first, then as a refusal named them. A message may change the order while
  // the buyer types a card; Pay does not agree to that.
  const [agreed, setAgreed] = useState(() => shownShows(order));

  const run = async (action: () => Promise<void>) => {
    setBusy(true);
    setProblem(null);
    let refused: string | null = null;
    try {
      await action();
    } catch (error) {
      const problem = asProblem(error);
      refused = messageOf(problem, agreed);
      setAgreed({ ...agreed, ...refusedShows(problem) });
    }
    await feed.refresh();
    setProblem(refused);
    setBusy(false);
  };
  const pay = (card: CardInput) =>
    run(async () => {
      const method = await card.paymentMethod();
      feed.payHere();
      const body = {
        order_id: order.id,
        payment_method: method,
        shown_shows: agreed,
      };
      await payment.make(JSON.stringify(body), (idempotencyKey) =>
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

const MESSAGES: Partial<Record<string, TextId>> = {
  no_attempts_left: "checkout.no_attempts",
  payment_provider_unavailable: "checkout.unreachable",
};

/** The first of the shows that moved; the summary shows each of them. */
function movedText({ body }: Problem, agreed: Record<string, ShownShow>): string {
  const [[id, now] = []] = Object.entries(body.shows ?? {});
  const before = id && agreed[id];
  if (!now || !before) return "";
  return text("checkout.show_moved", {
    title: now.title,
    before: placeText(before),
    now: placeText(now),
  });
}

/** Null for an error that the order, its payment or Stripe's field shows already. */
function messageOf(problem: Problem, agreed: Record<string, ShownShow>): string | null {
  const { status, code, message, outage } = problem;
  if (outage) return text("checkout.pay_outage", { outage: pastOutageText(outage) });
  if (code === "too_many_declines") {
    return text("checkout.too_many_declines", { time: waitText(problem) });
  }
  if (MESSAGES[code]) return text(MESSAGES[code]);
  if (code === "show_changed") return movedText(problem, agreed);
  if (status === 402 || status === 409) return null;
  if (code === "payment_method_refused" || code === SHOWN_AT_FIELD) return null;
  return `${message} ${text("checkout.not_charged")}`;
}
