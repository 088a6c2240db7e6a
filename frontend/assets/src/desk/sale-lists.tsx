// The desk's lists: the holds in progress, and all sales, newest first.
import { memo, useCallback, useEffect } from "react";

import type { Show } from "../shared/api-types";
import { serverNow, useClock, useSecondsUntil } from "../shared/clock";
import { formatTime, fullName, minutes, money } from "../shared/format";
import type { Live } from "../shared/live-rows";
import { useValue } from "../shared/observable";
import { useSiteConfig } from "../shared/site-config";
import { TimeRing } from "../shared/ui/time-ring";
import { restoreSound, soundOn, toggleSound } from "./sale-sound";
import type { SaleRow, SalesFeed } from "./sales-feed";

const DEFAULT_HOLD_SECONDS = 60;
/** The statuses in which a seller may speak of the order with its buyer. */
const NUMBERED = new Set<SaleRow["status"]>(["sold", "refunded"]);
const LABELS: Record<SaleRow["status"], string> = {
  held: "Held",
  paying: "Paying",
  sold: "Sold",
  released: "Released",
  refunded: "Refunded",
};

interface HoldsProps {
  /** The first to end first. */
  held: readonly SaleRow[];
  feed: SalesFeed;
}

export function Holds({ held, feed }: HoldsProps) {
  const holdSeconds = useSiteConfig()?.hold_seconds ?? DEFAULT_HOLD_SECONDS;
  const shows = useValue(feed.shows);
  return (
    <section className="card panel holds" aria-labelledby="holds-title">
      <header>
        <h2 className="section-title" id="holds-title">
          In someone&apos;s hands
        </h2>
      </header>
      {held.length === 0 && (
        <p className="soft panel-empty">Nobody holds a ticket of yours right now.</p>
      )}
      <ul>
        {held.map((sale) => (
          <Hold
            key={sale.id}
            sale={sale}
            show={shows.get(sale.show_id)}
            holdSeconds={holdSeconds}
          />
        ))}
      </ul>
    </section>
  );
}

interface HoldProps {
  sale: SaleRow;
  show: Show | undefined;
  holdSeconds: number;
}

function Hold({ sale, show, holdSeconds }: HoldProps) {
  const until = sale.status === "held" ? sale.held_until : null;
  return (
    <li className="hold" data-hold={sale.ticket_id}>
      {until ? (
        <TimeRing until={until} whole={holdSeconds} size={26} />
      ) : (
        <span className="hold-paying" aria-hidden="true" />
      )}
      <span className="sale-name">
        {fullName(sale)}
        <span className="note">{show?.title}</span>
      </span>
      <span className="hold-left is-held">
        {until ? <TimeLeft until={until} /> : "being paid for"}
      </span>
      <b className="sale-price">{money(sale.price, sale.currency)}</b>
    </li>
  );
}

interface SalesProps {
  feed: SalesFeed;
  rows: readonly Live<SaleRow>[];
}

export function Sales({ feed, rows }: SalesProps) {
  const shows = useValue(feed.shows);
  const more = useValue(feed.more);
  const newest = [...rows].sort((a, b) => (a.updated_at > b.updated_at ? -1 : 1));
  return (
    <section className="card panel happening" aria-labelledby="happening-title">
      <header>
        <h2 className="section-title" id="happening-title">
          Happening now
        </h2>
        <SoundSwitch />
      </header>
      {/* It scrolls, so a keyboard must be able to focus it (WCAG 2.1.1). */}
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
      <ul className="sales" tabIndex={0} aria-labelledby="happening-title">
        {newest.map((sale) => (
          <SaleItem key={sale.id} sale={sale} show={shows.get(sale.show_id)} />
        ))}
        {more && (
          <li className="sales-more">
            <button type="button" className="button quiet small" onClick={feed.readMore}>
              Show more
            </button>
          </li>
        )}
      </ul>
    </section>
  );
}

function SoundSwitch() {
  const on = useValue(soundOn);
  useEffect(restoreSound, []);
  return (
    <button type="button" className="sound" role="switch" aria-checked={on} onClick={toggleSound}>
      Sound
      <i aria-hidden="true" />
    </button>
  );
}

interface SaleItemProps {
  sale: Live<SaleRow>;
  show: Show | undefined;
}

const SaleItem = memo(function SaleItem({ sale, show }: SaleItemProps) {
  const status = usePresentStatus(sale);
  return (
    <li
      className={`sale ${status} ${sale.touched ? "changed" : ""}`}
      data-sale={sale.ticket_id}
      data-is={status}
      data-beat={sale.touched % 2}
    >
      <span className={`sale-badge ${status}`}>
        {LABELS[status]}
        {status === "held" && sale.held_until && (
          <>
            {" "}
            <TimeLeft until={sale.held_until} />
          </>
        )}
      </span>
      <span className="sale-name">
        {fullName(sale)}
        <span className="note">
          {show?.title ?? "\u00a0"}
          {NUMBERED.has(status) && sale.order_number && ` · ${sale.order_number}`}
        </span>
      </span>
      <span className="sale-end">
        <b className="sale-price">{money(sale.price, sale.currency)}</b>
        <span className="note">
          <TimeAgo at={sale.updated_at} />
        </span>
      </span>
    </li>
  );
});

/** A hold past its time counts as released before the message of it arrives. */
function usePresentStatus({ status, held_until }: SaleRow): SaleRow["status"] {
  const seconds = useSecondsUntil(held_until);
  return status === "held" && seconds === 0 ? "released" : status;
}

function TimeLeft({ until }: { until: string }) {
  const seconds = useSecondsUntil(until);
  return <span data-seconds={seconds}>{minutes(seconds)}</span>;
}

function TimeAgo({ at }: { at: string }) {
  return useClock(useCallback(() => agoText(at), [at]));
}

function agoText(at: string): string {
  const seconds = (serverNow() - Date.parse(at)) / 1000;
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return formatTime(at, { day: "numeric", month: "short" });
}
