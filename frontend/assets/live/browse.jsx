// The list of shows. Its search, filters and order stand in the address; its counts are live from one channel.
import { memo, useEffect, useState } from "react";
import { Link, useSearchParams } from "react-router";

import { Filters } from "./browse_filters.jsx";
import { questionOf } from "./browse_question.js";
import { useSecondsUntil } from "./clock.js";
import { useFacts } from "./facts.js";
import { art, clockTime, minutes, monthAndDay, moneyFrom, readersTime } from "./format.js";
import { useValue } from "./observable.js";
import { Ring } from "./ring.jsx";
import { ShowsFeed } from "./shows_feed.js";
import { Empty, Failed, More, OfflineBanner } from "./states.jsx";

// Kept from page to page: who comes back from a show finds the list as it was left.
const feed = new ShowsFeed();

export function ShowList() {
  const [params, setParams] = useSearchParams();
  // The built page knows no address: until the browser has it, only the frame can be shown.
  const [mounted, setMounted] = useState(false);
  useEffect(() => setMounted(true), []);
  const change = (changes, { replace = false } = {}) =>
    setParams(
      (now) => {
        for (const [name, value] of Object.entries(changes)) value ? now.set(name, value) : now.delete(name);
        return now;
      },
      { replace, preventScrollReset: true },
    );
  const question = mounted ? questionOf(params) : null;
  useEffect(() => feed.open(), []);
  useEffect(() => {
    if (question !== null) feed.ask(question);
  }, [question]);
  return (
    <>
      <OfflineBanner />
      <Filters params={mounted ? params : new URLSearchParams()} change={change} />
      <Found question={question} clear={() => setParams({})} />
    </>
  );
}

function Found({ question, clear }) {
  const { rows } = useValue(feed.shows);
  const answered = useValue(feed.answered);
  const problem = useValue(feed.problem);
  const more = useValue(feed.more);
  const facts = useFacts();
  const waiting = answered !== question;

  if (problem && waiting) return <Failed problem={problem} again={feed.again} />;
  if (question === null || answered === null) return <Waiting />;
  if (rows.length === 0) return <Nothing filtered={answered !== ""} clear={clear} />;
  return (
    <>
      <p className="unseen" role="status">
        {rows.length === 1 ? "1 show" : `${rows.length}${more ? " or more" : ""} shows`}
      </p>
      <ul className={`shows ${waiting ? "waiting" : ""}`} aria-busy={waiting}>
        {rows.map((show) => (
          <ShowCard key={show.id} show={show} hold={facts?.hold_seconds ?? 0} />
        ))}
      </ul>
      {more && <More read={feed.readMore} />}
    </>
  );
}

const ShowCard = memo(function ShowCard({ show, hold }) {
  const [month, day] = monthAndDay(show);
  return (
    <li className="card show-card" data-show={show.id}>
      <div className="show-art" style={{ background: art(show.id) }} />
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
        <Left show={show} hold={hold} />
        {show.from_price !== null && (
          <span className="price">
            from <b>{moneyFrom(show.from_price, show.currency)}</b>
          </span>
        )}
      </p>
    </li>
  );
});

const FEW = 5;

function Left({ show, hold }) {
  const { available, held, sold } = show;
  if (available > FEW) return <span className="is-free">{available} left</span>;
  if (available > 0) return <span className="is-held">{`${available} left${held ? ` · ${held} held` : ""}`}</span>;
  if (held > 0) return <AllHeld until={show.next_free_at} hold={hold} />;
  return <span className="is-gone">{sold > 0 ? "Sold out" : "No tickets yet"}</span>;
}

function AllHeld({ until, hold }) {
  const seconds = useSecondsUntil(until);
  if (seconds === 0) return <span className="is-held">All held · may be free soon</span>;
  return (
    <span className="is-held">
      <Ring until={until} whole={hold} size={18} />
      All held · may be free in {minutes(seconds)}
    </span>
  );
}

function Nothing({ filtered, clear }) {
  if (!filtered) return <Empty title="No shows yet">They show up here as soon as somebody lists one.</Empty>;
  return (
    <Empty
      title="Nothing like that"
      action={
        <button type="button" className="button quiet" onClick={clear}>
          Clear the filters
        </button>
      }
    >
      No upcoming show matches. Try fewer words, another date or another city.
    </Empty>
  );
}

function Waiting() {
  return (
    <ul className="shows" aria-busy="true">
      {Array.from({ length: 6 }, (_, index) => (
        <li className="card show-card" key={index}>
          <div className="show-art skeleton" />
          <div className="show-words">
            <div className="skeleton" style={{ width: "65%", height: 20 }} />
            <div className="skeleton" style={{ width: "85%", height: 16, marginTop: 10 }} />
          </div>
        </li>
      ))}
    </ul>
  );
}
