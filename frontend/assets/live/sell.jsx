// The page where tickets are put on sale: the seller's shows, or one of them.
import { useEffect, useMemo, useRef, useState } from "react";
import { Link, useSearchParams } from "react-router";

import { get } from "./api.js";
import { serverNow } from "./clock.js";
import { clockTime, monthAndDay, moneyFrom, showTime } from "./format.js";
import { MembersOnly } from "./members.jsx";
import { useValue } from "./observable.js";
import { Reading } from "./reading.js";
import { SellersShows } from "./sell_feed.js";
import { SellersShow } from "./sell_show.jsx";
import { NewShow } from "./show_form.jsx";
import { Empty, Failed, OfflineBanner } from "./states.jsx";

const TYPING_MS = 180;
const NEW = "new";

export function Sell() {
  const [params] = useSearchParams();
  const [mounted, setMounted] = useState(false);
  useEffect(() => setMounted(true), []);
  const show = mounted ? params.get("show") : null;
  return (
    <>
      <OfflineBanner />
      <MembersOnly title="Sell your tickets here" words="Sign in to list them. You set the price; you hear of every hold and sale the moment it happens." waiting={<Waiting />}>
        {(seller) => (show === NEW ? <NewShow seller={seller} /> : show ? <SellersShow key={show} id={show} seller={seller} /> : <Shows />)}
      </MembersOnly>
    </>
  );
}

function Shows() {
  const feed = useMemo(() => new SellersShows(), []);
  const { rows, ready } = useValue(feed.shows);
  const problem = useValue(feed.problem);
  useEffect(() => feed.open(), [feed]);
  const now = serverNow();
  const coming = rows.filter((show) => Date.parse(show.starts_at) >= now);
  const past = rows.filter((show) => Date.parse(show.starts_at) < now).reverse();
  return (
    <>
      <Head />
      <FindShow />
      {!ready && (problem ? <Failed problem={problem} again={feed.again} /> : <WaitingRows />)}
      {ready && rows.length === 0 && (
        <Empty title="Nothing on sale yet">Find the show above, or add it if nobody has. Then list one ticket, or a whole block at once.</Empty>
      )}
      <ShowRows title="Your shows" shows={coming} />
      <ShowRows title="Past" shows={past} />
    </>
  );
}

function Head() {
  return (
    <header className="page-head">
      <h1 className="title">Sell tickets</h1>
      <div className="page-actions">
        <Link className="button quiet" to="/desk">
          Your desk
        </Link>
        <Link className="button" to={`/sell?show=${NEW}`}>
          Add a show
        </Link>
      </div>
    </header>
  );
}

/** A show may be here already: then its tickets are listed beside those of others. */
function FindShow() {
  const [text, setText] = useState("");
  const [found, setFound] = useState(null);
  const reading = useRef(new Reading());
  const words = text.trim();
  useEffect(() => {
    if (!/[\p{L}\p{N}]/u.test(words)) return setFound(null);
    reading.current.open();
    const ask = (signal) => get(`/api/shows?limit=6&q=${encodeURIComponent(words)}`, { signal });
    const timer = setTimeout(() => {
      reading.current.latest(ask).then(
        (answer) => answer && setFound(answer.items),
        () => setFound(null),
      );
    }, TYPING_MS);
    return () => {
      clearTimeout(timer);
      reading.current.close();
    };
  }, [words]);
  return (
    <search className="find-show">
      <label className="unseen" htmlFor="find-show">
        Find the show
      </label>
      <input
        id="find-show"
        className="search"
        type="search"
        placeholder="Which show are your tickets for?"
        autoComplete="off"
        maxLength={100}
        value={text}
        onChange={(event) => setText(event.target.value)}
      />
      {found && (
        <div className="card found-shows" role="status">
          {found.map((show) => (
            <Link key={show.id} className="found-show" to={`/sell?show=${show.id}`}>
              <b>{show.title}</b>
              <span className="soft">
                {showTime(show)} · {show.venue}, {show.city}
              </span>
            </Link>
          ))}
          {found.length === 0 && (
            <p className="found-show soft">
              Nobody has added that show yet. <Link to={`/sell?show=${NEW}`}>Add it</Link>
            </p>
          )}
        </div>
      )}
    </search>
  );
}

function ShowRows({ title, shows }) {
  if (shows.length === 0) return null;
  return (
    <section className="section" aria-label={title}>
      <header>
        <h2 className="section-title">{title}</h2>
      </header>
      <ul className="card tickets">
        {shows.map((show) => (
          <ShowRow key={show.id} show={show} />
        ))}
      </ul>
    </section>
  );
}

function ShowRow({ show }) {
  const [month, day] = monthAndDay(show);
  return (
    <li className={`ticket ${show.touched ? "changed" : ""}`} data-show={show.id} data-beat={show.touched % 2}>
      <Link className="show-row" to={`/sell?show=${show.id}`}>
        <span className="show-row-date" aria-hidden="true">
          <span>{month}</span>
          {day}
        </span>
        <span className="show-row-name">
          <b>{show.title}</b>
          <span className="soft">
            <span className="unseen">
              {day} {month},{" "}
            </span>
            {show.venue}, {show.city} · {clockTime(show)}
          </span>
        </span>
        <span className="show-row-counts soft">
          {show.available} free · {show.held} held · {show.sold} sold
        </span>
        <span className="ticket-price">{show.from_price === null ? "" : `from ${moneyFrom(show.from_price, show.currency)}`}</span>
      </Link>
    </li>
  );
}

function Waiting() {
  return (
    <div aria-busy="true">
      <Head />
      <div className="skeleton" style={{ height: 48, borderRadius: 10, marginBottom: "1.5rem" }} />
      <WaitingRows />
    </div>
  );
}

function WaitingRows() {
  return (
    <ul className="card tickets" aria-busy="true">
      {Array.from({ length: 4 }, (_, index) => (
        <li className="ticket" key={index}>
          <div className="show-row">
            <span className="skeleton" style={{ width: 44, height: 44 }} />
            <span className="skeleton" style={{ width: "60%", height: 18 }} />
          </div>
        </li>
      ))}
    </ul>
  );
}
