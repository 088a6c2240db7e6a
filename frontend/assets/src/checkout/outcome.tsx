// The stages of a checkout after its time, and the actions that each offers.
import { type ReactNode, type RefObject, useEffect, useRef } from "react";
import { Link } from "react-router";

import { money } from "../shared/format";
import type { EndedStage } from "../shared/order-status";
import type { OrderRow } from "../shared/push-messages";
import type { SiteConfig } from "../shared/site-config";
import { text } from "../shared/texts";
import type { CheckoutFeed } from "./checkout-feed";
import { HoldAgain } from "./hold-again";
import { PaidTickets } from "./paid-tickets";
import { RefundButton } from "./refund-button";

interface OutcomeProps {
  order: OrderRow;
  stage: EndedStage;
  feed: CheckoutFeed;
  config: SiteConfig;
  /** Move the focus to the heading: the button that had it is gone. */
  focus: boolean;
}

export function Outcome({ order, stage, feed, config, focus }: OutcomeProps) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    if (focus) heading.current?.focus();
  }, [stage, focus]);
  const Content = CONTENTS[stage];
  return (
    <div className="ended" data-end={stage}>
      <Content order={order} feed={feed} config={config} heading={heading} />
    </div>
  );
}

interface ContentProps {
  order: OrderRow;
  feed: CheckoutFeed;
  config: SiteConfig;
  heading: RefObject<HTMLHeadingElement | null>;
}

type MarkKind = "good" | "over" | "wait";

interface HeadProps {
  mark: MarkKind;
  title: string;
  heading: RefObject<HTMLHeadingElement | null>;
  children: ReactNode;
}

function Head({ mark, title, heading, children }: HeadProps) {
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

function Paid({ order, feed, config, heading }: ContentProps) {
  const title = text("checkout.paid", { count: order.tickets.length });
  return (
    <>
      <Head mark="good" title={title} heading={heading}>
        <p className="soft">{text("checkout.paid_note", { amount: totalOf(order) })}</p>
        {order.refunded > 0 && (
          <p className="soft" data-refunded={order.refunded}>
            {text("checkout.part_refunded", { amount: money(order.refunded, order.currency) })}
          </p>
        )}
      </Head>
      <PaidTickets order={order} />
      <p className="actions">
        <Link className="button" to="/orders">
          {text("checkout.my_orders")}
        </Link>
        <button
          type="button"
          className="button quiet"
          onClick={() => {
            print();
          }}
        >
          {text("checkout.print")}
        </button>
        <RefundButton order={order} feed={feed} config={config} />
      </p>
    </>
  );
}

function Finishing({ order, heading }: ContentProps) {
  return (
    <Head mark="wait" title={text("checkout.finishing")} heading={heading}>
      <p className="soft">{text("checkout.finishing_note", { count: order.tickets.length })}</p>
    </Head>
  );
}

function Late({ heading }: ContentProps) {
  return (
    <Head mark="wait" title={text("checkout.late")} heading={heading}>
      <p className="soft">{text("checkout.late_note")}</p>
    </Head>
  );
}

function Refunding({ order, heading }: ContentProps) {
  return (
    <Head mark="wait" title={text("checkout.refunding")} heading={heading}>
      <p className="soft">{text("checkout.refunding_note", { amount: totalOf(order) })}</p>
    </Head>
  );
}

function Refunded({ order, heading }: ContentProps) {
  return (
    <Head mark="over" title={text("checkout.refunded")} heading={heading}>
      <p className="soft">{text("checkout.refunded_note", { amount: totalOf(order) })}</p>
    </Head>
  );
}

function Expired(props: ContentProps) {
  return <Unpaid title={text("checkout.late")} {...props} />;
}

function Cancelled(props: ContentProps) {
  const count = props.order.tickets.length;
  return <Unpaid title={text("checkout.let_go_done", { count })} {...props} />;
}

/** Whether the tickets are free again, and the button that holds them again. */
function Unpaid({ title, order, config, heading }: ContentProps & { title: string }) {
  return (
    <HoldAgain order={order} config={config}>
      {(state, taken) => (
        <Head mark="over" title={taken ? text("checkout.taken") : title} heading={heading}>
          <p>
            <b>{text("checkout.not_charged")}</b> <span className="soft">{state}</span>
          </p>
        </Head>
      )}
    </HoldAgain>
  );
}

const totalOf = ({ total, currency }: OrderRow) => money(total, currency);

const CONTENTS = {
  paid: Paid,
  finishing: Finishing,
  late: Late,
  refunding: Refunding,
  refunded: Refunded,
  expired: Expired,
  cancelled: Cancelled,
} satisfies Record<EndedStage, (props: ContentProps) => ReactNode>;

const MARKS: Record<MarkKind, string> = {
  good: "M7 11.3l2.8 2.8 5.4-6",
  over: "M7.6 11h6.8",
  wait: "",
};

/** In the place of the countdown's ring: closed, empty or turning. */
function Mark({ kind }: { kind: MarkKind }) {
  return (
    <svg className={`mark ${kind}`} width="132" height="132" viewBox="0 0 22 22" aria-hidden="true">
      <circle cx="11" cy="11" r="9" pathLength="100" />
      <path d={MARKS[kind]} />
    </svg>
  );
}
