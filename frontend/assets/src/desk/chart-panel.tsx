// The panel of the desk's charts. The library that draws them is large, so it is loaded after
// everything else, and on this page alone.
import { lazy, Suspense } from "react";

import type { SalesPoint } from "../shared/api-types";
import { formatTime, money } from "../shared/format";
import { text } from "../shared/texts";
import { conversionOf, endedOf, takingsOf } from "./sums";

const Chart = lazy(() => import("./charts"));

/** A point of the charts, and a row of their table. */
export interface ChartPoint {
  label: string;
  revenue: number;
  sold: number;
  ended: number;
  /** The percentage of the ended holds that were paid. */
  conversion: number | null;
}

interface ChartPanelProps {
  points: readonly SalesPoint[];
  currency: string;
  by: "hour" | "day";
}

export function ChartPanel({ points, currency, by }: ChartPanelProps) {
  const rows = points.map((point) => chartPointOf(point, currency, by));
  const title = text(by === "hour" ? "desk.net_by_hour" : "desk.net_by_day", { currency });
  return (
    <section className="card panel charts" aria-label={text("desk.charts")}>
      <figure aria-labelledby="revenue-title">
        <figcaption className="section-title" id="revenue-title">
          {title}
        </figcaption>
        <ChartFrame points={rows} kind="revenue" currency={currency} />
      </figure>
      <figure aria-labelledby="conversion-title">
        <figcaption className="section-title" id="conversion-title">
          {text("desk.paid_holds")}
        </figcaption>
        <ChartFrame points={rows} kind="conversion" currency={currency} />
      </figure>
      <Table title={title} points={rows} currency={currency} />
    </section>
  );
}

function chartPointOf(point: SalesPoint, currency: string, by: "hour" | "day"): ChartPoint {
  const takings = takingsOf(point, currency);
  const options =
    by === "hour"
      ? ({ hour: "numeric", minute: "2-digit" } as const)
      : ({ day: "numeric", month: "short" } as const);
  return {
    label: formatTime(point.at, options),
    revenue: takings.amount,
    sold: takings.sold,
    ended: endedOf(point),
    conversion: conversionOf(point),
  };
}

export interface ChartProps {
  points: readonly ChartPoint[];
  kind: "revenue" | "conversion";
  currency: string;
}

function ChartFrame(props: ChartProps) {
  return (
    <div className={`chart ${props.kind}`} aria-hidden="true">
      <Suspense fallback={null}>
        <Chart {...props} />
      </Suspense>
    </div>
  );
}

interface TableProps {
  title: string;
  points: readonly ChartPoint[];
  currency: string;
}

/** The charts' content for screen readers. */
function Table({ title, points, currency }: TableProps) {
  return (
    <table className="unseen">
      <caption>{title}</caption>
      <thead>
        <tr>
          <th scope="col">{text("desk.time")}</th>
          <th scope="col">{text("desk.net")}</th>
          <th scope="col">{text("desk.tickets")}</th>
          <th scope="col">{text("desk.paid_holds")}</th>
        </tr>
      </thead>
      <tbody>
        {points.map(({ label, revenue, sold, conversion }, index) => (
          <tr key={index}>
            <th scope="row">{label}</th>
            <td>{money(revenue, currency)}</td>
            <td>{sold}</td>
            <td>{conversion === null ? text("desk.no_hold_ended") : `${conversion}%`}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
