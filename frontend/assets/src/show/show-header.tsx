// A show's name, place and time, and its live counts.
import type { Show } from "../shared/api-types";
import { pricesFrom, readersTime, showTime } from "../shared/format";
import { useValue } from "../shared/observable";
import { useOutage } from "../shared/outage";
import type { ShowFeed } from "../shared/show-feed";
import { text } from "../shared/texts";
import type { TicketCounts } from "../shared/tickets";

interface ShowHeaderProps {
  show: Show;
  /** Null once the sales have ended. */
  counts: TicketCounts | null;
  feed: ShowFeed;
}

export function ShowHeader({ show, counts, feed }: ShowHeaderProps) {
  return (
    <header className="show-head">
      <div>
        <p className="when" title={readersTime(show)}>
          <time dateTime={show.starts_at}>{showTime(show)}</time> · {show.venue}, {show.city}
          {readersTime(show) && <span className="note"> · {readersTime(show)}</span>}
        </p>
        <h1 className="title">{show.title}</h1>
        {counts && <Badges counts={counts} feed={feed} />}
      </div>
      {counts && <Share counts={counts} />}
    </header>
  );
}

function Badges({ counts, feed }: { counts: TicketCounts; feed: ShowFeed }) {
  const counted = useValue(feed.viewers);
  const viewers = useOutage() ? null : counted;
  const { free, held, from } = counts;
  return (
    <div className="badges">
      <span className="badge">
        <i className={`dot ${free ? "" : "off"}`} />
        {free
          ? text("show.available", { count: free, price: pricesFrom(from) })
          : text("show.none_available")}
      </span>
      {held > 0 && <span className="badge">{text("show.all_held", { count: held })}</span>}
      <span className="badge">{viewersText(viewers)}</span>
    </div>
  );
}

function Share({ counts: { free, held, sold } }: { counts: TicketCounts }) {
  if (free + held + sold === 0) return null;
  return (
    <div className="share">
      <div className="share-bar" aria-hidden="true">
        <i className="share-free" style={{ flexGrow: free }} />
        <i className="share-held" style={{ flexGrow: held }} />
        <i style={{ flexGrow: sold }} />
      </div>
      {text("show.counts", { available: free, held, sold })}
    </div>
  );
}

function viewersText(count: number | null): string {
  if (count === null) return text("show.viewers_unknown");
  return text("show.viewers", { count: Math.max(1, count) });
}
