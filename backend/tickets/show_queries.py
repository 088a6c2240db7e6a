"""The SQL that finds shows: lists, facets and suggestions.

`tickets.search_query` makes the query of words, `tickets.show_search` what it is compared with.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from uuid import UUID

from backend.kernel.database import Connection
from backend.tickets.conditions import Conditions, is_rare, source
from backend.tickets.model import (
    Facet,
    Facets,
    Show,
    ShowFilters,
    ShowQuery,
    Suggestion,
    Suggestions,
)
from backend.tickets.queries import (
    LIVE_SHOW,
    LOCAL_START,
    NOT_OVER,
    search_query,
    show_of,
)

# The most cities, and the most categories, in a reply. A search finds the shows of the others.
MAX_FACETS = 200
# The most shows that a facet counts.
MAX_COUNTED = 10_000
# The most shows with words like the wanted ones that a search examines.
MAX_LIKE = 2_000
_DATES = frozenset({"starts_from", "starts_to", "first_day", "last_day"})
# No clock is further than this from UTC.
_WIDEST_OFFSET = timedelta(days=1)


class Scope(NamedTuple):
    """Whose shows: those with these ids, of this owner, with tickets of this seller."""

    ids: Sequence[UUID] | None = None
    owner_id: UUID | None = None
    seller_id: UUID | None = None


async def list_shows(
    connection: Connection,
    query: ShowQuery,
    scope: Scope,
    after: tuple[datetime, UUID] | None,
    *,
    loose: bool,
) -> list[Show]:
    """Up to `limit + 1` shows after the cursor's key. `loose`: one letter of a word may differ."""
    backwards = query.sort == "-starts_at"
    words = await search_query(connection, query.q, loose=loose)
    conditions = _conditions(query, scope, words="" if loose else words)
    found = _found(conditions, words if loose else "")
    if after:
        conditions.add(f"(s.starts_at, s.id) {'<' if backwards else '>'} ({{}}, {{}})", *after)
    if loose:
        found = f"{found} s where {conditions}"
    else:
        rare = bool(words) and await is_rare(connection, "tickets.shows s", conditions)
        found = source("tickets.shows s", conditions, rare=rare)
    direction = "desc" if backwards else "asc"
    rows = await connection.fetch(
        f"""
        select {LIVE_SHOW}
        from (
            select * from {found}
            order by s.starts_at {direction}, s.id {direction}
            limit {conditions.parameter(query.limit + 1)}
        ) s, tickets.availability(s.id) a
        order by s.starts_at {direction}, s.id {direction}
        """,
        *conditions.values,
    )
    return [show_of(row) for row in rows]


async def facets(connection: Connection, filters: ShowFilters, *, loose: bool) -> Facets:
    """The cities and categories of upcoming shows, each under the filters of the other.

    Spellings of a city that differ in case or accents count as one city, under the most frequent
    spelling. One pass counts both, unless one of them is a filter.
    """
    filtered = {name for name in ("city", "category") if getattr(filters, name)}
    cities, categories, last = await _count(
        connection, filters, without=frozenset({"category"} & filtered), loose=loose
    )
    if "city" in filtered or filtered == {"category"}:
        others = await _count(
            connection, filters, without=frozenset({"city"} & filtered), loose=loose
        )
        cities = others[0]
    if filtered or _has_dates(filters):
        latest = await _nearest(connection, filters, without=_DATES, direction="desc", loose=loose)
        last = latest.starts_at if latest else None
    return Facets(cities, categories, last)


async def _count(
    connection: Connection, filters: ShowFilters, *, without: frozenset[str], loose: bool
) -> tuple[list[Facet], list[Facet], datetime | None]:
    """The shows of each city and of each category, and the last start."""
    words = await search_query(connection, filters.q, loose=loose)
    conditions = _conditions(filters, Scope(), without=without, words="" if loose else words)
    found = _found(conditions, words if loose else "")
    rows = await connection.fetch(
        f"""
        select grouping(f.category) = 1 as is_city,
               mode() within group (order by f.city) as city, f.category,
               count(*) as shows, max(f.starts_at) as last
        from (
            select s.city, s.city_key, s.category, s.starts_at from {found} s
            where {conditions} order by s.starts_at limit {MAX_COUNTED}
        ) f
        group by grouping sets ((f.city_key), (f.category))
        order by shows desc, city, f.category
        """,
        *conditions.values,
    )
    return (
        [Facet(row["city"], row["shows"]) for row in rows if row["is_city"]][:MAX_FACETS],
        [Facet(row["category"], row["shows"]) for row in rows if not row["is_city"]][:MAX_FACETS],
        max((row["last"] for row in rows), default=None),
    )


