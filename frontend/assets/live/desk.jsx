// The seller's desk: what is held, sold and released this second, and how it went.
import { useEffect, useMemo, useRef, useState } from "react";
import { Link } from "react-router";

import { getAll } from "./api.js";
import { majorUnits } from "./amounts.js";
import { ring } from "./bell.js";
import { secondsUntil, useClock } from "./clock.js";
import { csv, download } from "./csv.js";
import { Happening, Holds } from "./desk_lists.jsx";
import { DeskCharts } from "./desk_panels.jsx";
import { minutes, money } from "./format.js";
import { MembersOnly } from "./members.jsx";
import { useValue } from "./observable.js";
import { conversionOf, SalesFeed, sumOf } from "./sales_feed.js";
import { Empty, Failed, OfflineBanner } from "./states.jsx";
import { toast } from "./toasts.jsx";
import { hereZone, wallTime } from "./zones.js";

/** Each with as long again before it, to compare with. */
const PERIODS = {
  today: { words: "Today", before: "yesterday", days: 2, by: "hour" },
  week: { words: "7 days", before: "the 7 days before", days: 14, by: "day" },
  month: { words: "30 days", before: "the 30 days before", days: 60, by: "day" },
};
const MOST_PAGES = 1000;

export function Desk() {
  return (
    <>
      <OfflineBanner />
      <MembersOnly title="Your desk" words="Sign in to see what is held and sold, as it happens." waiting={<Waiting />}>
        {(seller) => <SellersDesk key={seller.id} seller={seller} />}
      </MembersOnly>
    </>
  );
}

function SellersDesk({ seller }) {
  const [period, setPeriod] = useState("week");
  const feed = useMemo(() => new SalesFeed(seller.id, PERIODS.week), [seller.id]);
  const { rows, ready } = useValue(feed.sales);
  const summary = useValue(feed.summary);
  const problem = useValue(feed.problem);
  const [currency, setCurrency] = useState(null);
  const usual = useRef(null);
  useEffect(() => feed.open(), [feed]);
  useEffect(() => {
    feed.onChange = ring;
  }, [feed]);
  const held = useHeld(rows, feed);

  if (!ready || !summary) return problem ? <Failed problem={problem} again={feed.again} /> : <Waiting />;
  if (rows.length === 0) return <NothingYet />;
  const currencies = [...new Set(rows.map((sale) => sale.currency))].sort();
  usual.current ??= usualCurrency(rows);
  const shown = currency ?? usual.current;
  const choose = (name) => {
    setPeriod(name);
    feed.over(PERIODS[name]).catch(() => toast("That could not be read. Try again."));
  };
  const [before, now] = halves(summary);
  return (
    <>
      <Head actions={<ExportButton feed={feed} />}>
        <div className="periods">
          {Object.entries(PERIODS).map(([name, { words }]) => (
            <button key={name} type="button" className="chip" aria-pressed={period === name} onClick={() => choose(name)}>
              {words}
            </button>
          ))}
          {currencies.length > 1 && (
            <>
              <label className="unseen" htmlFor="currency">
                Currency
              </label>
              <select id="currency" className="chip" value={shown} onChange={(event) => setCurrency(event.target.value)}>
                {currencies.map((code) => (
                  <option key={code}>{code}</option>
                ))}
              </select>
            </>
          )}
        </div>
      </Head>
      <Totals now={sumOf(now, shown)} before={sumOf(before, shown)} currency={shown} period={summary.period} held={held} />
      <div className="desk-body">
        <DeskCharts points={now} currency={shown} by={summary.period.by} />
        <Happening feed={feed} rows={rows} />
        <Holds held={held} feed={feed} />
      </div>
    </>
  );
}

/** What is held this second, the first to end first. A hold whose time is over is read again: nobody told what became of it. */
function useHeld(rows, feed) {
  const running = useClock(() => rows.filter((sale) => sale.status === "held" && secondsUntil(sale.held_until) > 0).length);
  const over = rows.filter((sale) => sale.status === "held").length - running;
  useEffect(() => {
    if (over === 0) return undefined;
    const timer = setTimeout(feed.again, 1500);
    return () => clearTimeout(timer);
  }, [over, feed]);
  return rows
    .filter((sale) => sale.status === "paying" || (sale.status === "held" && secondsUntil(sale.held_until) > 0))
    .sort((one, other) => ((one.held_until ?? "") < (other.held_until ?? "") ? -1 : 1));
}

