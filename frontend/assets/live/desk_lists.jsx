// What is happening at the desk: the holds in progress, and all that came before.
import { memo, useCallback, useEffect } from "react";

import { recallSound, sound, switchSound } from "./bell.js";
import { serverNow, useClock, useSecondsUntil } from "./clock.js";
import { useFacts } from "./facts.js";
import { fullName, minutes, money } from "./format.js";
import { useValue } from "./observable.js";
import { Ring } from "./ring.jsx";

const SHOWN = 12;
const HOLD_SECONDS = 60;
const WORDS = { held: "Held", paying: "Paying", sold: "Sold", released: "Released", refunded: "Refunded" };

export function Holds({ held, feed }) {
  const whole = useFacts()?.hold_seconds ?? HOLD_SECONDS;
  const shows = useValue(feed.showNames);
  return (
    <section className="card panel holds" aria-labelledby="holds-title">
      <header>
        <h2 className="section-title" id="holds-title">
          In someone's hands
        </h2>
      </header>
      {held.length === 0 && <p className="soft panel-empty">Nobody holds a ticket of yours right now.</p>}
      <ul>
        {held.map((sale) => (
          <li className="hold" key={sale.id} data-hold={sale.ticket_id}>
            {sale.status === "held" ? <Ring until={sale.held_until} whole={whole} size={26} /> : <span className="hold-paying" aria-hidden="true" />}
            <span className="sale-name">
              {fullName(sale)}
              <span className="note">{shows.get(sale.show_id)?.title}</span>
            </span>
            <span className="hold-left is-held">{sale.status === "held" ? <Left until={sale.held_until} /> : "being paid for"}</span>
            <b className="sale-price">{money(sale.price, sale.currency)}</b>
          </li>
        ))}
      </ul>
    </section>
  );
}

export function Happening({ feed, rows }) {
  const shows = useValue(feed.showNames);
  const more = useValue(feed.more);
  const newest = [...rows].sort((one, other) => (one.updated_at > other.updated_at ? -1 : 1));
  return (
    <section className="card panel happening" aria-labelledby="happening-title">
      <header>
        <h2 className="section-title" id="happening-title">
          Happening now
        </h2>
        <SoundSwitch />
      </header>
      <ul className="sales" tabIndex={0} aria-labelledby="happening-title">
        {newest.map((sale) => (
          <Sale key={sale.id} sale={sale} show={shows.get(sale.show_id)} />
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

/** Off until it is switched on: a page that rings by itself is a nuisance. */
function SoundSwitch() {
  const on = useValue(sound);
  useEffect(recallSound, []);
  return (
    <button type="button" className="sound" role="switch" aria-checked={on} onClick={switchSound}>
      Sound
      <i aria-hidden="true" />
    </button>
  );
}

const Sale = memo(function Sale({ sale, show }) {
  const is = useStanding(sale);
  return (
    <li className={`sale ${is} ${sale.touched ? "changed" : ""}`} data-sale={sale.ticket_id} data-is={is} data-beat={sale.touched % 2}>
      <span className={`sale-badge ${is}`}>
        {WORDS[is]}
        {is === "held" && (
          <>
            {" "}
            <Left until={sale.held_until} />
          </>
        )}
      </span>
      <span className="sale-name">
        {fullName(sale)}
        <span className="note">{show?.title ?? "\u00a0"}</span>
      </span>
      <span className="sale-end">
        <b className="sale-price">{money(sale.price, sale.currency)}</b>
        <span className="note">
          <Ago at={sale.updated_at} />
        </span>
      </span>
    </li>
  );
});

/** A hold past its time is nobody's any more. */
function useStanding({ status, held_until }) {
  const seconds = useSecondsUntil(held_until);
  return status === "held" && seconds === 0 ? "released" : status;
}

function Left({ until }) {
  const seconds = useSecondsUntil(until);
  return <span data-seconds={seconds}>{minutes(seconds)}</span>;
}

function Ago({ at }) {
  return useClock(useCallback(() => agoWords((serverNow() - Date.parse(at)) / 1000, at), [at]));
}

function agoWords(seconds, at) {
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" }).format(new Date(at));
}
