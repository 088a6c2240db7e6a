// The place of the desk's charts. The library that draws them is big, so it comes after everything else, and only here.
import { lazy, Suspense } from "react";

import { money } from "./format.js";
import { conversionOf, takingsOf } from "./sales_feed.js";

const Charts = lazy(() => import("./desk_charts.jsx"));

export function DeskCharts({ points, currency, by }) {
  const time = new Intl.DateTimeFormat(undefined, by === "hour" ? { hour: "2-digit", minute: "2-digit" } : { day: "numeric", month: "short" });
  const rows = points.map((point) => ({
    at: time.format(new Date(point.at)),
    revenue: takingsOf(point, currency).amount,
    sold: takingsOf(point, currency).sold,
    ended: point.sold + point.refunded + point.released,
    conversion: conversionOf(point),
  }));
  return (
    <section className="card panel charts" aria-label="How it went">
      <figure aria-labelledby="revenue-title">
        <figcaption className="section-title" id="revenue-title">
          {by === "hour" ? "Sales by hour" : "Sales by day"}
        </figcaption>
        <Drawn rows={rows} kind="revenue" currency={currency} />
      </figure>
      <figure aria-labelledby="conversion-title">
        <figcaption className="section-title" id="conversion-title">
          Holds that were paid
        </figcaption>
        <Drawn rows={rows} kind="conversion" currency={currency} />
      </figure>
      <Table rows={rows} currency={currency} by={by} />
    </section>
  );
}

function Drawn(props) {
  return (
    <div className={`chart ${props.kind}`} aria-hidden="true">
      <Suspense fallback={null}>
        <Charts {...props} />
      </Suspense>
    </div>
  );
}

/** The same, for who doesn't see it. */
function Table({ rows, currency, by }) {
  return (
    <table className="unseen">
      <caption>{by === "hour" ? "Sales by hour" : "Sales by day"}</caption>
      <thead>
        <tr>
          <th scope="col">Time</th>
          <th scope="col">Sold for</th>
          <th scope="col">Tickets</th>
          <th scope="col">Holds that were paid</th>
        </tr>
      </thead>
      <tbody>
        {rows.map((row, index) => (
          <tr key={index}>
            <th scope="row">{row.at}</th>
            <td>{money(row.revenue, currency)}</td>
            <td>{row.sold}</td>
            <td>{row.ended ? `${row.conversion}%` : "none ended"}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
