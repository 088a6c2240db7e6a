"""The SQL of shows and tickets. Only the functions in `migrations/functions/` write holds."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from backend.kernel import correlation
from backend.kernel.database import Connection
from backend.tickets.model import (
    Facet,
    Facets,
    NewShow,
    Show,
    ShowQuery,
    ShowRow,
    Ticket,
    TicketQuery,
    TicketSpec,
)

# A show counts as upcoming until this long after its start: its tickets still sell.
UPCOMING_MARGIN = timedelta(hours=12)
# The most cities, and the most categories, in a reply. A search finds the shows of the others.
MAX_FACETS = 200

_SHOW = """
    s.id, s.owner_id, s.title, s.venue, s.city, s.starts_at, s.timezone, s.category, s.created_at,
    s.updated_at
"""

_TICKET = """
    t.id, t.show_id, t.seller_id, t.seller_name, t.title, t.section, t."row", t.seat, t.price,
    t.face_value, t.currency, t.version, t.created_at, t.updated_at,
    tickets.effective_status(t.status, t.held_until, now()) as status,
    case when t.held_until > now() then t.held_until end as held_until,
    case
        when t.held_until > now() then extract(epoch from t.held_until - now())::float8
    end as seconds_left
"""


class TicketRow(NamedTuple):
    """The columns that decide whether a seller may change a ticket."""

    seller_id: UUID
    status: str
    version: int


async def insert_show(connection: Connection, owner_id: UUID, show: NewShow) -> ShowRow:
    row = await connection.fetchrow(
        f"""
        insert into tickets.shows as s (owner_id, title, venue, city, starts_at, timezone, category)
        values ($1, $2, $3, $4, $5, $6, $7)
        returning {_SHOW}, s.version
        """,
        owner_id,
        show.title,
        show.venue,
        show.city,
        show.starts_at,
        show.timezone,
        show.category,
    )
    assert row is not None
    return ShowRow(**row)


async def lock_show(connection: Connection, show_id: UUID) -> ShowRow | None:
    row = await connection.fetchrow(
        f"select {_SHOW}, s.version from tickets.shows s where s.id = $1 for no key update", show_id
    )
    return ShowRow(**row) if row else None


async def update_show(connection: Connection, show: ShowRow) -> ShowRow:
    row = await connection.fetchrow(
        f"""
        update tickets.shows s
        set title = $2, venue = $3, city = $4, starts_at = $5, timezone = $6, category = $7,
            version = s.version + 1, updated_at = now()
        where s.id = $1
        returning {_SHOW}, s.version
        """,
        show.id,
        show.title,
        show.venue,
        show.city,
        show.starts_at,
        show.timezone,
        show.category,
    )
    assert row is not None
    return ShowRow(**row)


async def show_version(connection: Connection, show_id: UUID) -> int | None:
    version: int | None = await connection.fetchval(
        "select version from tickets.shows where id = $1", show_id
    )
    return version


async def shows(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Show]:
    """These shows with their live counts."""
    rows = await connection.fetch(
        f"""
        select {_SHOW}, a.*
        from tickets.shows s, tickets.availability(s.id) a where s.id = any ($1)
        """,
        ids,
    )
    return {row["id"]: Show(**row) for row in rows}


async def list_shows(
    connection: Connection,
    query: ShowQuery,
    ids: Sequence[UUID] | None,
    owner_id: UUID | None,
    seller_id: UUID | None,
    after: tuple[datetime, UUID] | None,
) -> list[Show]:
    """Up to `limit + 1` shows after the cursor's key."""
    backwards = query.sort == "-starts_at"
    conditions = _Conditions()
    if ids is not None:
        conditions.add("s.id = any ({}::uuid[])", ids)
    if query.q.strip():
        conditions.add("s.search @@ to_tsquery('simple', {})", words_query(query.q))
    if query.city:
        conditions.add("lower(s.city) = lower({})", query.city)
    if query.category:
        conditions.add("s.category = lower({})", query.category)
    if owner_id:
        conditions.add("s.owner_id = {}", owner_id)
    if seller_id:
        conditions.add(
            "s.id in (select t.show_id from tickets.tickets t where t.seller_id = {})", seller_id
        )
    if query.starts_from:
        conditions.add("s.starts_at >= {}", query.starts_from)
    elif not (owner_id or seller_id) and ids is None:
        conditions.add("s.starts_at >= now() - {}::interval", UPCOMING_MARGIN)
    if query.starts_to:
        conditions.add("s.starts_at < {}", query.starts_to)
    if after:
        conditions.add(f"(s.starts_at, s.id) {'<' if backwards else '>'} ({{}}, {{}})", *after)
    direction = "desc" if backwards else "asc"
    rows = await connection.fetch(
        f"""
        select {_SHOW}, a.*
        from (
            select * from tickets.shows s where {conditions}
            order by s.starts_at {direction}, s.id {direction}
            limit {conditions.parameter(query.limit + 1)}
        ) s, tickets.availability(s.id) a
        order by s.starts_at {direction}, s.id {direction}
        """,
        *conditions.values,
    )
    return [Show(**row) for row in rows]


