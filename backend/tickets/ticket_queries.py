"""The SQL that lists tickets, in a bounded number of rows (decision 33)."""

import unicodedata
from typing import Any, Literal, NamedTuple
from uuid import UUID

from backend.kernel.conditions import Conditions, bounded, is_rare, source
from backend.kernel.database import Connection
from backend.tickets.model import Ticket, TicketQuery
from backend.tickets.queries import NOT_OVER, TICKET, search_query, ticket_of

# The most shows whose tickets a request for a list searches.
MAX_SEARCHED_SHOWS = 100
# The section of a ticket, as the index `tickets_section` has it.
SECTION = "coalesce(t.section, '')"
# The statuses of a row whose column `closed` is true.
CLOSED = ("sold", "withdrawn")
# The expression of the index `tickets_search`.
_TICKET_WORDS = """
    to_tsvector(
        'simple',
        coalesce(t.title, '') || ' ' || coalesce(t.section, '') || ' ' || coalesce(t."row", '')
        || ' ' || coalesce(t.seat, '')
    )
"""


class Viewed(NamedTuple):
    """Which tickets a viewer may find: all that are not hidden; all of the viewer's own; or the
    hidden ones of one show.
    """

    condition: Literal["not t.hidden", "true", "t.hidden"]
    seller_id: UUID | None


class TicketKey(NamedTuple):
    """A place in a list of tickets; `currency` and `price` only in one that is sorted by price, and
    `closed` only in one with the open tickets first.
    """

    currency: str | None
    price: int | None
    id: UUID
    closed: bool | None = None


class ListedTickets(NamedTuple):
    """`examined` is the place of the last ticket that was examined, if there may be more."""

    tickets: list[Ticket]
    examined: TicketKey | None


async def list_tickets(
    connection: Connection, query: TicketQuery, viewed: Viewed, after: TicketKey | None
) -> ListedTickets:
    """Up to `limit + 1` tickets after the cursor's key, among the next `MAX_EXAMINED` of the list.

    `scope` is a range of the index that has the order.
    """
    direction = "desc" if query.sort in ("newest", "-price") else "asc"
    scope = Conditions()
    filters = Conditions(scope.values)
    columns = _add_range(scope, query, viewed, after, is_descending=direction == "desc")
    order = ", ".join(f"{column} {direction}" for column in columns)
    # The indexes of a show's tickets, which words use too, are of those that are hidden or not.
    of_show = columns[0] == "t.show_id" or query.q.strip()
    (scope if of_show else filters).add(viewed.condition)
    found = f"tickets.tickets t where {scope}"
    if query.q.strip():
        found = await _searched_tickets(connection, query.q, scope)
    _add_filters(filters, query, viewed)
    limit = scope.parameter(query.limit + 1)
    statement = bounded(TICKET, found, filters, order, limit, row="t")
    rows = await connection.fetch(statement, *scope.values)
    examined = None
    if rows and rows[-1]["is_end"]:
        examined = ticket_key(query, ticket_of(rows.pop()))
    return ListedTickets([ticket_of(row) for row in rows], examined)


def ticket_key(query: TicketQuery, ticket: Ticket) -> TicketKey:
    """The place of a ticket in the list."""
    by_price = query.sort.endswith("price")
    return TicketKey(
        ticket.currency if by_price else None,
        ticket.price if by_price else None,
        ticket.id,
        ticket.status in CLOSED if query.sort == "open_first" else None,
    )


