// The page of one show: its tickets as they are this second, and the shopper's pick.
import { memo, useCallback, useEffect, useMemo, useRef, useState } from "react";
import { Link, useParams } from "react-router";

import { serverNow, useClock, useSecondsUntil } from "./clock.js";
import { useFacts } from "./facts.js";
import { fullName, minutes, money, moneyFrom, readersTime, seatName, showTime } from "./format.js";
import { useValue } from "./observable.js";
import { Pick, usePick } from "./pick.jsx";
import { Ring } from "./ring.jsx";
import { ShowFeed } from "./show_feed.js";
import { Empty, Failed, OfflineBanner } from "./states.jsx";
import { bySection, counts, linesOf, standing } from "./tickets.js";
import { toast } from "./toasts.jsx";

const HOLD_SECONDS = 60;

export function ShowPage() {
  const { show_id: id } = useParams();
  // Another show is another page: nothing of the last one's pick or tickets stays.
  return id ? <OneShow key={id} id={id} /> : <Waiting />;
}

function OneShow({ id }) {
  const feed = useMemo(() => new ShowFeed(id), [id]);
  const show = useValue(feed.show);
  const { rows, ready } = useValue(feed.tickets);
  const problem = useValue(feed.problem);
  const facts = useFacts();
  const [most, setMost] = useState("");
  const [onlyFree, setOnlyFree] = useState(false);
  useClock(wholeSecond);

  const tickets = rows.filter((ticket) => ticket.status !== "withdrawn");
  const pick = usePick(id, tickets, ready);
  useEffect(() => feed.open(), [feed]);
  useTakenNotice(feed, pick);
  useEffect(() => {
    if (show) document.title = `${show.title} · GitTix`;
  }, [show]);

  if (!show || !ready) {
    if (!problem) return <Waiting />;
    return problem.status === 404 ? <NoSuchShow /> : <Failed problem={problem} again={feed.again} />;
  }
  const shown = tickets.filter(
    (ticket) => (!most || ticket.price <= Number(most)) && (!onlyFree || standing(ticket) === "free"),
  );
  return (
    <>
      <OfflineBanner />
      <ShowHead show={show} counted={counts(tickets)} feed={feed} />
      <div className="show-body">
        <div>
          {tickets.length > 0 && (
            <Filters tickets={tickets} most={most} setMost={setMost} onlyFree={onlyFree} setOnlyFree={setOnlyFree} />
          )}
          {tickets.length === 0 && <Empty title="No tickets yet">They show up here the moment somebody lists one.</Empty>}
          {tickets.length > 0 && shown.length === 0 && (
            <Empty title="None of them right now">Try another price, or wait: holds end after a minute.</Empty>
          )}
          {bySection(shown).map(([name, inSection]) => (
            <Section key={name} name={name} tickets={inSection} pick={pick} hold={facts?.hold_seconds ?? HOLD_SECONDS} />
          ))}
        </div>
        <Pick show={show} pick={pick} facts={facts} tickets={tickets} />
      </div>
    </>
  );
}

/** Say it when somebody was faster with a ticket that stands in the pick. */
function useTakenNotice(feed, pick) {
  const latest = useRef(pick);
  latest.current = pick;
  useEffect(() => {
    feed.onChange = (ticket) => {
      if (!latest.current.has(ticket.id) || latest.current.holding || standing(ticket) === "free") return;
      latest.current.toggle(ticket.id);
      toast(`Somebody was faster with ${fullName(ticket)}.`);
    };
  }, [feed]);
}

const wholeSecond = () => Math.floor(serverNow() / 1000);

