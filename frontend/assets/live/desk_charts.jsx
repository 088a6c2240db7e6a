// The desk's charts, drawn by recharts in the colours of the theme.
import { Area, AreaChart, Bar, BarChart, CartesianGrid, ResponsiveContainer, Tooltip, XAxis, YAxis } from "recharts";

import { digitsOf, money } from "./format.js";

const TICK = { fill: "var(--soft)", fontSize: 12 };
const MARGIN = { top: 8, right: 0, bottom: 0, left: 0 };

export default function Charts({ rows, kind, currency }) {
  return (
    <ResponsiveContainer width="100%" height="100%" initialDimension={{ width: 600, height: 200 }}>
      {kind === "revenue" ? revenueChart(rows, currency) : conversionChart(rows)}
    </ResponsiveContainer>
  );
}

function revenueChart(rows, currency) {
  const most = Math.max(...rows.map((row) => row.revenue));
  return (
    <AreaChart data={rows} margin={MARGIN} accessibilityLayer={false}>
      <CartesianGrid vertical={false} stroke="var(--line)" />
      <XAxis dataKey="at" tick={TICK} tickLine={false} axisLine={false} minTickGap={40} tickMargin={6} padding={{ left: 12, right: 12 }} />
      <YAxis width={52} tick={TICK} tickLine={false} axisLine={false} domain={[0, most ? "auto" : 10 ** (digitsOf(currency) + 1)]} tickFormatter={(amount) => short(amount, currency)} />
      <Tooltip content={(tip) => <Tip {...tip} currency={currency} />} cursor={{ stroke: "var(--edge)" }} isAnimationActive={false} />
      <Area dataKey="revenue" type="monotone" stroke="var(--accent)" strokeWidth={2} fill="var(--accent)" fillOpacity={0.14} isAnimationActive={false} />
    </AreaChart>
  );
}

function conversionChart(rows) {
  return (
    <BarChart data={rows} margin={MARGIN} accessibilityLayer={false}>
      <CartesianGrid vertical={false} stroke="var(--line)" />
      <XAxis dataKey="at" tick={TICK} tickLine={false} axisLine={false} minTickGap={40} tickMargin={6} padding={{ left: 12, right: 12 }} />
      <YAxis width={52} tick={TICK} tickLine={false} axisLine={false} domain={[0, 100]} ticks={[0, 50, 100]} unit="%" />
      <Tooltip content={Tip} cursor={{ fill: "var(--line)", fillOpacity: 0.5 }} isAnimationActive={false} />
      <Bar dataKey="conversion" fill="var(--free)" radius={[4, 4, 0, 0]} maxBarSize={26} isAnimationActive={false} />
    </BarChart>
  );
}

function Tip({ active, payload, currency }) {
  if (!active || !payload?.length) return null;
  const { at, revenue, sold, ended, conversion } = payload[0].payload;
  return (
    <div className="card chart-tip">
      <p className="note">{at}</p>
      {currency ? (
        <p>
          <b>{money(revenue, currency)}</b> <span className="soft">{sold === 1 ? "1 ticket" : `${sold} tickets`}</span>
        </p>
      ) : (
        <p>{ended ? <b>{conversion}%</b> : "no hold ended"} {ended > 0 && <span className="soft">of {ended}</span>}</p>
      )}
    </div>
  );
}

/** "€1.2K": an axis has little room. */
function short(amount, currency) {
  const options = { style: "currency", currency, currencyDisplay: "narrowSymbol", notation: "compact", maximumFractionDigits: 1, minimumFractionDigits: 0 };
  return new Intl.NumberFormat(undefined, options).format(amount / 10 ** digitsOf(currency));
}