async def facets(connection: Connection) -> Facets:
    """The cities and categories of upcoming shows, in one pass.

    Spellings of a city that differ in case count as one city, under the most frequent spelling.
    """
    rows = await connection.fetch(
        """
        select grouping(s.category) = 1 as is_city,
               mode() within group (order by s.city) as city, s.category,
               count(*) as shows, max(s.starts_at) as last
        from tickets.shows s
        where s.starts_at >= now() - $1::interval
        group by grouping sets ((lower(s.city)), (s.category))
        order by shows desc, city, s.category
        """,
        UPCOMING_MARGIN,
    )
    return Facets(
        [Facet(row["city"], row["shows"]) for row in rows if row["is_city"]][:MAX_FACETS],
        [Facet(row["category"], row["shows"]) for row in rows if not row["is_city"]][:MAX_FACETS],
        max((row["last"] for row in rows), default=None),
    )


async def insert_tickets(
    connection: Connection,
    show_id: UUID,
    seller_id: UUID,
    seller_name: str,
    specs: Sequence[TicketSpec],
) -> list[Ticket]:
    """Insert the tickets of a show. Returns them in the order of `specs`."""
    rows = await connection.fetch(
        f"""
        with listed as (
            insert into tickets.tickets (
                show_id, seller_id, seller_name, price, currency, title, section, "row", seat,
                face_value
            )
            select $1, $2, $3, n.*
            from unnest(
                $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
                $10::bigint[]
            ) as n
            returning *
        )
        select {_TICKET} from listed t order by t.id
        """,
        show_id,
        seller_id,
        seller_name,
        [spec.price for spec in specs],
        [spec.currency for spec in specs],
        [spec.title for spec in specs],
        [spec.section for spec in specs],
        [spec.row for spec in specs],
        [spec.seat for spec in specs],
        [spec.face_value for spec in specs],
    )
    return [Ticket(**row) for row in rows]


async def append_events(connection: Connection, type: str, ids: Sequence[UUID]) -> None:
    """Append an event of this type for each of these tickets, with its present state."""
    await connection.execute(
        """
        select events.append($1, t.id, t.version, tickets.state(t))
        from events.bind_correlation($3),
             (select * from tickets.tickets where id = any ($2) order by id) t
        """,
        type,
        ids,
        correlation.current(),
    )


async def ticket(connection: Connection, ticket_id: UUID) -> Ticket | None:
    row = await connection.fetchrow(
        f"select {_TICKET} from tickets.tickets t where t.id = $1", ticket_id
    )
    return Ticket(**row) if row else None


async def lock_ticket(connection: Connection, ticket_id: UUID) -> TicketRow | None:
    row = await connection.fetchrow(
        """
        select seller_id, version,
               tickets.effective_status(status, held_until, clock_timestamp()) as status
        from tickets.tickets where id = $1 for no key update
        """,
        ticket_id,
    )
    return TicketRow(**row) if row else None


