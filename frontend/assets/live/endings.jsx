// Every end that a checkout can have, and what can be done then.
import { useEffect, useRef } from "react";
import { Link } from "react-router";

import { money } from "./format.js";
import { HoldAgain } from "./hold_again.jsx";
import { Refund } from "./refund.jsx";

/** `fresh`: it came while somebody was looking, whose button has gone: the focus goes on from here. */
export function Ended({ order, stage, feed, facts, fresh }) {
  const heading = useRef(null);
  useEffect(() => {
    if (fresh) heading.current?.focus();
  }, [stage, fresh]);
  const End = ENDS[stage];
  return (
    <div className="ended" data-end={stage}>
      <End order={order} feed={feed} facts={facts} heading={heading} />
    </div>
  );
}

function End({ mark, title, heading, children }) {
  return (
    <header className="countdown">
      <Mark kind={mark} />
      <div className="countdown-words">
        <h1 className="title" tabIndex={-1} ref={heading}>
          {title}
        </h1>
        {children}
      </div>
    </header>
  );
}

function Paid({ order, feed, facts, heading }) {
  const many = order.tickets.length > 1;
  return (
    <>
      <End mark="good" title={many ? "They're yours" : "It's yours"} heading={heading}>
        <p className="soft">Paid {money(order.total, order.currency)}. The receipt stays under My orders.</p>
      </End>
      <p className="actions">
        <Link className="button" to="/orders">
          My orders
        </Link>
        <button type="button" className="button quiet" onClick={() => print()}>
          Print the receipt
        </button>
        <Refund order={order} feed={feed} facts={facts} />
      </p>
    </>
  );
}

function Finishing({ order, heading }) {
  return (
    <End mark="wait" title="Your bank said yes" heading={heading}>
      <p className="soft">{order.tickets.length > 1 ? "The tickets are" : "The ticket is"} being written to your name. One moment.</p>
    </End>
  );
}

function Late({ heading }) {
  return (
    <End mark="wait" title="Time is up" heading={heading}>
      <p className="soft">Your bank has not answered yet. You are charged only if it says yes and nobody else took them.</p>
    </End>
  );
}

function Refunding({ order, heading }) {
  return (
    <End mark="wait" title="Your money is on its way back" heading={heading}>
      <p className="soft">{money(order.total, order.currency)} goes back to your card. Banks take some days for it.</p>
    </End>
  );
}

function Refunded({ order, heading }) {
  return (
    <End mark="over" title="Refunded" heading={heading}>
      <p className="soft">{money(order.total, order.currency)} went back to your card.</p>
    </End>
  );
}

function Expired(props) {
  return <Over title="Time is up" {...props} />;
}

function Cancelled(props) {
  return <Over title={props.order.tickets.length > 1 ? "You let them go" : "You let it go"} {...props} />;
}

/** Nothing was paid: what became of the tickets, and the way to hold them again. */
function Over({ title, order, facts, heading }) {
  return (
    <HoldAgain order={order} facts={facts}>
      {(words, taken) => (
        <End mark="over" title={taken ? "Somebody was faster" : title} heading={heading}>
          <p>
            <b>You were not charged.</b> <span className="soft">{words}</span>
          </p>
        </End>
      )}
    </HoldAgain>
  );
}

const ENDS = {
  paid: Paid,
  finishing: Finishing,
  late: Late,
  refunding: Refunding,
  refunded: Refunded,
  expired: Expired,
  cancelled: Cancelled,
};

const MARKS = { good: "M7 11.3l2.8 2.8 5.4-6", over: "M7.6 11h6.8", wait: "" };

/** Where the ring was: closed, empty, or going round. */
function Mark({ kind }) {
  return (
    <svg className={`mark ${kind}`} width="132" height="132" viewBox="0 0 22 22" aria-hidden="true">
      <circle cx="11" cy="11" r="9" pathLength="100" />
      <path d={MARKS[kind]} />
    </svg>
  );
}