def _add_range(
    scope: Conditions,
    query: TicketQuery,
    viewed: Viewed,
    after: TicketKey | None,
    *,
    is_descending: bool,
) -> list[str]:
    """Limit the scope to a range of one index. Returns the columns of this index, by which the list
    is sorted.
    """
    by_price = query.sort.endswith("price")
    open_first = query.sort == "open_first"
    show, seller = ("t.show_id", query.show_id), ("t.seller_id", viewed.seller_id)
    is_closed = ("t.closed", False if query.open else None)
    leading: list[tuple[str, Any]]
    if open_first:
        leading = [show, (SECTION, query.section), is_closed]
    elif viewed.condition == "t.hidden" or viewed.seller_id is None:
        leading = [show]
        if by_price and query.show_id and viewed.condition == "not t.hidden":
            leading.append(is_closed)
    else:
        leading = [seller] if by_price else [seller, show]
    leading = [(column, value) for column, value in leading if value is not None]
    values: list[Any] = [value for _, value in leading]
    lowest, highest = [*values], [*values]
    if by_price and query.currency:
        currency = query.currency.upper()
        lowest += [currency, *([] if query.min_price is None else [query.min_price])]
        highest += [currency, *([] if query.max_price is None else [query.max_price])]
    key = None
    columns = [column for column, _ in leading]
    if open_first and not query.open:
        columns.append("t.closed")
    if after:
        place: list[Any] = [after.id]
        if by_price:
            place = [after.currency, after.price, after.id]
        elif open_first and not query.open:
            place = [after.closed, after.id]
        key = [*values, *place]
    columns += ["t.currency", "t.price", "t.id"] if by_price else ["t.id"]
    scope.add_range(columns, lowest, highest, key, is_descending=is_descending)
    return columns


def _add_filters(filters: Conditions, query: TicketQuery, viewed: Viewed) -> None:
    """The conditions of the query, also those that its range covers unless a client made the cursor
    up.
    """
    if query.show_id:
        filters.add("t.show_id = {}", query.show_id)
    if viewed.seller_id:
        filters.add("t.seller_id = {}", viewed.seller_id)
    if query.currency:
        filters.add("t.currency = {}", query.currency.upper())
    if query.min_price is not None:
        filters.add("t.price >= {}", query.min_price)
    if query.max_price is not None:
        filters.add("t.price <= {}", query.max_price)
    if query.section is not None:
        filters.add(f"{SECTION} = {{}}", query.section)
    if query.open:
        filters.add("not t.closed")
    if query.status:
        filters.add("tickets.effective_status(t.status, t.held_until, now()) = {}", query.status)
    else:
        filters.add("t.status <> {}", "withdrawn")
    if not query.show_id and not viewed.seller_id:
        filters.add(
            "(select tickets.is_over(s.starts_at, s.ends_at, now())"
            " from tickets.shows s where s.id = t.show_id) is not true"
        )


async def _searched_tickets(connection: Connection, text: str, scope: Conditions) -> str:
    """The tickets of the scope with these words."""
    shows = await _searched_shows(connection, text)
    scope.add(
        f"({_TICKET_WORDS} @@ to_tsquery('simple', {{}}) or t.show_id = any ({{}}::uuid[]))",
        words_query(text),
        shows,
    )
    rare = await is_rare(connection, "tickets.tickets t", scope)
    return source("tickets.tickets t", scope, rare=rare)


async def _searched_shows(connection: Connection, text: str) -> list[UUID]:
    """The next shows with these words."""
    conditions = Conditions()
    words = await search_query(connection, text, loose=False)
    conditions.add("s.search @@ {}::text::tsquery", words)
    conditions.add(NOT_OVER)
    found = source(
        "tickets.shows s",
        conditions,
        rare=await is_rare(connection, "tickets.shows s", conditions),
    )
    rows = await connection.fetch(
        f"select s.id from {found} order by s.starts_at limit {MAX_SEARCHED_SHOWS}",
        *conditions.values,
    )
    return [row["id"] for row in rows]


def words_query(text: str) -> str:
    """A tsquery for tickets with a word that begins with each of these words.

    Words consist of letters and digits only, so they need no quotes.
    """
    composed = unicodedata.normalize("NFC", text)
    words = "".join(character if character.isalnum() else " " for character in composed).split()
    return " & ".join(f"{word}:*" for word in words[:8])
