// One show as a seller sees it: the form that lists tickets, and the seller's own tickets, live.
import { useEffect, useRef, useState } from "react";
import { Link } from "react-router";

import type { Show, Ticket, User } from "../shared/api-types";
import { useEachSecond } from "../shared/clock";
import { money, readersTime, showTime } from "../shared/format";
import type { Live } from "../shared/live-rows";
import { asProblem } from "../shared/http";
import { useValue } from "../shared/observable";
import { salesOf } from "../shared/show-sales";
import { text } from "../shared/texts";
import { availabilityOf, countTickets } from "../shared/tickets";
import { Empty, Failed, NoSuchShow } from "../shared/ui/page-states";
import { SalesClosed } from "../shared/ui/sales-closed";
import { BulkBar } from "./bulk-bar";
import { toast } from "../shared/ui/toasts";
import { CallOff } from "./call-off";
import { ListingForm, type ListingProps } from "./listing-form";
import { OthersTickets } from "./others-tickets";
import { OwnTicket } from "./own-ticket";
import { SectionLists } from "./section-lists";
import { SelectSection } from "./select-section";
import { useSelection } from "./selection";
import { SellerFeed } from "./seller-feed";
import { ChangeShow } from "./show-form";

export function SellerShow({ id, seller }: { id: string; seller: User }) {
  const [feed] = useState(() => new SellerFeed(id, seller.id));
  const show = useValue(feed.show);
  const { rows, ready } = useValue(feed.tickets);
  const problem = useValue(feed.problem);
  useEachSecond();
  useEffect(() => feed.open(), [feed]);

  if (!show || !ready) {
    if (!problem) return <Waiting />;
    if (problem.status === 404)
      return <NoSuchShow to="/sell">{text("sell.your_shows")}</NoSuchShow>;
    return <Failed problem={problem} retry={() => void feed.refresh()} />;
  }
  const listed = rows.filter((ticket) => ticket.status !== "withdrawn");
  const own = listed.filter((ticket) => ticket.seller_id === seller.id);
  const others = listed.filter((ticket) => ticket.seller_id !== seller.id);
  const onListed = (tickets: readonly Ticket[]) => {
    for (const ticket of tickets) feed.tickets.apply(ticket);
  };
  return (
    <>
      <Header show={show} seller={seller} sold={countTickets(rows).sold} feed={feed} />
      {show.owner_id === seller.id && (
        <CallOff show={show} sold={countTickets(rows).sold} onDone={() => void feed.refresh()} />
      )}
      <div className="sell-body">
        <Listing show={show} seller={seller} listed={own} onListed={onListed} />
        <div>
          <OwnTickets tickets={own} seller={seller} feed={feed} />
          {show.owner_id === seller.id && others.length > 0 && (
            <OthersTickets tickets={others} feed={feed} />
          )}
          <Older feed={feed} />
        </div>
      </div>
    </>
  );
}

function Listing(props: ListingProps) {
  const { show, seller } = props;
  const sales = salesOf(show);
  if (sales !== "open") return <SalesClosed sales={sales} />;
  if (show.listing_policy === "open" || show.owner_id === seller.id) {
    return <ListingForm {...props} />;
  }
  return <Empty title={text("sell.closed")}>{text("sell.closed_note")}</Empty>;
}

interface HeaderProps {
  show: Show;
  seller: User;
  /** How many of the show's tickets are sold. */
  sold: number;
  feed: SellerFeed;
}