/** The one that most of the newest sales are in, or of the holds while nothing is sold. */
function usualCurrency(rows) {
  const sold = rows.filter((sale) => sale.status === "sold");
  const counts = new Map();
  for (const { currency } of sold.length ? sold : rows) counts.set(currency, (counts.get(currency) ?? 0) + 1);
  return [...counts].reduce((most, each) => (each[1] > most[1] ? each : most))[0];
}

/** The points before the period, and those in it. */
function halves({ points, period: { days, by } }) {
  const since = dayOf(points.at(-1).at, -(days / 2 - 1));
  const at = points.findIndex((point) => wallTime(point.at, hereZone()).slice(0, 10) >= since);
  const [before, now] = [points.slice(0, at), points.slice(at)];
  // A day that has not ended is compared with as much of the one before.
  return by === "hour" ? [before.slice(0, now.length), now] : [before, now];
}

/** The date so many days from an instant's, here. */
function dayOf(instant, days) {
  const date = new Date(`${wallTime(instant, hereZone()).slice(0, 10)}T00:00Z`);
  date.setUTCDate(date.getUTCDate() + days);
  return date.toISOString().slice(0, 10);
}

function Head({ actions, children }) {
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

function Totals({ now, before, currency, period, held }) {
  const percent = conversionOf(now);
  const ended = now.sold + now.refunded + now.released;
  const paid = now.sold + now.refunded;
  return (
    <dl className="totals">
      <Total name={`Sold, ${period.words.toLowerCase()}`} value={money(now.takings.amount, currency)} id="revenue">
        {now.takings.sold === 1 ? "1 ticket" : `${now.takings.sold} tickets`}
        <Trend now={now.takings.amount} before={before.takings.amount} words={period.before} />
      </Total>
      <Total name="Held right now" value={held.length} id="held">
        <NextFree held={held} />
      </Total>
      <Total name="Holds that were paid" value={percent === null ? "—" : `${percent}%`} id="conversion">
        {ended ? `${paid} of ${ended}` : "none has ended yet"}
      </Total>
    </dl>
  );
}

function Total({ name, value, id, children }) {
  return (
    <div className="card total">
      <dt className="soft">{name}</dt>
      <dd data-total={id}>{value}</dd>
      <dd className="note">{children}</dd>
    </div>
  );
}

function Trend({ now, before, words }) {
  if (!before || now === before) return null;
  const percent = Math.round((100 * Math.abs(now - before)) / before);
  return (
    <span className={now > before ? "is-free" : ""}>
      {" "}
      {now > before ? "▲" : "▼"} {percent}% on {words}
    </span>
  );
}

function NextFree({ held }) {
  const next = held.find((sale) => sale.held_until);
  const seconds = useClock(() => (next ? secondsUntil(next.held_until) : 0));
  return next ? `next one free in ${minutes(seconds)}` : held.length ? "being paid for" : "nobody holds any";
}

function ExportButton({ feed }) {
  const [busy, setBusy] = useState(false);
  const save = async () => {
    setBusy(true);
    try {
      const sales = await getAll("/api/sales?", { pages: MOST_PAGES });
      download(`gittix-sales-${wallTime(Date.now(), hereZone()).slice(0, 10)}.csv`, csv(linesOf(sales, feed.showNames.value)));
    } catch {
      toast("The sales could not be read. Try again.");
    }
    setBusy(false);
  };
  return (
    <button type="button" className="button quiet" disabled={busy} onClick={save}>
      {busy ? "One moment" : "Export CSV"}
    </button>
  );
}

function linesOf(sales, showNames) {
  const head = ["order", "ticket", "show", "city", "section", "row", "seat", "title", "price", "currency", "status", "held at", "changed at"];
  return [
    head,
    ...sales.map((sale) => {
      const show = showNames.get(sale.show_id);
      const place = [show?.title, show?.city, sale.section, sale.row, sale.seat, sale.title];
      const price = majorUnits(sale.price, sale.currency);
      return [sale.order_id, sale.ticket_id, ...place, price, sale.currency, sale.status, sale.created_at, sale.updated_at];
    }),
  ];
}

function NothingYet() {
  return (
    <>
      <Head />
      <Empty title="Quiet so far" action={<Link className="button quiet" to="/sell">List tickets</Link>}>
        When somebody holds or buys a ticket of yours, you see it here that second.
      </Empty>
    </>
  );
}

function Waiting() {
  return (
    <div aria-busy="true">
      <Head actions={<span className="button quiet" aria-hidden="true">Export CSV</span>}>
        <div className="periods">
          <span className="skeleton" style={{ width: 266, height: 44, borderRadius: 22 }} />
        </div>
      </Head>
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