async def update_ticket(connection: Connection, ticket_id: UUID, columns: dict[str, Any]) -> bool:
    """Change a free ticket. Returns False if it is not free.

    An expired hold stays in the row: it names the order that expires when another order takes the
    ticket.
    """
    sets = "".join(f'"{name}" = ${position}, ' for position, name in enumerate(columns, start=2))
    done = await connection.fetchval(
        f"""
        update tickets.tickets t
        set {sets} version = t.version + 1, updated_at = now()
        where t.id = $1 and tickets.is_free(t.status, t.held_until, clock_timestamp())
        returning true
        """,
        ticket_id,
        *columns.values(),
    )
    return done is True


async def withdraw_ticket(connection: Connection, ticket_id: UUID, seller_id: UUID) -> bool:
    """Withdraw a free ticket and append its event. Returns False if it is not free."""
    done: bool = await connection.fetchval(
        "select tickets.withdraw($1, $2) from events.bind_correlation($3)",
        ticket_id,
        seller_id,
        correlation.current(),
    )
    return done


async def list_tickets(
    connection: Connection,
    query: TicketQuery,
    seller_id: UUID | None,
    after: tuple[int | None, UUID] | None,
) -> list[Ticket]:
    """Up to `limit + 1` tickets after the cursor's key: (price or None, id)."""
    column, _, direction = _SORTS[query.sort].partition(" ")
    conditions = _Conditions()
    if query.show_id:
        conditions.add("t.show_id = {}", query.show_id)
    if seller_id:
        conditions.add("t.seller_id = {}", seller_id)
    if query.q.strip():
        conditions.add(
            """(
                to_tsvector('simple', concat_ws(' ', t.title, t.section, t."row", t.seat))
                @@ to_tsquery('simple', {0})
                or t.show_id in (
                    select s.id from tickets.shows s where s.search @@ to_tsquery('simple', {0})
                )
            )""",
            words_query(query.q),
        )
    if query.status:
        conditions.add("tickets.effective_status(t.status, t.held_until, now()) = {}", query.status)
    else:
        conditions.add("t.status <> {}", "withdrawn")
    if query.min_price is not None:
        conditions.add("t.price >= {}", query.min_price)
    if query.max_price is not None:
        conditions.add("t.price <= {}", query.max_price)
    if query.currency:
        conditions.add("t.currency = {}", query.currency.upper())
    if after:
        than = ">" if direction == "asc" else "<"
        if column == "price":
            conditions.add(f"(t.price, t.id) {than} ({{}}, {{}})", *after)
        else:
            conditions.add(f"t.id {than} {{}}", after[1])
    order = f"t.price {direction}, t.id {direction}" if column == "price" else f"t.id {direction}"
    rows = await connection.fetch(
        f"""
        select {_TICKET} from tickets.tickets t where {conditions} order by {order}
        limit {conditions.parameter(query.limit + 1)}
        """,
        *conditions.values,
    )
    return [Ticket(**row) for row in rows]


def words_query(text: str) -> str:
    """A tsquery for rows with a word that begins with each of these words.

    Words consist of letters and digits only, so they need no quotes.
    """
    words = "".join(character if character.isalnum() else " " for character in text).split()
    return " & ".join(f"{word}:*" for word in words[:8])


_SORTS = {"newest": "id desc", "oldest": "id asc", "price": "price asc", "-price": "price desc"}


class _Conditions:
    """Conditions joined by `and`: `{}` in a condition becomes a numbered parameter."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._texts: list[str] = []

    def parameter(self, value: Any) -> str:
        self.values.append(value)
        return f"${len(self.values)}"

    def add(self, condition: str, *values: Any) -> None:
        self._texts.append(condition.format(*(self.parameter(value) for value in values)))

    def __str__(self) -> str:
        return " and ".join(self._texts) or "true"