function Header({ show, seller, sold, feed }: HeaderProps) {
  const [changing, setChanging] = useState(false);
  const toggle = useRef<HTMLButtonElement>(null);
  const onDone = () => {
    setChanging(false);
    toggle.current?.focus();
    void feed.refresh();
  };
  return (
    <>
      <header className="page-head">
        <div>
          <p className="soft">
            <Link to="/sell">{text("sell.title")}</Link>
          </p>
          <h1 className="title">{show.title}</h1>
          <p className="soft">
            <time dateTime={show.starts_at}>{showTime(show)}</time>
            {` · ${show.venue}, ${show.city}`}
            {readersTime(show) && ` · ${readersTime(show)}`}
          </p>
        </div>
        <div className="page-actions">
          <Link className="button quiet" to={`/shows/${show.id}`}>
            {text("sell.as_buyers")}
          </Link>
          {show.owner_id === seller.id && show.status !== "cancelled" && (
            <button
              ref={toggle}
              type="button"
              className="button quiet"
              aria-expanded={changing}
              onClick={() => {
                setChanging(!changing);
              }}
            >
              {text("sell.change_show")}
            </button>
          )}
        </div>
      </header>
      {changing && (
        <div className="change-show">
          <ChangeShow id={show.id} seller={seller} sold={sold} onDone={onDone} />
        </div>
      )}
    </>
  );
}

interface OwnTicketsProps {
  tickets: readonly Live<Ticket>[];
  seller: User;
  feed: SellerFeed;
}

function OwnTickets({ tickets, seller, feed }: OwnTicketsProps) {
  const { free, held, sold } = countTickets(tickets);
  const selection = useSelection(tickets);
  const older = useValue(feed.older);
  return (
    <section className="my-tickets" aria-label={text("sell.your_tickets")}>
      <header>
        <h2 className="section-title">{text("sell.your_tickets")}</h2>
        {tickets.length > 0 && (
          <span className="soft" data-counts>
            {older.own && text("sell.of_newest", { count: tickets.length })}
            {text("sell.counts", { free, held, sold })}
            {takingsText(tickets)}
          </span>
        )}
        {free > 1 && !selection.isOpen && (
          <button
            type="button"
            className="button quiet small"
            onClick={() => {
              selection.setOpen(true);
            }}
          >
            {text("sell.bulk_open")}
          </button>
        )}
      </header>
      {selection.isOpen && (
        <BulkBar selection={selection} sellerId={seller.id} tickets={feed.tickets} />
      )}
      {tickets.length === 0 && (
        <Empty title={text("sell.no_tickets")}>{text("sell.no_tickets_note")}</Empty>
      )}
      <SectionLists
        tickets={tickets}
        action={(inSection, name) => (
          <SelectSection name={name} tickets={inSection} selection={selection} />
        )}
        row={(ticket) => (
          <OwnTicket
            key={ticket.id}
            ticket={ticket}
            availability={availabilityOf(ticket)}
            sellerId={seller.id}
            feed={feed}
            isSelected={selection.isOpen ? selection.isSelected(ticket.id) : undefined}
            onSelect={selection.select}
          />
        )}
      />
    </section>
  );
}

/** The button that reads older tickets, while there are any. */
function Older({ feed }: { feed: SellerFeed }) {
  const older = useValue(feed.older);
  const [reading, setReading] = useState(false);
  if (Object.keys(older).length === 0) return null;
  const read = async () => {
    setReading(true);
    await feed.readOlder().catch((error: unknown) => {
      toast(asProblem(error).message);
    });
    setReading(false);
  };
  return (
    <button
      type="button"
      className="button quiet full"
      disabled={reading}
      onClick={() => void read()}
    >
      {text("sell.show_older")}
    </button>
  );
}

/** The sum of the sales in each currency. */
function takingsText(tickets: readonly Ticket[]): string {
  const sums = new Map<string, number>();
  for (const { status, currency, price } of tickets) {
    if (status === "sold") sums.set(currency, (sums.get(currency) ?? 0) + price);
  }
  return [...sums].map(([currency, sum]) => ` · ${money(sum, currency)}`).join("");
}

function Waiting() {
  return (
    <div aria-busy="true">
      <div className="page-head">
        <div>
          <div className="skeleton" style={{ width: 90, height: 22 }} />
          <div
            className="skeleton"
            style={{ width: "min(24rem, 90%)", height: 39, marginBlock: "0.2rem" }}
          />
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
