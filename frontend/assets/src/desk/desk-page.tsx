// The seller's desk: the tickets that are held, sold and released at this moment, and the sums of
// a period.
import { type ReactNode, useEffect, useState } from "react";
import { Link } from "react-router";

import type { Show, User } from "../shared/api-types";
import { secondsUntil, serverNow, useClock } from "../shared/clock";
import type { Live } from "../shared/live-rows";
import { useValue } from "../shared/observable";
import { text } from "../shared/texts";
import { Empty, Failed } from "../shared/ui/page-states";
import { SelectChip } from "../shared/ui/select-chip";
import { SignedInOnly } from "../shared/ui/signed-in-only";
import { toast } from "../shared/ui/toasts";
import { ChartPanel } from "./chart-panel";
import { ExportButton } from "./export-button";
import { type DeskFilter, isShown, PERIODS, WEEK } from "./periods";
import { Holds, Sales } from "./sale-lists";
import { playSaleSound } from "./sale-sound";
import { type SaleRow, SalesFeed } from "./sales-feed";
import { showRowsOf } from "./show-rows";
import { ShowTable } from "./show-table";
import { type FilteredSummary, halvesOf, sumOf } from "./sums";
import { Totals } from "./totals";

const FIRST_FILTER: DeskFilter = { period: WEEK, showId: null };
/** After this time the job that ends holds has ended one, or its message is lost. */
const EXPIRED_MS = 1500;

export function DeskPage() {
  return (
    <>
      <SignedInOnly title={text("desk.title")} words={text("desk.sign_in")} waiting={<Waiting />}>
        {(seller) => <Desk key={seller.id} seller={seller} />}
      </SignedInOnly>
    </>
  );
}

function Desk({ seller }: { seller: User }) {
  const [feed] = useState(() => new SalesFeed(seller.id, FIRST_FILTER, playSaleSound));
  const { rows, ready } = useValue(feed.sales);
  const summary = useValue(feed.summary);
  const counts = useValue(feed.counts);
  const problem = useValue(feed.problem);
  useEffect(() => feed.open(), [feed]);
  if (ready && summary) {
    const isUsed = rows.length > 0 || counts.items.length > 0;
    return isUsed ? <Content feed={feed} rows={rows} summary={summary} /> : <NoSales />;
  }
  return problem ? <Failed problem={problem} retry={() => void feed.refresh()} /> : <Waiting />;
}

interface ContentProps {
  feed: SalesFeed;
  rows: readonly Live<SaleRow>[];
  summary: FilteredSummary;
}

/** The totals, the chart and the lists show one period, and one show or all. */
function Content({ feed, rows, summary }: ContentProps) {
  const [filter, setFilter] = useState(FIRST_FILTER);
  // The currency that was usual when the desk was opened stays until another is chosen.
  const [chosenCurrency, setCurrency] = useState("");
  const [usual, setUsual] = useState("");
  const byShow = useValue(feed.byShow);
  const counts = useValue(feed.counts);
  const shows = useValue(feed.shows);
  const newest = usualCurrency(rows);
  if (!usual && newest) setUsual(newest);
  const currency = chosenCurrency || usual || "EUR";
  const held = useHeld(
    rows.filter((sale) => filter.showId === null || sale.show_id === filter.showId),
    feed,
  );
  const change = (changes: Partial<DeskFilter>) => {
    const changed = { ...filter, ...changes };
    setFilter(changed);
    feed.change(changed).catch(() => {
      toast(text("desk.not_read"));
    });
  };
  const choose = (showId: string | null) => {
    change({ showId });
  };
  const [before, now] = halvesOf(summary);
  const shown = rows.filter((sale) => isShown(sale, filter, serverNow()));
  return (
    <>
      <Header actions={<ExportButton feed={feed} filters={filterWords(filter, shows)} />}>
        <div className="periods">
          {PERIODS.map((each) => (
            <button
              key={each.id}
              type="button"
              className="chip"
              aria-pressed={filter.period === each}
              onClick={() => {
                change({ period: each });
              }}
            >
              {text(each.label)}
            </button>
          ))}
          <ShowSelect shows={shows} value={filter.showId} onChange={choose} />
          <CurrencySelect rows={rows} value={currency} onChange={setCurrency} />
        </div>
      </Header>
      <Totals
        now={sumOf(now, currency)}
        before={sumOf(before, currency)}
        currency={currency}
        period={summary.filter.period}
        held={held}
      />
      <div className="desk-body">
        <ChartPanel points={now} currency={currency} by={summary.filter.period.by} />
        <Sales feed={feed} rows={shown} />
        <Holds held={held} feed={feed} />
      </div>
      <ShowTable
        rows={showRowsOf(counts.items, byShow, shows)}
        period={summary.filter.period}
        chosen={filter.showId}
        isComplete={counts.is_complete}
        onChoose={choose}
      />
    </>
  );
}

/** In a sentence: "the last 7 days, Night Piano". */
function filterWords({ period, showId }: DeskFilter, shows: ReadonlyMap<string, Show>): string {
  const show = showId && (shows.get(showId)?.title ?? text("desk.a_show"));
  const values = { period: text(period.words), show: show || text("desk.all_shows") };
  return text("desk.export_filtered", values);
}

interface ShowSelectProps {
  shows: ReadonlyMap<string, Show>;
  value: string | null;
  onChange: (showId: string | null) => void;
}

function ShowSelect({ shows, value, onChange }: ShowSelectProps) {
  const options = [...shows.values()].map((show) => [show.id, show.title] as const);
  return (
    <SelectChip
      label={text("desk.show")}
      none={text("desk.all_shows")}
      options={options.sort(([, one], [, other]) => one.localeCompare(other))}
      value={value ?? ""}
      onChange={(id) => {
        onChange(id || null);
      }}
    />
  );
}

interface CurrencySelectProps {
  rows: readonly SaleRow[];
  value: string;
  onChange: (currency: string) => void;
}

/** Renders nothing for sales in one currency. */
function CurrencySelect({ rows, value, onChange }: CurrencySelectProps) {
  const currencies = [...new Set(rows.map((sale) => sale.currency).concat(value))].sort();
  if (currencies.length < 2) return null;
  return (
    <>
      <label className="unseen" htmlFor="currency">
        {text("desk.currency")}
      </label>
      <select
        id="currency"
        className="chip currency"
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
      <h1 className="title">{text("desk.title")}</h1>
      {children}
      <div className="page-actions">
        {actions}
        <Link className="button" to="/sell">
          {text("desk.list_tickets")}
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
        title={text("desk.quiet")}
        action={
          <Link className="button quiet" to="/sell">
            {text("desk.list_tickets")}
          </Link>
        }
      >
        {text("desk.quiet_note")}
      </Empty>
    </>
  );
}

function Waiting() {
  const exportButton = (
    <span className="button quiet" aria-hidden="true">
      {text("desk.export")}
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
        {[1, 2, 3, 4].map((number) => (
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
