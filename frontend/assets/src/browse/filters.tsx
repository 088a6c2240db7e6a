// Search, filters and sort order of the list of shows. The address holds them.
import { type ChangeEvent, useEffect, useEffectEvent, useMemo, useRef, useState } from "react";

import { get } from "../shared/api";
import type { Facet, Facets } from "../shared/api-types";
import { capitalized } from "../shared/format";
import { onceReached } from "../shared/reach";
import { LatestRead } from "../shared/latest-read";
import { text, type TextId } from "../shared/texts";
import { type Option, SelectChip } from "../shared/ui/select-chip";
import { facetsQueryOf, isMonth, monthsUntil, monthText } from "./show-query";

const TYPING_MS = 180;
const DATES: readonly (readonly [value: string, label: TextId])[] = [
  ["", "browse.any_date"],
  ["weekend", "browse.weekend"],
  ["week", "browse.week"],
];

/** Changes the address's parameters. `replace` adds no entry to the browser's history. */
export type ChangeAddress = (
  changes: Record<string, string>,
  options?: { replace?: boolean },
) => void;

interface FiltersProps {
  params: URLSearchParams;
  change: ChangeAddress;
}

export function Filters({ params, change }: FiltersProps) {
  const when = params.get("when") ?? "";
  const { cities, categories, months } = useFacets(facetsQueryOf(params));
  const parameter = (name: string) => ({
    value: params.get(name) ?? "",
    onChange: (value: string) => {
      change({ [name]: value });
    },
  });
  return (
    <search className="filters">
      <Search value={params.get("q") ?? ""} change={change} />
      <div className="chips">
        {DATES.map(([value, label]) => (
          <button
            key={value}
            type="button"
            className="chip"
            aria-pressed={when === value}
            onClick={() => {
              change({ when: value });
            }}
          >
            {text(label)}
          </button>
        ))}
        <SelectChip
          label={text("browse.month")}
          none={text("browse.any_month")}
          options={months}
          {...parameter("when")}
          value={isMonth(when) ? when : ""}
          unknown={monthText(when)}
        />
      </div>
      <div className="choices">
        <SelectChip
          label={text("browse.city")}
          none={text("browse.all_cities")}
          options={cities}
          {...parameter("city")}
        />
        <SelectChip
          label={text("browse.category")}
          none={text("browse.all_categories")}
          options={categories}
          {...parameter("category")}
          unknown={capitalized(params.get("category") ?? "")}
        />
        <SelectChip
          label={text("browse.order")}
          none={text("browse.soonest")}
          options={[["-starts_at", text("browse.latest")]]}
          {...parameter("sort")}
        />
      </div>
    </search>
  );
}

function Search({ value, change }: { value: string; change: ChangeAddress }) {
  const input = useRef<HTMLInputElement>(null);
  const typing = useRef<ReturnType<typeof setTimeout>>(undefined);
  const hydrating = useRef(true);
  const adoptAddress = useEffectEvent((fromAddress: string) => {
    if (!input.current) return;
    // A visitor may have typed into the built page before its script ran.
    const early = hydrating.current ? input.current.value.trim() : "";
    hydrating.current = false;
    if (early) change({ q: early }, { replace: true });
    else input.current.value = fromAddress;
  });
  useEffect(() => {
    adoptAddress(value);
  }, [value]);
  const onChange = ({ target }: ChangeEvent<HTMLInputElement>) => {
    clearTimeout(typing.current);
    // No entry in the browser's history for each word that is typed.
    typing.current = setTimeout(() => {
      change({ q: target.value.trim() }, { replace: true });
    }, TYPING_MS);
  };
  return (
    <>
      <label className="unseen" htmlFor="search">
        {text("browse.search")}
      </label>
      <input
        ref={input}
        id="search"
        className="search"
        type="search"
        placeholder={text("browse.search_hint")}
        autoComplete="off"
        onChange={onChange}
      />
    </>
  );
}

const NO_FACETS: Facets = { cities: [], categories: [], last_starts_at: null };

/**
 * The options of the filters, from the upcoming shows that the other filters find. Without a
 * response the search still works.
 */
function useFacets(query: string) {
  const [facets, setFacets] = useState(NO_FACETS);
  useEffect(() => {
    const latest = new LatestRead();
    const filters = Object.fromEntries(new URLSearchParams(query));
    let stop: () => void = () => undefined;
    const read = () => {
      latest
        .run((signal) => get("/api/shows/facets", { query: filters, signal }))
        .then(
          (found) => {
            if (found) setFacets(found);
          },
          () => {
            stop = onceReached(read);
          },
        );
    };
    read();
    return () => {
      stop();
      latest.close();
    };
  }, [query]);
  return useMemo(
    () => ({
      cities: optionsOf(facets.cities),
      categories: optionsOf(facets.categories),
      months: monthsUntil(facets.last_starts_at),
    }),
    [facets],
  );
}

function optionsOf(facets: readonly Facet[]): Option[] {
  return facets
    .map(({ name, shows }): Option => [
      name,
      text("browse.option", { name: capitalized(name), shows }),
    ])
    .sort(([one], [other]) => one.localeCompare(other));
}
