// One show as its seller sees it: the form that lists tickets, and the seller's own tickets, live.
import { useEffect, useMemo, useState } from "react";
import { Link } from "react-router";

import { serverNow, useClock } from "./clock.js";
import { money, readersTime, showTime } from "./format.js";
import { ListForm } from "./list_form.jsx";
import { MyTicket } from "./my_ticket.jsx";
import { useValue } from "./observable.js";
import { ChangeShow } from "./show_form.jsx";
import { ShowFeed } from "./show_feed.js";
import { Empty, Failed, NoSuchShow } from "./states.jsx";
import { bySection, counts, standing } from "./tickets.js";

const wholeSecond = () => Math.floor(serverNow() / 1000);

export function SellersShow({ id, seller }) {
  const feed = useMemo(() => new ShowFeed(id), [id]);
  const show = useValue(feed.show);
  const { rows, ready } = useValue(feed.tickets);
  const problem = useValue(feed.problem);
  const [changing, setChanging] = useState(false);
  useClock(wholeSecond);
  useEffect(() => feed.open(), [feed]);

  if (!show || !ready) {
    if (!problem) return <Waiting />;
    return problem.status === 404 ? <NoSuchShow to="/sell">Your shows</NoSuchShow> : <Failed problem={problem} again={feed.again} />;
  }
  const mine = rows.filter((ticket) => ticket.seller_id === seller.id && ticket.status !== "withdrawn");
  const own = show.owner_id === seller.id;
  const changed = () => {
    setChanging(false);
    feed.again();
  };
  return (
    <>
      <header className="page-head">
        <div>
          <p className="soft">
            <Link to="/sell">Sell tickets</Link>
          </p>
          <h1 className="title">{show.title}</h1>
          <p className="soft">
            <time dateTime={show.starts_at}>{showTime(show)}</time> · {show.venue}, {show.city}
            {readersTime(show) && ` · ${readersTime(show)}`}
          </p>
        </div>
        <div className="page-actions">
          <Link className="button quiet" to={`/shows/${id}`}>
            As buyers see it
          </Link>
          {own && (
            <button type="button" className="button quiet" aria-expanded={changing} onClick={() => setChanging(!changing)}>
              Change the show
            </button>
          )}
        </div>
      </header>
      {changing && (
        <div className="change-show">
          <ChangeShow id={id} seller={seller} sold={counts(rows).sold} done={changed} />
        </div>
      )}
      <div className="sell-body">
        <ListForm show={show} seller={seller} mine={mine} listed={(items) => items.forEach((ticket) => feed.tickets.apply(ticket))} />
        <MyTickets tickets={mine} seller={seller} feed={feed} />
      </div>
    </>
  );
}

function MyTickets({ tickets, seller, feed }) {
  const { free, held, sold } = counts(tickets);
  return (
    <section className="my-tickets" aria-label="Your tickets">
      <header>
        <h2 className="section-title">Your tickets</h2>
        {tickets.length > 0 && (
          <span className="soft" data-counts>
            {free} free · {held} held · {sold} sold{takings(tickets)}
          </span>
        )}
      </header>
      {tickets.length === 0 && <Empty title="None of yours yet">What you list shows up here, and tells you the moment somebody holds or buys it.</Empty>}
      {bySection(tickets).map(([name, inSection]) => (
        <section className="section" key={name} aria-label={name}>
          <header>
            <h3>{name}</h3>
            <span className="soft">{inSection.length}</span>
          </header>
          <ul className="card tickets">
            {inSection.map((ticket) => (
              <MyTicket key={ticket.id} ticket={ticket} is={standing(ticket)} sellerId={seller.id} feed={feed} />
            ))}
          </ul>
        </section>
      ))}
    </section>
  );
}

/** What was sold, when it was all in one currency. */
function takings(tickets) {
  const sold = tickets.filter((ticket) => ticket.status === "sold");
  const currencies = new Set(sold.map((ticket) => ticket.currency));
  if (currencies.size !== 1) return "";
  return ` · ${money(sold.reduce((sum, ticket) => sum + ticket.price, 0), sold[0].currency)}`;
}

function Waiting() {
  return (
    <div aria-busy="true">
      <div className="page-head">
        <div>
          <div className="skeleton" style={{ width: 90, height: 22 }} />
          <div className="skeleton" style={{ width: "min(24rem, 90%)", height: 39, marginBlock: "0.2rem" }} />
          <div className="skeleton" style={{ width: "min(20rem, 80%)", height: 22 }} />
        </div>
      </div>
      <div className="sell-body">
        <div className="card list-form" style={{ height: 640 }} />
        <div className="my-tickets">
          <div className="skeleton" style={{ width: 120, height: 22 }} />
        </div>
      </div>
    </div>
  );
}
