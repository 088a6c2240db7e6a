// The list of shows. Its search, filters and order stand in the address; its counts are live from one channel.
import { memo, useEffect, useMemo, useRef, useState } from "react";
import { Link, useSearchParams } from "react-router";

import { get } from "./api.js";
import { art, clockTime, monthAndDay, moneyFrom, readersTime } from "./format.js";
import { LiveRows } from "./live_rows.js";
import { Observable, useValue } from "./observable.js";
import { listen } from "./push.js";
import { Reading } from "./reading.js";
import { Empty, Failed, OfflineBanner } from "./states.jsx";

const TYPING_MS = 180;
const PAGE = 24;
const DATES = [
  ["", "Any date"],
  ["weekend", "This weekend"],
  ["week", "Next 7 days"],
  ["month", "Next 30 days"],
];

/** The shows of one question, as far as they were asked for. */
class ShowsFeed {
  shows = new LiveRows();
  problem = new Observable(null);
  more = new Observable(false);
  #pages = 1;
  #reading = new Reading();

  constructor(question) {
    this.question = question;
  }

  open() {
    this.#reading.open();
    this.again();
    const stop = listen("shows", { message: this.#message, reread: this.read });
    return () => {
      stop();
      this.#reading.close();
    };
  }

  again = () => this.read().catch(() => undefined);

  readMore = () => {
    this.#pages += 1;
    return this.again();
  };

  read = async () => {
    try {
      const found = await this.#reading.latest((signal) => this.#ask(signal));
      if (!found) return;
      this.shows.replace(found.shows);
      this.more.set(found.more);
      this.problem.set(null);
    } catch (fault) {
      this.problem.set(fault);
      throw fault;
    }
  };

  async #ask(signal) {
    const shows = [];
    let cursor = "";
    for (let page = 0; page < this.#pages && cursor !== null; page += 1) {
      const after = cursor && `&cursor=${encodeURIComponent(cursor)}`;
      const answer = await get(`/api/shows?${this.question}&limit=${PAGE}${after}`, { signal });
      shows.push(...answer.items);
      cursor = answer.next_cursor;
    }
    return { shows, more: cursor !== null };
  }

  #message = (_event, data) => {
    if (data?.show) this.shows.applyKnown(data.show);
  };
}

export function ShowList() {
  const [params, setParams] = useSearchParams();
  // The built page knows no address: until the browser has it, only the frame can be shown.
  const [mounted, setMounted] = useState(false);
  useEffect(() => setMounted(true), []);
  const change = (changes) =>
    setParams(
      (now) => {
        for (const [name, value] of Object.entries(changes)) value ? now.set(name, value) : now.delete(name);
        return now;
      },
      { replace: true, preventScrollReset: true },
    );
  const question = mounted ? questionOf(params) : null;
  return (
    <>
      <OfflineBanner />
      <Filters params={mounted ? params : new URLSearchParams()} change={change} />
      {question === null ? <Waiting /> : <Found key={question} question={question} clear={() => setParams({})} />}
    </>
  );
}

function Found({ question, clear }) {
  const feed = useMemo(() => new ShowsFeed(question), [question]);
  const { rows, ready } = useValue(feed.shows);
  const problem = useValue(feed.problem);
  const more = useValue(feed.more);
  useEffect(() => feed.open(), [feed]);
  useEffect(() => {
    places.add(rows.map((show) => show.city));
    kinds.add(rows.map((show) => show.category));
  }, [rows]);

  if (!ready) return problem ? <Failed problem={problem} again={feed.again} /> : <Waiting />;
  if (rows.length === 0) return <Nothing filtered={question !== PLAIN} clear={clear} />;
  return (
    <>
      <p className="unseen" role="status">
        {rows.length} shows
      </p>
      <ul className="shows">
        {rows.map((show) => (
          <ShowCard key={show.id} show={show} />
        ))}
      </ul>
      {more && (
        <div className="more">
          <button type="button" className="button quiet" onClick={feed.readMore}>
            Show more
          </button>
        </div>
      )}
    </>
  );
}

// Cities and categories that were seen on this visit: the API lists none.
class Seen extends Observable {
  add(words) {
    if (words.some((word) => !this.value.includes(word))) this.set([...new Set([...this.value, ...words])].sort());
  }
}
const places = new Seen([]);
const kinds = new Seen([]);

