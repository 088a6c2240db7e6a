"""The SQL that finds shows: lists, facets and suggestions.

`tickets.search_query` makes the query of words, `tickets.show_search` what it is compared with.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from backend.kernel.conditions import Conditions, bounded, is_rare, source
from backend.kernel.database import Connection
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
    LONGEST_SHOW,
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


class ShowKey(NamedTuple):
    """A place in a list of shows."""

    starts_at: datetime
    id: UUID


class ListedShows(NamedTuple):
    """`examined` is the place of the last show that was examined, if there may be more."""

    shows: list[Show]
    examined: ShowKey | None


async def list_shows(
    connection: Connection, query: ShowQuery, scope: Scope, after: ShowKey | None, *, loose: bool
) -> ListedShows:
    """Up to `limit + 1` shows after the cursor's key, among the next `MAX_EXAMINED` of the list.

    `loose`: one letter of a word may differ. Shows that their ids or a seller name are examined all
    of them: an index finds each, and none has their order.
    """
    direction = "desc" if query.sort == "-starts_at" else "asc"
    city_key = await _city_key(connection, query.city)
    words = await search_query(connection, query.q, loose=loose)
    examined = Conditions()
    columns = _add_range(examined, query, scope, city_key, after, is_descending=direction == "desc")
    if loose:
        found, condition = f"{_found(examined, words)} s where {examined}", None
    elif scope.ids is not None or scope.seller_id:
        _add_named(examined, scope, words)
        found, condition = source("tickets.shows s", examined, rare=True), None
    else:
        found, condition = await _found_in_range(connection, examined, words)
    filters = _conditions(query, scope, words="", values=examined.values)
    if condition:
        filters.add(condition)
    order = ", ".join(f"{column} {direction}" for column in columns)
    limit = examined.parameter(query.limit + 1)
    rows = await connection.fetch(
        f"""
        select {LIVE_SHOW}, s.is_end
        from ({bounded("s.*", found, filters, order, limit, row="s")}) s,
             tickets.availability(s.id) a
        order by s.is_end, s.starts_at {direction}, s.id {direction}
        """,
        *examined.values,
    )
    end = None
    if rows and rows[-1]["is_end"]:
        last = rows.pop()
        end = ShowKey(last["starts_at"], last["id"])
    return ListedShows([show_of(row) for row in rows], end)


async def _city_key(connection: Connection, city: str | None) -> str | None:
    if not city:
        return None
    key: str = await connection.fetchval("select tickets.city_key($1)", city)
    return key


def _add_range(
    examined: Conditions,
    query: ShowQuery,
    scope: Scope,
    city_key: str | None,
    after: ShowKey | None,
    *,
    is_descending: bool,
) -> list[str]:
    """Limit the examined shows to a range of one index: of an owner, else of a city, else of a
    category, else of all shows, within the dates. Returns the columns of this index, by which the
    list is sorted.
    """
    leading: list[tuple[str, Any]] = []
    if scope.owner_id:
        leading = [("s.owner_id", scope.owner_id)]
    elif city_key is not None:
        leading = [("s.city_key", city_key)]
    elif query.category:
        leading = [("s.category", query.category.lower())]
    values = [value for _, value in leading]
    first, last = _instants(query, scope)
    examined.add_range(
        columns := [*(column for column, _ in leading), "s.starts_at", "s.id"],
        [*values, first] if first else values,
        [*values, last] if last else values,
        [*values, *after] if after else None,
        is_descending=is_descending,
    )
    return columns


def _instants(query: ShowQuery, scope: Scope) -> tuple[datetime | None, datetime | None]:
    """The first and the last start that a show of the query can have; the filters are exact."""
    firsts, lasts = [query.starts_from], [query.starts_to]
    if query.first_day:
        firsts.append(_midnight(query.first_day) - _WIDEST_OFFSET)
    if query.last_day:
        lasts.append(_midnight(query.last_day) + timedelta(days=1) + _WIDEST_OFFSET)
    if not query.starts_from and scope == Scope():
        # A day more than `NOT_OVER` has, as the database may have another time than this process.
        firsts.append(datetime.now(UTC) - LONGEST_SHOW - timedelta(days=1))
    return (
        max((first for first in firsts if first), default=None),
        min((last for last in lasts if last), default=None),
    )


def _add_named(examined: Conditions, scope: Scope, words: str) -> None:
    if scope.ids is not None:
        examined.add("s.id = any ({}::uuid[])", scope.ids)
    if scope.seller_id:
        examined.add("s.id = any (array(select tickets.shows_of({})))", scope.seller_id)
    if words:
        examined.add("s.search @@ {}::text::tsquery", words)


async def _found_in_range(
    connection: Connection, examined: Conditions, words: str
) -> tuple[str, str | None]:
    """The shows of the range that are examined, and a condition on words for these.

    Rare words limit the shows to those with the words; frequent ones are one more filter.
    """
    if not words:
        return source("tickets.shows s", examined, rare=False), None
    with_words = Conditions()
    with_words.add("s.search @@ {}::text::tsquery", words)
    rare = await is_rare(connection, "tickets.shows s", with_words)
    condition = f"s.search @@ {examined.parameter(words)}::text::tsquery"
    if not rare:
        return source("tickets.shows s", examined, rare=False), condition
    examined.add(condition)
    return source("tickets.shows s", examined, rare=True), None


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
    values: list[Any] | None = None,
) -> Conditions:
    """Shows that are over are left out, unless the dates or the scope name them.

    `values` are those of another part of the same statement.
    """
    conditions = Conditions(values)
    if words:
        conditions.add("s.search @@ {}::text::tsquery", words)
    if query.city and "city" not in without:
        conditions.add("s.city_key = tickets.city_key({})", query.city)
    if query.category and "category" not in without:
        conditions.add("s.category = {}", query.category.lower())
    if scope.owner_id:
        conditions.add("s.owner_id = {}", scope.owner_id)
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
        conditions.add(f"{LOCAL_START} >= {{}}", datetime.combine(first, time()))
        conditions.add("s.starts_at >= {}", _midnight(first) - _WIDEST_OFFSET)
    if last:
        end = last + timedelta(days=1)
        conditions.add(f"{LOCAL_START} < {{}}", datetime.combine(end, time()))
        conditions.add("s.starts_at < {}", _midnight(end) + _WIDEST_OFFSET)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _has_dates(filters: ShowFilters) -> bool:
    return any(getattr(filters, name) for name in _DATES)
