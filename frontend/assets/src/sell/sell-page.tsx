// The seller's page: the seller's shows, or the one that `?show=` names.
import { useEffect, useState } from "react";
import { Link, useSearchParams } from "react-router";

import type { Show } from "../shared/api-types";
import { serverNow } from "../shared/clock";
import { clockTime, monthAndDay, pricesFrom } from "../shared/format";
import type { Live } from "../shared/live-rows";
import { useValue } from "../shared/observable";
import { text } from "../shared/texts";
import { Empty, Failed } from "../shared/ui/page-states";
import { SignedInOnly } from "../shared/ui/signed-in-only";
import { useHydrated } from "../shared/use-hydrated";
import { NEW_SHOW } from "./addresses";
import { FindShow } from "./find-show";
import { SellerShow } from "./seller-show";
import { SellerShowsFeed } from "./seller-shows-feed";
import { NewShow } from "./show-form";

export function SellPage() {
  const [params] = useSearchParams();
  const hydrated = useHydrated();
  const show = hydrated ? params.get("show") : null;
  return (
    <>
      <SignedInOnly
        title={text("sell.sign_in")}
        words={text("sell.sign_in_note")}
        waiting={<Waiting />}
      >
        {(seller) => {
          if (show === null) return <Shows />;
          if (show === "new") return <NewShow seller={seller} />;
          return <SellerShow key={show} id={show} seller={seller} />;
        }}
      </SignedInOnly>
    </>
  );
}

function Shows() {
  const [feed] = useState(() => new SellerShowsFeed());
  const { rows, ready } = useValue(feed.shows);
  const problem = useValue(feed.problem);
  useEffect(() => feed.open(), [feed]);
  const now = serverNow();
  const upcoming = rows.filter((show) => Date.parse(show.starts_at) >= now);
  const past = rows.filter((show) => Date.parse(show.starts_at) < now).reverse();
  return (
    <>
      <Header />
      <FindShow />
      {!ready && !problem && <WaitingRows />}
      {!ready && problem && <Failed problem={problem} retry={() => void feed.refresh()} />}
      {ready && rows.length === 0 && (
        <Empty title={text("sell.none_yet")}>{text("sell.none_yet_note")}</Empty>
      )}
      <ShowRows title={text("sell.your_shows")} shows={upcoming} />
      <ShowRows title={text("sell.past")} shows={past} />
    </>
  );
}

function Header() {
  return (
    <header className="page-head">
      <h1 className="title">{text("sell.title")}</h1>
      <div className="page-actions">
        <Link className="button quiet" to="/desk">
          {text("sell.desk")}
        </Link>
        <Link className="button" to={NEW_SHOW}>
          {text("sell.add_show")}
        </Link>
      </div>
    </header>
  );
}

function ShowRows({ title, shows }: { title: string; shows: readonly Live<Show>[] }) {
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

function ShowRow({ show }: { show: Live<Show> }) {
  const [month, day] = monthAndDay(show);
  return (
    <li
      className={`ticket ${show.touched ? "changed" : ""}`}
      data-show={show.id}
      data-beat={show.touched % 2}
    >
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
            {`${show.venue}, ${show.city} · ${clockTime(show)}`}
          </span>
        </span>
        <span className="show-row-counts soft">
          {text("sell.counts", { free: show.available, held: show.held, sold: show.sold })}
        </span>
        <span className="ticket-price">
          {show.from_prices.length > 0 &&
            text("sell.from", { prices: pricesFrom(show.from_prices) })}
        </span>
      </Link>
    </li>
  );
}

function Waiting() {
  return (
    <div aria-busy="true">
      <Header />
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