function Filters({ params, change }) {
  const [text, setText] = useState("");
  const typing = useRef(null);
  const asked = params.get("q") ?? "";
  const input = useRef(null);
  const fresh = useRef(true);
  useEffect(() => {
    // Somebody may have typed into the built page before its script ran.
    const early = fresh.current ? input.current.value.trim() : "";
    fresh.current = false;
    setText(early || asked);
    if (early) change({ q: early });
  }, [asked]);
  const typed = (event) => {
    const { value } = event.target;
    setText(value);
    clearTimeout(typing.current);
    typing.current = setTimeout(() => change({ q: value.trim() }), TYPING_MS);
  };
  const when = params.get("when") ?? "";
  return (
    <search className="filters">
      <label className="unseen" htmlFor="search">
        Search
      </label>
      <input
        ref={input}
        id="search"
        className="search"
        type="search"
        placeholder="Search shows, venues, cities"
        autoComplete="off"
        value={text}
        onChange={typed}
      />
      <div className="chips">
        {DATES.map(([name, words]) => (
          <button key={name} type="button" className="chip" aria-pressed={when === name} onClick={() => change({ when: name })}>
            {words}
          </button>
        ))}
        <Choice name="city" all="All cities" from={places} params={params} change={change} />
        <Choice name="category" all="Everything" from={kinds} params={params} change={change} />
        <label className="unseen" htmlFor="sort">
          Order
        </label>
        <select id="sort" className="chip" value={params.get("sort") ?? ""} onChange={(event) => change({ sort: event.target.value })}>
          <option value="">Soonest first</option>
          <option value="-starts_at">Latest first</option>
        </select>
      </div>
    </search>
  );
}

function Choice({ name, all, from, params, change }) {
  const chosen = params.get(name) ?? "";
  const seen = useValue(from);
  const words = chosen && !seen.includes(chosen) ? [chosen, ...seen] : seen;
  return (
    <>
      <label className="unseen" htmlFor={name}>
        {name}
      </label>
      <select
        id={name}
        className={`chip ${chosen && "chosen"}`}
        value={chosen}
        onChange={(event) => change({ [name]: event.target.value })}
      >
        <option value="">{all}</option>
        {words.map((word) => (
          <option key={word} value={word}>
            {word.charAt(0).toUpperCase() + word.slice(1)}
          </option>
        ))}
      </select>
    </>
  );
}

const ShowCard = memo(function ShowCard({ show }) {
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
          {show.venue}, {show.city} · {clockTime(show)}
        </p>
      </div>
      <hr className="perforation notched" />
      <p className={`show-counts ${show.touched ? "changed" : ""}`} data-beat={show.touched % 2}>
        <Left show={show} />
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

function Left({ show }) {
  const { available, held, sold } = show;
  if (available > FEW) return <span className="is-free">{available} left</span>;
  if (available > 0) return <span className="is-held">{`${available} left${held ? ` · ${held} held` : ""}`}</span>;
  if (held > 0) return <span className="is-held">All held · may free soon</span>;
  return <span className="is-gone">{sold > 0 ? "Sold out" : "No tickets yet"}</span>;
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

const PLAIN = "";

/** The API's question for an address. */
function questionOf(params) {
  const question = new URLSearchParams();
  for (const name of ["q", "city", "category", "sort"]) {
    if (params.get(name)) question.set(name, params.get(name));
  }
  const [from, to] = datesOf(params.get("when"));
  if (from) question.set("from", from.toISOString());
  if (to) question.set("to", to.toISOString());
  return question.toString();
}

function datesOf(when) {
  const today = new Date();
  today.setHours(0, 0, 0, 0);
  const day = (number) => new Date(today.getFullYear(), today.getMonth(), today.getDate() + number);
  const toFriday = (5 - today.getDay() + 7) % 7;
  switch (when) {
    case "weekend":
      // From Friday to Sunday night; on a Saturday or Sunday, what is left of it.
      return today.getDay() === 6 ? [day(0), day(2)] : today.getDay() === 0 ? [day(0), day(1)] : [day(toFriday), day(toFriday + 3)];
    case "week":
      return [day(0), day(7)];
    case "month":
      return [day(0), day(30)];
    default:
      return [null, null];
  }
}
