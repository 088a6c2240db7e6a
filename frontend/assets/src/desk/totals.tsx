// The desk's totals. Each names what it counts: the currency, the period, refunds and the fee.
import type { ReactNode } from "react";

import { secondsUntil, useClock } from "../shared/clock";
import { minutes, money } from "../shared/format";
import { text } from "../shared/texts";
import type { Period } from "./periods";
import type { SaleRow } from "./sales-feed";
import { conversionOf, endedOf, type Sums } from "./sums";

interface TotalsProps {
  now: Sums;
  before: Sums;
  currency: string;
  period: Period;
  held: readonly SaleRow[];
}

export function Totals({ now, before, currency, period, held }: TotalsProps) {
  const percent = conversionOf(now);
  const ended = endedOf(now);
  const { amount, sold, refunded, refunded_amount } = now.takings;
  const words = text(period.words);
  return (
    <dl className="totals">
      <Total
        name={text("desk.net_of", { currency, period: words })}
        value={money(amount, currency)}
        id="revenue"
      >
        {text("desk.net_note", { sold })}
        <Trend now={amount} before={before.takings.amount} words={text(period.before)} />
      </Total>
      <Total
        name={text("desk.refunds_of", { currency, period: words })}
        value={money(refunded_amount, currency)}
        id="refunds"
      >
        {refunded
          ? text("desk.refunds_note", {
              refunded,
              gross: money(amount + refunded_amount, currency),
            })
          : text("desk.no_refunds")}
      </Total>
      <Total name={text("desk.held_now")} value={held.length} id="held">
        <NextFree held={held} />
      </Total>
      <Total
        name={text("desk.paid_holds_of", { period: words })}
        value={percent === null ? "—" : `${percent}%`}
        id="conversion"
      >
        {ended
          ? text("desk.paid_of", { paid: now.sold + now.refunded, ended })
          : text("desk.none_ended")}
      </Total>
    </dl>
  );
}

interface TotalProps {
  name: string;
  value: string | number;
  id: string;
  children: ReactNode;
}

function Total({ name, value, id, children }: TotalProps) {
  return (
    <div className="card total">
      <dt className="soft">{name}</dt>
      <dd data-total={id}>{value}</dd>
      <dd className="note">{children}</dd>
    </div>
  );
}

function Trend({ now, before, words }: { now: number; before: number; words: string }) {
  if (!before || now === before) return null;
  const percent = Math.round((100 * Math.abs(now - before)) / before);
  return (
    <span className={now > before ? "trend is-free" : "trend"}>
      {text(now > before ? "desk.more_than" : "desk.less_than", { percent, before: words })}
    </span>
  );
}

function NextFree({ held }: { held: readonly SaleRow[] }) {
  const until = held.find((sale) => sale.held_until)?.held_until;
  const seconds = useClock(() => (until ? secondsUntil(until) : 0));
  if (until) return text("desk.next_free", { left: minutes(seconds) });
  return text(held.length ? "desk.being_paid" : "desk.nobody_holds");
}
