// The checkout of one order: its countdown, its prices, the card, 3-D Secure, and its outcome.
import { useCallback, useEffect, useRef, useState } from "react";
import { Link, useParams } from "react-router";

import { useClock } from "../shared/clock";
import { useValue } from "../shared/observable";
import { isRunning, type RunningStage, type Stage, stageOf } from "../shared/order-status";
import type { OrderRow, PaymentRow } from "../shared/push-messages";
import { user } from "../shared/session";
import { type SiteConfig, useSiteConfig } from "../shared/site-config";
import { text } from "../shared/texts";
import { Empty, Failed } from "../shared/ui/page-states";
import { SignedInOnly } from "../shared/ui/signed-in-only";
import { useShowChanges, useUserFeed } from "../shared/use-user-feed";
import { CheckoutFeed } from "./checkout-feed";
import { Announcer, Countdown } from "./countdown";
import { extendableSeconds, extendedSeconds, MoreTime, MoreTimeHint } from "./more-time";
import { OrderSummary } from "./order-summary";
import { Outcome } from "./outcome";
import { PayForm } from "./pay-form";
import { ThreeDSecure } from "./three-d-secure";

// Messages bring an outcome at once. Polling is for a gateway that cannot be reached, and for a
// bank's answer with a lost webhook.
const POLL_MS = 4000;
const POLLED = new Set<Stage>(["paying", "challenge", "late", "finishing"]);
const WITH_RECEIPT = new Set<Stage>(["paid", "refunding", "refunded"]);

export function CheckoutPage() {
  const { order_id: id } = useParams();
  if (!id) return <Waiting />;
  return (
    <SignedInOnly
      title={text("checkout.sign_in")}
      words={text("checkout.sign_in_note")}
      waiting={<Waiting />}
    >
      {(buyer) => <Checkout key={`${buyer.id} ${id}`} id={id} />}
    </SignedInOnly>
  );
}

function Checkout({ id }: { id: string }) {
  const [feed] = useState(() => new CheckoutFeed(id));
  const { rows } = useValue(feed.orders);
  const [order] = rows;
  const payments = useValue(feed.payments).rows;
  const problem = useValue(feed.problem);
  const config = useSiteConfig();
  useUserFeed(feed);
  useShowChanges(feed, rows);
  const payment = order && payments.find((each) => each.id === order.payment_id);
  const stage = useClock(
    useCallback(() => (order ? stageOf(order, payment) : undefined), [order, payment]),
  );
  usePolling(feed, stage);

  if (problem?.status === 404) return <NoSuchOrder />;
  if (order && stage && config) {
    return (
      <>
        <StagePage order={order} stage={stage} payment={payment} feed={feed} config={config} />
      </>
    );
  }
  return problem ? <Failed problem={problem} retry={() => void feed.refresh()} /> : <Waiting />;
}

interface StageProps<S extends Stage = Stage> {
  order: OrderRow;
  stage: S;
  payment: PaymentRow | undefined;
  feed: CheckoutFeed;
  config: SiteConfig;
}

function StagePage(props: StageProps) {
  const { order, stage, feed, config } = props;
  const needs = useValue(user)?.needs_more_time;
  const [ranHere, setRanHere] = useState(false);
  if (isRunning(stage) && !ranHere) setRanHere(true);
  return (
    <>
      {(isRunning(stage) || stage === "late" || stage === "expired") && (
        <Announcer
          until={order.expires_at}
          extendable={extendableSeconds(order, needs)}
          extended={extendedSeconds(order)}
        />
      )}
      <div className="checkout" data-stage={stage}>
        <div className="checkout-way">
          {isRunning(stage) ? (
            <Running {...props} stage={stage} />
          ) : (
            <Outcome order={order} stage={stage} feed={feed} config={config} focus={ranHere} />
          )}
        </div>
        <OrderSummary order={order} dated={WITH_RECEIPT.has(stage)} />
      </div>
    </>
  );
}

function Running({ order, stage, payment, feed, config }: StageProps<RunningStage>) {
  return (
    <>
      <Countdown order={order} stage={stage} payment={payment} config={config} />
      <MoreTime order={order} stage={stage} feed={feed} />
      <PayForm order={order} stage={stage} payment={payment} feed={feed} config={config} />
      <MoreTimeHint stage={stage} />
      {stage === "challenge" && payment && (
        <ThreeDSecure payment={payment} feed={feed} config={config} />
      )}
    </>
  );
}

/** Reads again when the time has run out, and while a bank's answer is due. */
function usePolling(feed: CheckoutFeed, stage: Stage | undefined): void {
  const before = useRef(stage);
  useEffect(() => {
    if (before.current && before.current !== stage && !isRunning(stage)) void feed.refresh();
    before.current = stage;
    if (!stage || !POLLED.has(stage)) return undefined;
    const polling = setInterval(() => void feed.refresh(), POLL_MS);
    return () => {
      clearInterval(polling);
    };
  }, [feed, stage]);
}

function NoSuchOrder() {
  return (
    <Empty
      title={text("checkout.no_order")}
      action={
        <Link className="button" to="/orders">
          {text("checkout.my_orders")}
        </Link>
      }
    >
      {text("checkout.no_order_note")}
    </Empty>
  );
}

/** The frame of the page until its data is read, in the sizes that the page will have. */
function Waiting() {
  return (
    <div className="checkout" aria-busy="true">
      <span className="unseen" role="status">
        {text("checkout.loading")}
      </span>
      <div className="checkout-way">
        <div className="countdown">
          <div className="skeleton" style={{ width: 132, height: 132, borderRadius: "50%" }} />
          <div className="countdown-words">
            <div className="skeleton" style={{ width: "min(22rem, 90%)", height: 36 }} />
            <div className="skeleton" style={{ width: "min(24rem, 100%)", height: 18 }} />
          </div>
        </div>
        <div className="card skeleton" style={{ height: 292 }} />
      </div>
      <div className="card skeleton" style={{ height: 300 }} />
    </div>
  );
}
