// A show in the list, with its live counts.
import { memo, useCallback } from "react";
import { Link } from "react-router";

import type { Show } from "../shared/api-types";
import { useClock, useSecondsUntil } from "../shared/clock";
import { clockTime, minutes, monthAndDay, pricesFrom, readersTime } from "../shared/format";
import type { Live } from "../shared/live-rows";
import { showArt } from "../shared/show-art";
import { salesOf } from "../shared/show-sales";
import { richText, text } from "../shared/texts";
import { closedTitle } from "../shared/ui/sales-closed";
import { TimeRing } from "../shared/ui/time-ring";

/** Up to this many free tickets the card shows how many are held. */
const FEW = 5;

interface ShowCardProps {
  show: Live<Show>;
  holdSeconds: number;
}

export const ShowCard = memo(function ShowCard({ show, holdSeconds }: ShowCardProps) {
  const [month, day] = monthAndDay(show);
  const sales = useClock(useCallback(() => salesOf(show), [show]));
  return (
    <li className="card show-card" data-show={show.id}>
      <div className="show-art" style={{ background: showArt(show.id, show.category) }} />
      <div className="show-date" aria-hidden="true">
        <span>{month}</span>
        {day}
      </div>
      <div className="show-words">
        <h2 className="section-title" title={show.title}>
          <Link to={`/shows/${show.id}`}>{show.title}</Link>
        </h2>
        <p className="soft" title={readersTime(show)}>
          <span className="unseen">
            {day} {month},{" "}
          </span>
          {clockTime(show)} · {show.venue}, {show.city}
        </p>
      </div>
      <hr className="perforation notched" />
      <p className={`show-counts ${show.touched ? "changed" : ""}`} data-beat={show.touched % 2}>
        {sales === "open" ? (
          <TicketsLeft show={show} holdSeconds={holdSeconds} />
        ) : (
          <span className="is-gone">{closedTitle(sales)}</span>
        )}
        {sales === "open" && show.from_prices.length > 0 && (
          <span className="price">
            {richText("browse.from", {
              prices: pricesFrom(show.from_prices),
              b: (words) => <b>{words}</b>,
            })}
          </span>
        )}
      </p>
    </li>
  );
});

function TicketsLeft({ show, holdSeconds }: ShowCardProps) {
  const { available, held, sold, next_free_at } = show;
  if (available > FEW) return <span className="is-free">{text("browse.left", { available })}</span>;
  if (available > 0) {
    const words = held
      ? text("browse.left_and_held", { available, held })
      : text("browse.left", { available });
    return <span className="is-held">{words}</span>;
  }
  if (held > 0) return <AllHeld until={next_free_at} holdSeconds={holdSeconds} />;
  return (
    <span className="is-gone">{text(sold > 0 ? "browse.sold_out" : "browse.no_tickets")}</span>
  );
}

function AllHeld({ until, holdSeconds }: { until: string | null; holdSeconds: number }) {
  const seconds = useSecondsUntil(until);
  if (!until || seconds === 0) {
    return <span className="is-held">{text("browse.all_held")}</span>;
  }
  return (
    <span className="is-held">
      <TimeRing until={until} whole={holdSeconds} size={18} />
      {text("browse.all_held_until", { left: minutes(seconds) })}
    </span>
  );
}