function ShowHead({ show, counted, feed }) {
  const looking = useValue(feed.looking);
  const { free, held, sold, from, currency } = counted;
  return (
    <header className="show-head">
      <div>
        <p className="when" title={readersTime(show)}>
          <time dateTime={show.starts_at}>{showTime(show)}</time> · {show.venue}, {show.city}
          {readersTime(show) && <span className="note"> · {readersTime(show)}</span>}
        </p>
        <h1 className="title">{show.title}</h1>
        <div className="badges">
          <span className="badge">
            <i className={`dot ${free ? "" : "off"}`} />
            {free ? `${free} available from ${moneyFrom(from, currency)}` : "None available"}
          </span>
          {held > 0 && <span className="badge">{held} in someone's hands</span>}
          <span className="badge">{lookingWords(looking)}</span>
        </div>
      </div>
      {free + held + sold > 0 && (
        <div className="share">
          <div className="share-bar" aria-hidden="true">
            <i className="share-free" style={{ flexGrow: free }} />
            <i className="share-held" style={{ flexGrow: held }} />
            <i style={{ flexGrow: sold }} />
          </div>
          {free} free · {held} held · {sold} sold
        </div>
      )}
    </header>
  );
}

function lookingWords(count) {
  if (count === null) return "People looking: …";
  return count > 1 ? `${count} people looking` : "Only you are looking";
}

function Filters({ tickets, most, setMost, onlyFree, setOnlyFree }) {
  const prices = [...new Set(tickets.map((ticket) => ticket.price))].sort((one, other) => one - other);
  const { currency } = tickets[0];
  return (
    <div className="price-filter">
      <label className="unseen" htmlFor="most">
        Price
      </label>
      <select id="most" className={`chip ${most && "chosen"}`} value={most} onChange={(event) => setMost(event.target.value)}>
        <option value="">Any price</option>
        {prices.slice(0, -1).map((price) => (
          <option key={price} value={price}>
            Up to {moneyFrom(price, currency)}
          </option>
        ))}
      </select>
      <button type="button" className="chip" aria-pressed={onlyFree} onClick={() => setOnlyFree(!onlyFree)}>
        Only free ones
      </button>
    </div>
  );
}

function Section({ name, tickets, pick, hold }) {
  const left = tickets.filter((ticket) => standing(ticket) === "free").length;
  return (
    <section className="section" aria-label={name}>
      <header>
        <h2 className="section-title">{name}</h2>
        <span className="soft">{left} left</span>
      </header>
      <ul className="card tickets">
        {linesOf(tickets, pick.has).map(({ key, tickets: alike }) =>
          alike.length > 1 ? (
            <Alike key={key} tickets={alike} toggle={pick.toggle} hold={hold} />
          ) : (
            <Ticket
              key={key}
              ticket={alike[0]}
              is={standing(alike[0])}
              picked={pick.has(alike[0].id)}
              toggle={pick.toggle}
              hold={hold}
            />
          ),
        )}
      </ul>
    </section>
  );
}

/** One row. It renders again when its ticket's version, its standing or its tick changes, and at nothing else. */
const Ticket = memo(function Ticket({ ticket, is, picked, toggle, hold }) {
  const name = seatName(ticket);
  const className = ["ticket", is, picked && "picked", ticket.touched && "changed"].filter(Boolean).join(" ");
  const line = (
    <>
      {is === "free" ? (
        <input type="checkbox" checked={picked} onChange={() => toggle(ticket.id)} aria-label={`${fullName(ticket)}, ${money(ticket.price, ticket.currency)}`} />
      ) : (
        <span />
      )}
      <span className="ticket-name">
        <b>{name}</b>
        {is !== "sold" && <span>@{ticket.seller_name}</span>}
      </span>
      <span className="ticket-state">
        {is === "held" && <Held ticket={ticket} hold={hold} />}
        {is === "free" && ticket.status === "held" && "may be free"}
        {is === "paying" && "being paid for"}
        {is === "sold" && <Sold at={ticket.updated_at} />}
      </span>
      <span className="ticket-price">{money(ticket.price, ticket.currency)}</span>
    </>
  );
  return (
    <li className={className} data-ticket={ticket.id} data-is={is} data-version={ticket.version} data-beat={ticket.touched % 2}>
      {is === "free" ? <label className="ticket-line">{line}</label> : <div className="ticket-line">{line}</div>}
    </li>
  );
});

/** Tickets that nothing tells apart, as one row: its button picks one more of them. */
function Alike({ tickets, toggle, hold }) {
  const { free, held, sold } = counts(tickets);
  const [first] = tickets;
  const next = tickets.find((ticket) => standing(ticket) === "free");
  const soonest = tickets
    .filter((ticket) => standing(ticket) === "held")
    .reduce((one, other) => (one && one.held_until < other.held_until ? one : other), null);
  const touched = tickets.reduce((sum, ticket) => sum + ticket.touched, 0);
  const is = free ? "free" : held ? "held" : "sold";
  const price = money(first.price, first.currency);
  const Line = next ? "label" : "div";
  return (
    <li className={`ticket ${is} ${touched ? "changed" : ""}`} data-alike={first.seller_id} data-is={is} data-beat={touched % 2}>
      <Line className="ticket-line">
        {next ? (
          <button type="button" className="add" onClick={() => toggle(next.id)} aria-label={`Add one: ${fullName(next)}, ${price}, ${free} left`}>
            +
          </button>
        ) : (
          <span />
        )}
        <span className="ticket-name">
          <b>{seatName(first)}</b>
          <span>
            @{first.seller_name}
            {free > 0 && `, ${free} alike`}
          </span>
        </span>
        <span className="ticket-state">
          {soonest && <Ring until={soonest.held_until} whole={hold} />}
          {held > 0 && `${held} in someone's hands`}
          {held === 0 && sold > 0 && <span className="soft">{sold} sold</span>}
        </span>
        <span className="ticket-price">{price}</span>
      </Line>
    </li>
  );
}

function Held({ ticket, hold }) {
  const seconds = useSecondsUntil(ticket.held_until);
  return (
    <>
      <Ring until={ticket.held_until} whole={hold} />
      <span data-seconds={seconds}>
        {seconds > 10 ? "in someone's hands" : "may be free in"}
        {seconds > 10 ? " · " : " "}
        {minutes(seconds)}
      </span>
    </>
  );
}

function Sold({ at }) {
  return useClock(useCallback(() => soldWords((serverNow() - Date.parse(at)) / 1000), [at]));
}

function soldWords(seconds) {
  if (seconds < 60) return `sold ${Math.max(1, Math.floor(seconds))} s ago`;
  return seconds < 3600 ? `sold ${Math.floor(seconds / 60)} min ago` : "sold";
}

function NoSuchShow() {
  return (
    <Empty
      title="There is no such show"
      action={
        <Link className="button" to="/">
          See all shows
        </Link>
      }
    >
      It may have been a mistyped address.
    </Empty>
  );
}

/** The page's frame while it is read, in the sizes that it will have. */
function Waiting() {
  return (
    <div aria-busy="true">
      <span className="unseen" role="status">
        Loading the show
      </span>
      <div className="show-head">
        <div>
          <div className="skeleton" style={{ width: "min(20rem, 80%)", height: 22 }} />
          <div className="skeleton" style={{ width: "min(24rem, 95%)", height: 39, marginBlock: "0.4rem 0.75rem" }} />
          <div className="skeleton" style={{ width: "min(26rem, 100%)", height: 30, borderRadius: 15 }} />
        </div>
      </div>
      <div className="show-body">
        <div>
          <div className="skeleton" style={{ width: 120, height: 44, borderRadius: 22, marginBottom: "1.25rem" }} />
          <div className="skeleton" style={{ width: 110, height: 20, marginBottom: 12 }} />
          <ul className="card tickets">
            {Array.from({ length: 9 }, (_, index) => (
              <li className="ticket" key={index}>
                <div className="ticket-line">
                  <span className="skeleton" style={{ width: 22, height: 22 }} />
                  <span className="skeleton" style={{ width: "45%", height: 16 }} />
                  <span />
                  <span className="skeleton" style={{ height: 16 }} />
                </div>
              </li>
            ))}
          </ul>
        </div>
        <div className="card pick empty" style={{ height: 150 }} />
      </div>
    </div>
  );
}
