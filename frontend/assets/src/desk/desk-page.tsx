// The seller's desk: the tickets that are held, sold and released at this moment, and the sums of
// a period.
import { type ReactNode, useEffect, useState } from "react";
import { Link } from "react-router";

import type { User } from "../shared/api-types";
import { secondsUntil, useClock } from "../shared/clock";
import type { Live } from "../shared/live-rows";
import { useValue } from "../shared/observable";
import { Empty, Failed, OutageBanner } from "../shared/ui/page-states";
import { SignedInOnly } from "../shared/ui/signed-in-only";
import { toast } from "../shared/ui/toasts";
import { ChartPanel } from "./chart-panel";
import { ExportButton } from "./export-button";
import { Holds, Sales } from "./sale-lists";
import { playSaleSound } from "./sale-sound";
import { type SaleRow, SalesFeed } from "./sales-feed";
import { halvesOf, type Period, type PeriodSummary, sumOf } from "./sums";
import { Totals } from "./totals";

const WEEK: Period = { label: "7 days", before: "the 7 days before", days: 14, by: "day" };
const PERIODS: readonly Period[] = [
  { label: "Today", before: "yesterday", days: 2, by: "hour" },
  WEEK,
  { label: "30 days", before: "the 30 days before", days: 60, by: "day" },
];
/** After this time the job that ends holds has ended one, or its message is lost. */
const EXPIRED_MS = 1500;

export function DeskPage() {
  return (
    <>
      <OutageBanner />
      <SignedInOnly
        title="Your desk"
        words="Sign in to see what is held and sold, as it happens."
        waiting={<Waiting />}
      >
        {(seller) => <Desk key={seller.id} seller={seller} />}
      </SignedInOnly>
    </>
  );
}

function Desk({ seller }: { seller: User }) {
  const [feed] = useState(() => new SalesFeed(seller.id, WEEK, playSaleSound));
  const { rows, ready } = useValue(feed.sales);
  const summary = useValue(feed.summary);
  const problem = useValue(feed.problem);
  useEffect(() => feed.open(), [feed]);
  if (ready && summary) {
    return rows.length ? <Content feed={feed} rows={rows} summary={summary} /> : <NoSales />;
  }
  return problem ? <Failed problem={problem} retry={() => void feed.refresh()} /> : <Waiting />;
}

interface ContentProps {
  feed: SalesFeed;
  rows: readonly Live<SaleRow>[];
  summary: PeriodSummary;
}

function Content({ feed, rows, summary }: ContentProps) {
  // The currency that was usual when the desk was opened stays until another is chosen.
  const [currency, setCurrency] = useState(() => usualCurrency(rows));
  const [period, setPeriod] = useState(WEEK);
  const held = useHeld(rows, feed);
  const choosePeriod = (chosen: Period) => {
    setPeriod(chosen);
    feed.changePeriod(chosen).catch(() => {
      toast("That could not be read. Try again.");
    });
  };
  const [before, now] = halvesOf(summary);
  return (
    <>
      <Header actions={<ExportButton feed={feed} />}>
        <div className="periods">
          {PERIODS.map((each) => (
            <button
              key={each.label}
              type="button"
              className="chip"
              aria-pressed={period === each}
              onClick={() => {
                choosePeriod(each);
              }}
            >
              {each.label}
            </button>
          ))}
          <CurrencySelect rows={rows} value={currency} onChange={setCurrency} />
        </div>
      </Header>
      <Totals
        now={sumOf(now, currency)}
        before={sumOf(before, currency)}
        currency={currency}
        period={summary.period}
        held={held}
      />
      <div className="desk-body">
        <ChartPanel points={now} currency={currency} by={summary.period.by} />
        <Sales feed={feed} rows={rows} />
        <Holds held={held} feed={feed} />
      </div>
    </>
  );
}

interface CurrencySelectProps {
  rows: readonly SaleRow[];
  value: string;
  onChange: (currency: string) => void;
}

/** Renders nothing for sales in one currency. */
function CurrencySelect({ rows, value, onChange }: CurrencySelectProps) {
  const currencies = [...new Set(rows.map((sale) => sale.currency))].sort();
  if (currencies.length < 2) return null;
  return (
    <>
      <label className="unseen" htmlFor="currency">
        Currency
      </label>
      <select
        id="currency"
        className="chip"
        value={value}
        onChange={(event) => {
          onChange(event.target.value);
        }}
      >
        {currencies.map((code) => (
          <option key={code}>{code}</option>
        ))}
      </select>
    </>
  );
}

/** The currency of most of the newest sales, or of most holds before the first sale. */
function usualCurrency(rows: readonly SaleRow[]): string {
  const sold = rows.filter((sale) => sale.status === "sold");
  const counts = new Map<string, number>();
  for (const { currency } of sold.length ? sold : rows) {
    counts.set(currency, (counts.get(currency) ?? 0) + 1);
  }
  const [usual] = [...counts].sort(([, one], [, other]) => other - one);
  return usual?.[0] ?? "";
}

/**
 * The tickets that are held or being paid for, the first to end first. When a hold's time is over
 * and no message came, the sales are read again.
 */
function useHeld(rows: readonly Live<SaleRow>[], feed: SalesFeed): Live<SaleRow>[] {
  const running = useClock(() => rows.filter(isRunning).length);
  const expired = rows.filter((sale) => sale.status === "held").length - running;
  useEffect(() => {
    if (expired === 0) return undefined;
    const timer = setTimeout(() => void feed.refresh(), EXPIRED_MS);
    return () => {
      clearTimeout(timer);
    };
  }, [expired, feed]);
  return rows
    .filter((sale) => sale.status === "paying" || isRunning(sale))
    .sort((a, b) => ((a.held_until ?? "") < (b.held_until ?? "") ? -1 : 1));
}

function isRunning({ status, held_until }: SaleRow): boolean {
  return status === "held" && secondsUntil(held_until ?? "") > 0;
}

function Header({ actions, children }: { actions?: ReactNode; children?: ReactNode }) {
  return (
    <header className="page-head desk-head">
      <h1 className="title">Your desk</h1>
      {children}
      <div className="page-actions">
        {actions}
        <Link className="button" to="/sell">
          List tickets
        </Link>
      </div>
    </header>
  );
}

function NoSales() {
  return (
    <>
      <Header />
      <Empty
        title="Quiet so far"
        action={
          <Link className="button quiet" to="/sell">
            List tickets
          </Link>
        }
      >
        When somebody holds or buys a ticket of yours, you see it here that second.
      </Empty>
    </>
  );
}

function Waiting() {
  const exportButton = (
    <span className="button quiet" aria-hidden="true">
      Export CSV
    </span>
  );
  return (
    <div aria-busy="true">
      <Header actions={exportButton}>
        <div className="periods">
          <span className="skeleton" style={{ width: 266, height: 44, borderRadius: 22 }} />
        </div>
      </Header>
      <div className="totals">
        {[1, 2, 3].map((number) => (
          <div key={number} className="card total" />
        ))}
      </div>
      <div className="desk-body">
        <div className="card panel charts" />
        <div className="card panel happening" />
      </div>
    </div>
  );
}
