// The desk's totals: sold, held at this moment, and the part of the holds that was paid.
import type { ReactNode } from "react";

import { secondsUntil, useClock } from "../shared/clock";
import { counted, minutes, money } from "../shared/format";
import type { SaleRow } from "./sales-feed";
import { conversionOf, endedOf, type Period, type Sums } from "./sums";

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
  return (
    <dl className="totals">
      <Total
        name={`Sold, ${period.label.toLowerCase()}`}
        value={money(now.takings.amount, currency)}
        id="revenue"
      >
        {counted(now.takings.sold, "ticket")}
        <Trend now={now.takings.amount} before={before.takings.amount} words={period.before} />
      </Total>
      <Total name="Held right now" value={held.length} id="held">
        <NextFree held={held} />
      </Total>
      <Total
        name="Holds that were paid"
        value={percent === null ? "—" : `${percent}%`}
        id="conversion"
      >
        {ended ? `${now.sold + now.refunded} of ${ended}` : "none has ended yet"}
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
    <span className={now > before ? "is-free" : ""}>
      {" "}
      {now > before ? "▲" : "▼"} {percent}% on {words}
    </span>
  );
}

function NextFree({ held }: { held: readonly SaleRow[] }) {
  const until = held.find((sale) => sale.held_until)?.held_until;
  const seconds = useClock(() => (until ? secondsUntil(until) : 0));
  if (until) return `next one free in ${minutes(seconds)}`;
  return held.length ? "being paid for" : "nobody holds any";
}
