// Search, filters and order of the list of shows. They stand in the address.
import { useEffect, useMemo, useRef, useState } from "react";

import { get } from "./api.js";
import { isMonth, monthsUntil } from "./browse_question.js";
import { Choice } from "./choice.jsx";

const TYPING_MS = 180;
const DATES = [
  ["", "Any date"],
  ["weekend", "This weekend"],
  ["week", "Next 7 days"],
];
const ORDERS = [["-starts_at", "Latest"]];

export function Filters({ params, change }) {
  const when = params.get("when") ?? "";
  const { cities, categories, months } = useFacets();
  const choice = (name) => ({ chosen: params.get(name) ?? "", choose: (value) => change({ [name]: value }) });
  return (
    <search className="filters">
      <Search asked={params.get("q") ?? ""} change={change} />
      <div className="chips">
        {DATES.map(([name, words]) => (
          <button key={name} type="button" className="chip" aria-pressed={when === name} onClick={() => change({ when: name })}>
            {words}
          </button>
        ))}
        <Choice label="Month" none="Any month" options={months} {...choice("when")} chosen={isMonth(when) ? when : ""} />
      </div>
      <div className="choices">
        <Choice label="City" none="All cities" options={cities} {...choice("city")} />
        <Choice label="Category" none="All kinds" options={categories} {...choice("category")} />
        <Choice label="Order" none="Soonest" options={ORDERS} {...choice("sort")} />
      </div>
    </search>
  );
}

function Search({ asked, change }) {
  const [text, setText] = useState("");
  const typing = useRef(null);
  const input = useRef(null);
  const fresh = useRef(true);
  useEffect(() => {
    // Somebody may have typed into the built page before its script ran.
    const early = fresh.current ? input.current.value.trim() : "";
    fresh.current = false;
    setText(early || asked);
    if (early) change({ q: early }, { replace: true });
  }, [asked]);
  const typed = (event) => {
    const { value } = event.target;
    setText(value);
    clearTimeout(typing.current);
    // Not a step back for every word that was typed.
    typing.current = setTimeout(() => change({ q: value.trim() }, { replace: true }), TYPING_MS);
  };
  return (
    <>
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
    </>
  );
}

const NO_FACETS = { cities: [], categories: [], last_starts_at: null };

/** What there is to choose from, in all shows to come. Without an answer the search still finds everything. */
function useFacets() {
  const [facets, setFacets] = useState(NO_FACETS);
  useEffect(() => {
    get("/api/shows/facets").then(setFacets, () => undefined);
  }, []);
  return useMemo(
    () => ({
      cities: offers(facets.cities),
      categories: offers(facets.categories),
      months: monthsUntil(facets.last_starts_at),
    }),
    [facets],
  );
}

function offers(facets) {
  return facets
    .map(({ name, shows }) => [name, `${name.charAt(0).toUpperCase()}${name.slice(1)} (${shows})`])
    .sort(([one], [other]) => one.localeCompare(other));
}
