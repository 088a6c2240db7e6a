// The desk's charts, drawn by recharts in the colours of the theme.
import { Bar, BarChart, CartesianGrid, ResponsiveContainer, Tooltip, XAxis, YAxis } from "recharts";

import { decimalsOf } from "../shared/currencies";
import { money, moneyCompact } from "../shared/format";
import { richText, text } from "../shared/texts";
import type { ChartPoint, ChartProps } from "./chart-panel";

const FIRST_SIZE = { width: 600, height: 200 };
const MARGIN = { top: 8, right: 0, bottom: 0, left: 0 };
const AXIS = {
  tick: { fill: "var(--soft)", fontSize: 12 },
  tickLine: false,
  axisLine: false,
} as const;
const TIME_AXIS = {
  ...AXIS,
  dataKey: "label",
  minTickGap: 40,
  tickMargin: 6,
  padding: { left: 12, right: 12 },
} as const;
const VALUE_AXIS = { ...AXIS, width: 52 } as const;
// A line between two days would show sales at times without any.
const ROUND_TOP: [number, number, number, number] = [4, 4, 0, 0];
const BAR = { maxBarSize: 26, radius: ROUND_TOP, isAnimationActive: false } as const;
const BAR_CURSOR = { fill: "var(--line)", fillOpacity: 0.5 };

export default function Chart({ points, kind, currency }: ChartProps) {
  return (
    <ResponsiveContainer width="100%" height="100%" initialDimension={FIRST_SIZE}>
      {kind === "revenue" ? revenueChart(points, currency) : conversionChart(points)}
    </ResponsiveContainer>
  );
}

function revenueChart(points: readonly ChartPoint[], currency: string) {
  const empty = points.every((point) => point.revenue === 0);
  const top = empty ? 10 ** (decimalsOf(currency) + 1) : "auto";
  return (
    <BarChart data={points} margin={MARGIN} accessibilityLayer={false}>
      <CartesianGrid vertical={false} stroke="var(--line)" />
      <XAxis {...TIME_AXIS} />
      <YAxis
        {...VALUE_AXIS}
        domain={[0, top]}
        tickFormatter={(amount: number) => moneyCompact(amount, currency)}
      />
      <Tooltip
        content={(tooltip) =>
          tooltipOf(tooltip, (point) => <Revenue {...point} currency={currency} />)
        }
        cursor={BAR_CURSOR}
        isAnimationActive={false}
      />
      <Bar dataKey="revenue" fill="var(--accent)" {...BAR} />
    </BarChart>
  );
}

function conversionChart(points: readonly ChartPoint[]) {
  return (
    <BarChart data={points} margin={MARGIN} accessibilityLayer={false}>
      <CartesianGrid vertical={false} stroke="var(--line)" />
      <XAxis {...TIME_AXIS} />
      <YAxis {...VALUE_AXIS} domain={[0, 100]} ticks={[0, 50, 100]} unit="%" />
      <Tooltip
        content={(tooltip) => tooltipOf(tooltip, (point) => <Conversion {...point} />)}
        cursor={BAR_CURSOR}
        isAnimationActive={false}
      />
      <Bar dataKey="conversion" fill="var(--free)" {...BAR} />
    </BarChart>
  );
}

interface TooltipState {
  active?: boolean;
  payload?: readonly { payload?: unknown }[];
}

function tooltipOf(
  { active, payload }: TooltipState,
  content: (point: ChartPoint) => React.ReactNode,
) {
  const point = payload?.[0]?.payload as ChartPoint | undefined;
  if (!active || !point) return null;
  return (
    <div className="card chart-tip">
      <p className="note">{point.label}</p>
      <p>{content(point)}</p>
    </div>
  );
}

function Revenue({ revenue, sold, currency }: ChartPoint & { currency: string }) {
  return (
    <>
      <b>{money(revenue, currency)}</b>{" "}
      <span className="soft">{text("desk.tickets_sold", { sold })}</span>
    </>
  );
}

function Conversion({ ended, conversion }: ChartPoint) {
  if (!ended || conversion === null) return text("desk.no_hold_ended");
  return richText("desk.conversion_of", {
    conversion,
    ended,
    b: (content) => <b>{content}</b>,
    soft: (content) => <span className="soft">{content}</span>,
  });
}
