// The list of shows. The address holds its search, filters and sort order; one channel keeps its
// counts live.
import { useEffect } from "react";
import { Link, useSearchParams } from "react-router";

import type { Suggestion } from "../shared/api-types";
import { showTime } from "../shared/format";
import { useValue } from "../shared/observable";
import { useSiteConfig } from "../shared/site-config";
import { richText, text } from "../shared/texts";
import { Empty, Failed, MoreButton, OutageBanner } from "../shared/ui/page-states";
import { useHydrated } from "../shared/use-hydrated";
import { type ChangeAddress, Filters } from "./filters";
import { ShowCard } from "./show-card";
import { ShowListFeed } from "./show-list-feed";
import { placeAndTimeOf, queryOf } from "./show-query";

// One for all visits of the page: on return from a show the list is as it was.
const feed = new ShowListFeed();

export function ShowList() {
  const [params, setParams] = useSearchParams();
  // The built page has no address, so its filters and its list are empty.
  const hydrated = useHydrated();
  const change: ChangeAddress = (changes, { replace = false } = {}) => {
    const changed = (now: URLSearchParams) => {
      for (const [name, value] of Object.entries(changes)) {
        if (value) now.set(name, value);
        else now.delete(name);
      }
      return now;
    };
    setParams(changed, { replace, preventScrollReset: true });
  };
  const query = hydrated ? queryOf(params) : null;
  useEffect(() => feed.open(), []);
  useEffect(() => {
    if (query !== null) feed.find(query);
  }, [query]);
  return (
    <>
      <OutageBanner />
      <Filters params={hydrated ? params : new URLSearchParams()} change={change} />
      <Results
        query={query}
        place={hydrated ? placeAndTimeOf(params) : ""}
        change={change}
        clearFilters={() => {
          setParams({});
        }}
      />
    </>
  );
}

interface ResultsProps {
  query: string | null;
  /** The wanted place and time, in a sentence. */
  place: string;
  change: ChangeAddress;
  clearFilters: () => void;
}

function Results({ query, place, change, clearFilters }: ResultsProps) {
  const { rows } = useValue(feed.shows);
  const answered = useValue(feed.answered);
  const problem = useValue(feed.problem);
  const more = useValue(feed.more);
  const alike = useValue(feed.alike);
  const config = useSiteConfig();
  const waiting = answered !== query;

  if (problem && waiting) return <Failed problem={problem} retry={() => void feed.refresh()} />;
  if (query === null || answered === null) return <Waiting />;
  if (rows.length === 0) {
    if (answered === "") {
      return <Empty title={text("browse.none_yet")}>{text("browse.none_yet_note")}</Empty>;
    }
    return <NothingFound {...{ place, change, clearFilters }} />;
  }
  return (
    <>
      {alike && (
        <p className="soft" role="status">
          {text("browse.alike")}
        </p>
      )}
      <p className="unseen" role="status">
        {text(more ? "browse.count_or_more" : "browse.count", { count: rows.length })}
      </p>
      <ul className={`shows ${waiting ? "waiting" : ""}`} aria-busy={waiting}>
        {rows.map((show) => (
          <ShowCard key={show.id} show={show} holdSeconds={config?.hold_seconds ?? 0} />
        ))}
      </ul>
      {more && <MoreButton onClick={feed.readMore} />}
    </>
  );
}

function NothingFound({ place, change, clearFilters }: Omit<ResultsProps, "query">) {
  const suggestions = useValue(feed.suggestions);
  const { date, city } = suggestions ?? {};
  return (
    <Empty
      title={place ? text("browse.nothing_at", { place }) : text("browse.nothing")}
      action={
        <button type="button" className="button quiet" onClick={clearFilters}>
          {text("browse.clear")}
        </button>
      }
    >
      {!date && !city && text("browse.nothing_note")}
      {date && (
        <>{richText("browse.next_date", { show: <Suggested key={date.show_id} show={date} /> })} </>
      )}
      {city &&
        richText("browse.next_city", {
          city: city.city,
          show: <Suggested key={city.show_id} show={city} />,
          button: (words) => (
            <button
              key={city.city}
              type="button"
              className="link"
              onClick={() => {
                change({ city: city.city });
              }}
            >
              {words}
            </button>
          ),
        })}
    </Empty>
  );
}

function Suggested({ show }: { show: Suggestion }) {
  return (
    <Link to={`/shows/${show.show_id}`}>
      {show.title}, {showTime(show)}
    </Link>
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
