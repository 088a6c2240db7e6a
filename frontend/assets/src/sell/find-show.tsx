// Finds a show that exists already: a seller lists tickets beside those of other sellers.
import { useEffect, useState } from "react";
import { Link } from "react-router";

import { get } from "../shared/api";
import type { Show } from "../shared/api-types";
import { showTime } from "../shared/format";
import { LatestRead } from "../shared/latest-read";
import { richText, text } from "../shared/texts";
import { NEW_SHOW } from "./addresses";

const TYPING_MS = 180;
const MAX_FOUND = 6;

export function FindShow() {
  const [typed, setTyped] = useState("");
  const found = useSearch(typed.trim());
  return (
    <search className="find-show">
      <label className="unseen" htmlFor="find-show">
        {text("sell.find_show")}
      </label>
      <input
        id="find-show"
        className="search"
        type="search"
        placeholder={text("sell.find_hint")}
        autoComplete="off"
        maxLength={100}
        value={typed}
        onChange={(event) => {
          setTyped(event.target.value);
        }}
      />
      {found && <FoundShows shows={found} />}
    </search>
  );
}

/** The shows that match, null while there are no words. Those of the last words stay meanwhile. */
function useSearch(words: string): readonly Show[] | null {
  const [found, setFound] = useState<readonly Show[] | null>(null);
  const searchable = /[\p{L}\p{N}]/u.test(words);
  if (!searchable && found !== null) setFound(null);
  useEffect(() => {
    if (!searchable) return undefined;
    const latest = new LatestRead();
    const search = async () => {
      const query = { q: words, limit: MAX_FOUND };
      const result = await latest.run((signal) => get("/api/shows", { query, signal }));
      if (result) setFound(result.items);
    };
    const timer = setTimeout(() => {
      search().catch(() => {
        setFound(null);
      });
    }, TYPING_MS);
    return () => {
      clearTimeout(timer);
      latest.close();
    };
  }, [words, searchable]);
  return found;
}

function FoundShows({ shows }: { shows: readonly Show[] }) {
  return (
    <div className="card found-shows" role="status">
      {shows.map((show) => (
        <Link key={show.id} className="found-show" to={`/sell?show=${show.id}`}>
          <b>{show.title}</b>
          <span className="soft">{`${showTime(show)} · ${show.venue}, ${show.city}`}</span>
        </Link>
      ))}
      {shows.length === 0 && (
        <p className="found-show soft">
          {richText("sell.find_nothing", {
            link: (words) => (
              <Link key={NEW_SHOW} to={NEW_SHOW}>
                {words}
              </Link>
            ),
          })}
        </p>
      )}
    </div>
  );
}
