// The page of one show: its tickets as they are this second, and the shopper's pick.
import { useEffect, useMemo, useRef, useState } from "react";
import { useParams } from "react-router";

import { Choice } from "./choice.jsx";
import { serverNow, useClock } from "./clock.js";
import { useFacts } from "./facts.js";
import { fullName, moneyFrom, readersTime, showTime } from "./format.js";
import { useMyHolds } from "./my_holds.js";
import { useValue } from "./observable.js";
import { Pick, usePick } from "./pick.jsx";
import { user } from "./session.js";
import { ShowFeed } from "./show_feed.js";
import { Empty, Failed, NoSuchShow, OfflineBanner } from "./states.jsx";
import { Section } from "./ticket_rows.jsx";
import { bySection, counts, sectionOf, sectionsOf, standing } from "./tickets.js";
import { toast } from "./toasts.jsx";

const HOLD_SECONDS = 60;
const MINE_MS = 800; // by then a hold that the visitor made on another tab is known as its own

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
  const me = useValue(user)?.id;
  const holds = useMyHolds();
  const [wanted, setWanted] = useState({ most: "", section: "", onlyFree: false });
  useClock(wholeSecond);

  const tickets = rows.filter((ticket) => ticket.status !== "withdrawn");
  const pick = usePick(id, tickets, ready);
  useEffect(() => feed.open(), [feed]);
  useTakenNotice(feed, pick, holds);
  useEffect(() => {
    if (show) document.title = `${show.title} · GitTix`;
  }, [show]);

  if (!show || !ready) {
    if (!problem) return <Waiting />;
    return problem.status === 404 ? <NoSuchShow to="/">See all shows</NoSuchShow> : <Failed problem={problem} again={feed.again} />;
  }
  const shown = tickets.filter(
    (ticket) =>
      (!wanted.most || ticket.price <= Number(wanted.most)) &&
      (!wanted.section || sectionOf(ticket) === wanted.section) &&
      (!wanted.onlyFree || standing(ticket) === "free"),
  );
  return (
    <>
      <OfflineBanner />
      <ShowHead show={show} counted={counts(tickets)} feed={feed} />
      <div className="show-body">
        <div>
          {tickets.length > 0 && <Filters tickets={tickets} wanted={wanted} want={(more) => setWanted({ ...wanted, ...more })} />}
          {tickets.length === 0 && <Empty title="No tickets yet">They show up here the moment somebody lists one.</Empty>}
          {tickets.length > 0 && shown.length === 0 && (
            <Empty title="None of them right now">Try another price, or wait: holds end after a minute.</Empty>
          )}
          {bySection(shown).map(([name, inSection]) => (
            <Section
              key={name}
              name={name}
              tickets={inSection}
              pick={pick}
              me={me}
              holds={holds}
              hold={facts?.hold_seconds ?? HOLD_SECONDS}
            />
          ))}
        </div>
        {tickets.length > 0 && <Pick show={show} pick={pick} facts={facts} tickets={tickets} />}
      </div>
    </>
  );
}

/** Say it when somebody was faster with a ticket that stands in the pick. */
function useTakenNotice(feed, pick, holds) {
  const latest = useRef({});
  latest.current = { pick, holds };
  useEffect(() => {
    feed.onChange = (ticket) => {
      const { pick } = latest.current;
      if (!pick.has(ticket.id) || pick.holding || standing(ticket) === "free") return;
      pick.toggle(ticket.id);
      setTimeout(() => {
        if (!latest.current.holds.has(ticket.id)) toast(`Somebody was faster with ${fullName(ticket)}.`);
      }, MINE_MS);
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

function Filters({ tickets, wanted, want }) {
  const prices = [...new Set(tickets.map((ticket) => ticket.price))].sort((one, other) => one - other);
  const sections = sectionsOf(tickets);
  const [{ currency }] = tickets;
  return (
    <div className="ticket-filters">
      {prices.length > 1 && (
        <Choice
          label="Price"
          none="Any price"
          options={prices.slice(0, -1).map((price) => [price, `Up to ${moneyFrom(price, currency)}`])}
          chosen={wanted.most}
          choose={(most) => want({ most })}
        />
      )}
      {sections.length > 1 && (
        <Choice
          label="Section"
          none="All sections"
          options={sections.map((name) => [name, name])}
          chosen={wanted.section}
          choose={(section) => want({ section })}
        />
      )}
      <button type="button" className="chip" aria-pressed={wanted.onlyFree} onClick={() => want({ onlyFree: !wanted.onlyFree })}>
        Only free ones
      </button>
    </div>
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
