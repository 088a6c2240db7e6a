// The list of shows. The address holds its search, filters and sort order; one channel keeps its
// counts live.
import { type ReactNode, useEffect } from "react";
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
      <Filters params={hydrated ? params : new URLSearchParams()} change={change} />
      <Results
        query={query}
        params={params}
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
  params: URLSearchParams;
  change: ChangeAddress;
  clearFilters: () => void;
}

function Results({ query, params, change, clearFilters }: ResultsProps) {
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
    return <NothingFound {...{ params, change, clearFilters }} />;
  }
  return (
    <>
      <OutageBanner />
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

interface NothingFoundProps {
  params: URLSearchParams;
  change: ChangeAddress;
  clearFilters: () => void;
}

/** The nearest shows, and each filter that can be left out. */
function NothingFound({ params, change, clearFilters }: NothingFoundProps) {
  const { date, city } = useValue(feed.suggestions) ?? {};
  const used = usedFilters(params);
  return (
    <Empty
      title={nothingText(params.get("q") ?? "", placeAndTimeOf(params))}
      action={
        <div className="state-actions">
          {used.map(([name, label]) => (
            <button
              key={name}
              type="button"
              className="chip"
              onClick={() => {
                change({ [name]: "" });
              }}
            >
              {label}
            </button>
          ))}
          {used.length !== 1 && (
            <button type="button" className="chip" onClick={clearFilters}>
              {text("browse.clear")}
            </button>
          )}
        </div>
      }
    >
      {!date && !city && text("browse.nothing_note")}
      {date && <Suggested label={text("browse.next_date")} show={date} />}
      {city && (
        <Suggested
          label={richText("browse.suggested_city", {
            city: city.city,
            button: (content) => (
              <button
                type="button"
                className="link"
                onClick={() => {
                  change({ city: city.city });
                }}
              >
                {content}
              </button>
            ),
          })}
          show={city}
        />
      )}
    </Empty>
  );
}

function nothingText(words: string, place: string): string {
  if (words && place) return text("browse.nothing_for_at", { words, place });
  if (words) return text("browse.nothing_for", { words });
  return place ? text("browse.nothing_at", { place }) : text("browse.nothing");
}

/** The names of the filters in use, and the labels of the buttons that leave them out. */
function usedFilters(params: URLSearchParams): [name: string, label: string][] {
  const labels: [string, string][] = [
    ["when", text("browse.any_date")],
    ["city", text("browse.all_cities")],
    ["category", text("browse.all_categories")],
    ["q", text("browse.without_words", { words: params.get("q") ?? "" })],
  ];
  return labels.filter(([name]) => params.get(name));
}

function Suggested({ label, show }: { label: ReactNode; show: Suggestion }) {
  return (
    <span className="suggested">
      <span className="note">{label}</span>
      <Link to={`/shows/${show.show_id}`}>{show.title}</Link>
      <span>{text("browse.suggested_place", { time: showTime(show), city: show.city })}</span>
    </span>
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