async def suggest(connection: Connection, filters: ShowFilters) -> Suggestions:
    """The nearest shows for a search that finds none."""
    date = city = None
    if _has_dates(filters):
        date = await _nearest(connection, filters, without=_DATES, later=True)
        date = date or await _nearest(connection, filters, without=_DATES, direction="desc")
    if filters.city:
        without = frozenset({"city"})
        city = await _nearest(connection, filters, without=without, like_city=True)
        city = city or await _nearest(connection, filters, without=without)
    return Suggestions(date, city)


async def _nearest(
    connection: Connection,
    filters: ShowFilters,
    *,
    without: frozenset[str],
    direction: str = "asc",
    loose: bool = True,
    later: bool = False,
    like_city: bool = False,
) -> Suggestion | None:
    """The first show without these filters; only one that starts after the wanted dates, or whose
    city is spelled like the wanted one.
    """
    words = await search_query(connection, filters.q, loose=loose)
    conditions = _conditions(filters, Scope(), without=without, words="" if loose else words)
    if later:
        end = filters.starts_to or filters.starts_from
        if end:
            conditions.add("s.starts_at >= {}", end)
        last = filters.last_day
        _add_days(conditions, last + timedelta(days=1) if last else filters.first_day, None)
    if like_city:
        city = await search_query(connection, filters.city or "", loose=True)
        found = _found(conditions, city)
        conditions.add(
            "array_to_tsvector(tickets.with_spellings(tickets.lexemes(s.city)))"
            " @@ {}::text::tsquery",
            city,
        )
        if words:
            conditions.add("s.spellings @@ {}::text::tsquery", words)
    else:
        found = _found(conditions, words if loose else "")
    row = await connection.fetchrow(
        f"""
        select s.id as show_id, s.title, s.city, s.starts_at, s.timezone
        from {found} s where {conditions}
        order by s.starts_at {direction}, s.id {direction} limit 1
        """,
        *conditions.values,
    )
    return Suggestion(**row) if row else None


def _found(conditions: Conditions, words: str) -> str:
    """All shows; or those with words or spellings of this query, up to a bound.

    The limit makes Postgres read the index of spellings first. Otherwise it may read the shows by
    date until enough have the words, which are rare.
    """
    if not words:
        return "tickets.shows"
    query = f"{conditions.parameter(words)}::text::tsquery"
    return f"(select * from tickets.shows l where l.spellings @@ {query} limit {MAX_LIKE})"


def _conditions(
    query: ShowFilters,
    scope: Scope,
    *,
    without: frozenset[str] = frozenset(),
    words: str,
) -> Conditions:
    """Shows that are over are left out, unless the dates or the scope name them."""
    conditions = Conditions()
    if scope.ids is not None:
        conditions.add("s.id = any ({}::uuid[])", scope.ids)
    if words:
        conditions.add("s.search @@ {}::text::tsquery", words)
    if query.city and "city" not in without:
        conditions.add("s.city_key = tickets.city_key({})", query.city)
    if query.category and "category" not in without:
        conditions.add("s.category = lower({})", query.category)
    if scope.owner_id:
        conditions.add("s.owner_id = {}", scope.owner_id)
    if scope.seller_id:
        conditions.add("s.id = any (array(select tickets.shows_of({})))", scope.seller_id)
    dates = without.isdisjoint(_DATES)
    if query.starts_from and dates:
        conditions.add("s.starts_at >= {}", query.starts_from)
    elif scope == Scope():
        conditions.add(NOT_OVER)
    if query.starts_to and dates:
        conditions.add("s.starts_at < {}", query.starts_to)
    if dates:
        _add_days(conditions, query.first_day, query.last_day)
    return conditions


def _add_days(conditions: Conditions, first: date | None, last: date | None) -> None:
    """Of each pair of conditions, the second bounds the scan of an index."""
    if first:
        start = datetime.combine(first, time())
        conditions.add(f"{LOCAL_START} >= {{}}", start)
        conditions.add("s.starts_at >= {}", start.replace(tzinfo=UTC) - _WIDEST_OFFSET)
    if last:
        end = datetime.combine(last, time()) + timedelta(days=1)
        conditions.add(f"{LOCAL_START} < {{}}", end)
        conditions.add("s.starts_at < {}", end.replace(tzinfo=UTC) + _WIDEST_OFFSET)


def _has_dates(filters: ShowFilters) -> bool:
    return any(getattr(filters, name) for name in _DATES)
