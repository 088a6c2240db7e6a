// The desk's lists: the holds in progress, and all sales, newest first.
import { memo, useCallback, useEffect, useState } from "react";

import type { Show } from "../shared/api-types";
import { serverNow, useClock, useSecondsUntil } from "../shared/clock";
import { formatTime, fullName, minutes, money } from "../shared/format";
import type { Live } from "../shared/live-rows";
import { useValue } from "../shared/observable";
import { useSiteConfig } from "../shared/site-config";
import { text, type TextId } from "../shared/texts";
import { TimeRing } from "../shared/ui/time-ring";
import { RefundDialog } from "./refund-dialog";
import { restoreSound, soundOn, toggleSound } from "./sale-sound";
import type { SaleRow, SalesFeed } from "./sales-feed";

const DEFAULT_HOLD_SECONDS = 60;
/** The statuses in which a seller may speak of the order with its buyer. */
const NUMBERED = new Set<SaleRow["status"]>(["sold", "refunded"]);
const LABELS: Record<SaleRow["status"], TextId> = {
  held: "desk.is_held",
  paying: "desk.is_paying",
  sold: "desk.is_sold",
  released: "desk.is_released",
  refunded: "desk.is_refunded",
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
          {text("desk.in_hands")}
        </h2>
      </header>
      {held.length === 0 && <p className="soft panel-empty">{text("desk.nothing_held")}</p>}
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
        {until ? <TimeLeft until={until} /> : text("desk.being_paid")}
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
  const [refunding, setRefunding] = useState<SaleRow | null>(null);
  const newest = [...rows].sort((a, b) => (a.updated_at > b.updated_at ? -1 : 1));
  const ofOrder = rows.filter((row) => row.order_id === refunding?.order_id && isRefundable(row));
  return (
    <section className="card panel happening" aria-labelledby="happening-title">
      <header>
        <h2 className="section-title" id="happening-title">
          {text("desk.happening")}
        </h2>
        <SoundSwitch />
      </header>
      {newest.length === 0 && <p className="soft panel-empty">{text("desk.no_sales_in_filter")}</p>}
      {/* It scrolls, so a keyboard must be able to focus it (WCAG 2.1.1). */}
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
      <ul className="sales" tabIndex={0} aria-labelledby="happening-title">
        {newest.map((sale) => (
          <SaleItem
            key={sale.id}
            sale={sale}
            show={shows.get(sale.show_id)}
            onRefund={setRefunding}
          />
        ))}
        {more && (
          <li className="sales-more">
            <button type="button" className="button quiet small" onClick={feed.readMore}>
              {text("desk.show_more")}
            </button>
          </li>
        )}
      </ul>
      {refunding && (
        <RefundDialog
          key={refunding.id}
          sale={refunding}
          ofOrder={ofOrder}
          refresh={feed.refresh}
          close={() => {
            setRefunding(null);
          }}
        />
      )}
    </section>
  );
}

function isRefundable({ status, refund_pending }: SaleRow): boolean {
  return status === "sold" && !refund_pending;
}

function SoundSwitch() {
  const on = useValue(soundOn);
  useEffect(restoreSound, []);
  return (
    <button type="button" className="sound" role="switch" aria-checked={on} onClick={toggleSound}>
      {text("desk.sound")}
      <i aria-hidden="true" />
    </button>
  );
}

interface SaleItemProps {
  sale: Live<SaleRow>;
  show: Show | undefined;
  onRefund: (sale: SaleRow) => void;
}

const SaleItem = memo(function SaleItem({ sale, show, onRefund }: SaleItemProps) {
  const status = usePresentStatus(sale);
  return (
    <li
      className={`sale ${status} ${sale.touched ? "changed" : ""}`}
      data-sale={sale.ticket_id}
      data-is={status}
      data-beat={sale.touched % 2}
    >
      <span className={`sale-badge ${status}`}>
        {text(sale.refund_pending ? "desk.is_refunding" : LABELS[status])}
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
          {NUMBERED.has(status) && sale.order_number && `${sale.order_number} · `}
          {show?.title ?? "\u00a0"}
        </span>
      </span>
      <span className="sale-end">
        <b className="sale-price">{money(sale.price, sale.currency)}</b>
        <span className="note">
          <TimeAgo at={sale.updated_at} />
        </span>
        {isRefundable(sale) && (
          <button
            type="button"
            className="link refund"
            aria-label={text("desk.refund_of", { name: fullName(sale) })}
            onClick={() => {
              onRefund(sale);
            }}
          >
            {text("desk.refund")}
          </button>
        )}
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
  if (seconds < 60) return text("desk.just_now");
  if (seconds < 3600) return text("desk.minutes_ago", { minutes: Math.floor(seconds / 60) });
  if (seconds < 86_400) return text("desk.hours_ago", { hours: Math.floor(seconds / 3600) });
  return formatTime(at, { day: "numeric", month: "short" });
}
