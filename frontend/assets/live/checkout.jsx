// The checkout of one order: its clock, its bill, the card, the bank's question, and every end that it can have.
import { useCallback, useEffect, useMemo, useRef } from "react";
import { Link, useParams } from "react-router";

import { CheckoutFeed } from "./checkout_feed.js";
import { Challenge } from "./challenge.jsx";
import { useClock } from "./clock.js";
import { Announcer, Countdown } from "./countdown.jsx";
import { Ended } from "./endings.jsx";
import { useFacts } from "./facts.js";
import { MembersOnly } from "./members.jsx";
import { useMine } from "./mine.js";
import { useValue } from "./observable.js";
import { OrderSummary } from "./order_summary.jsx";
import { stageOf } from "./orders.js";
import { PayForm } from "./pay_form.jsx";
import { Empty, Failed, OfflineBanner } from "./states.jsx";

// Push tells of an outcome at once; this is for when it can't, or for a bank's answer that nobody told us of.
const LOOK_MS = 4000;
const RUNNING = new Set(["choosing", "paying", "challenge"]);
const TIMED = new Set([...RUNNING, "late", "expired"]);
const RECEIPTS = new Set(["paid", "refunding", "refunded"]);
const AWAITED = new Set(["paying", "challenge", "late", "finishing"]);

export function CheckoutPage() {
  const { order_id: id } = useParams();
  if (!id) return <Waiting />;
  return (
    <MembersOnly title="Sign in to see this order" words="If it is yours and its time still runs, it waits for you here." waiting={<Waiting />}>
      {(buyer) => <OneCheckout key={`${buyer.id} ${id}`} id={id} />}
    </MembersOnly>
  );
}

function OneCheckout({ id }) {
  const feed = useMemo(() => new CheckoutFeed(id), [id]);
  const [order] = useValue(feed.orders).rows;
  const payments = useValue(feed.payments).rows;
  const problem = useValue(feed.problem);
  const facts = useFacts();
  useMine(feed);
  const payment = order && payments.find((each) => each.id === order.payment_id);
  const stage = useClock(useCallback(() => order && stageOf(order, payment), [order, payment]));
  const ran = useRef(false);
  ran.current ||= RUNNING.has(stage);
  useLook(feed, stage);

  if (problem?.status === 404) return <NoSuchOrder />;
  if (!order || !facts) return problem ? <Failed problem={problem} again={feed.again} /> : <Waiting />;
  return (
    <>
      <OfflineBanner />
      {TIMED.has(stage) && <Announcer until={order.expires_at} />}
      <div className="checkout" data-stage={stage}>
        <div className="checkout-way">
          {RUNNING.has(stage) ? (
            <>
              <Countdown order={order} stage={stage} payment={payment} facts={facts} />
              <PayForm order={order} stage={stage} payment={payment} feed={feed} facts={facts} />
              {stage === "challenge" && <Challenge payment={payment} feed={feed} facts={facts} />}
            </>
          ) : (
            <Ended order={order} stage={stage} feed={feed} facts={facts} fresh={ran.current} />
          )}
        </div>
        <OrderSummary order={order} numbered={RECEIPTS.has(stage)} />
      </div>
    </>
  );
}

/** Look again when a time has run out, and as long as somebody else's answer is awaited. */
function useLook(feed, stage) {
  const before = useRef(stage);
  useEffect(() => {
    if (before.current !== stage && before.current && !RUNNING.has(stage)) feed.again();
    before.current = stage;
    if (!AWAITED.has(stage)) return undefined;
    const looking = setInterval(feed.again, LOOK_MS);
    return () => clearInterval(looking);
  }, [feed, stage]);
}

function NoSuchOrder() {
  return (
    <Empty
      title="There is no such order"
      action={
        <Link className="button" to="/orders">
          My orders
        </Link>
      }
    >
      It may be somebody else's, or a mistyped address.
    </Empty>
  );
}

/** The page's frame while it is read, in the sizes that it will have. */
function Waiting() {
  return (
    <div className="checkout" aria-busy="true">
      <span className="unseen" role="status">
        Loading the checkout
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
