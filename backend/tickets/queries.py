"""The SQL of shows and tickets. Only the functions in `migrations/functions/` write holds."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from backend.kernel import correlation
from backend.kernel.database import Connection, Record
from backend.tickets.model import (
    FromPrice,
    NewShow,
    Section,
    Show,
    ShowRow,
    Ticket,
    TicketSpec,
)

# The longest time from the start of a show to its end, which a constraint of the table bounds.
LONGEST_SHOW = timedelta(days=14)

_SHOW = """
    s.id, s.owner_id, s.title, s.venue, s.city, s.starts_at, s.ends_at, s.timezone, s.category,
    s.listing_policy, s.created_at, s.updated_at
"""
_SHOW_ROW = f"{_SHOW}, s.status, s.sales_end_at, s.version"
# The version before `local_start` inserts shows without it.
LOCAL_START = "coalesce(s.local_start, s.starts_at at time zone 'UTC')"
# Of the row `s` of a show, and `a` of its counts.
LIVE_SHOW = f"""
    {_SHOW}, {LOCAL_START} as local_start, coalesce(s.sales_end_at, s.starts_at) as sales_end_at,
    case
        when s.status = 'on_sale' and tickets.is_over(s.starts_at, s.ends_at, now()) then 'over'
        else s.status
    end as status,
    a.*
"""
# The first condition is implied by the second; it bounds the scan of an index.
NOT_OVER = f"""
    s.starts_at > now() - interval '{LONGEST_SHOW.days} days'
    and not tickets.is_over(s.starts_at, s.ends_at, now())
"""

# Of the row `t` of a ticket.
TICKET = """
    t.id, t.show_id, t.seller_id, t.title, t.section,
    coalesce((select s.handle from tickets.sellers s where s.id = t.seller_id), '')
        as seller_handle,
    t."row", t.seat, t.price, t.face_value, t.currency, t.hidden, t.version, t.created_at,
    t.updated_at,
    tickets.effective_status(t.status, t.held_until, now()) as status,
    case when t.held_until > now() then t.held_until end as held_until,
    case
        when t.held_until > now() then extract(epoch from t.held_until - now())::float8
    end as seconds_left
"""


class TicketRow(NamedTuple):
    """The columns that decide whether a user may change a ticket."""

    seller_id: UUID
    show_owner_id: UUID
    status: str
    price: int
    face_value: int | None
    currency: str
    hidden: bool
    version: int
    section: str | None
    row: str | None
    seat: str | None


async def insert_show(connection: Connection, owner_id: UUID, show: NewShow) -> ShowRow:
    row = await connection.fetchrow(
        f"""
        insert into tickets.shows as s (
            owner_id, title, venue, city, starts_at, timezone, category, listing_policy, ends_at,
            sales_end_at
        )
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        returning {_SHOW_ROW}
        """,
        owner_id,
        show.title,
        show.venue,
        show.city,
        show.starts_at,
        show.timezone,
        show.category,
        show.listing_policy,
        show.ends_at,
        show.sales_end_at,
    )
    assert row is not None
    return ShowRow(**row)


async def lock_show(connection: Connection, show_id: UUID) -> ShowRow | None:
    row = await connection.fetchrow(
        f"select {_SHOW_ROW} from tickets.shows s where s.id = $1 for no key update", show_id
    )
    return ShowRow(**row) if row else None


async def update_show(connection: Connection, show: ShowRow) -> ShowRow:
    row = await connection.fetchrow(
        f"""
        update tickets.shows s
        set title = $2, venue = $3, city = $4, starts_at = $5, timezone = $6, category = $7,
            listing_policy = $8, ends_at = $9, sales_end_at = $10, status = $11,
            version = s.version + 1, updated_at = now()
        where s.id = $1
        returning {_SHOW_ROW}
        """,
        show.id,
        show.title,
        show.venue,
        show.city,
        show.starts_at,
        show.timezone,
        show.category,
        show.listing_policy,
        show.ends_at,
        show.sales_end_at,
        show.status,
    )
    assert row is not None
    return ShowRow(**row)


async def now(connection: Connection) -> datetime:
    found: datetime = await connection.fetchval("select now()")
    return found


async def show_version(connection: Connection, show_id: UUID) -> int | None:
    version: int | None = await connection.fetchval(
        "select version from tickets.shows where id = $1", show_id
    )
    return version


async def fold_counts(connection: Connection, limit: int) -> int:
    """Add up to `limit` changes to the counters of shows. Returns their number."""
    folded: int = await connection.fetchval("select tickets.fold_counts($1)", limit)
    return folded


async def shows(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Show]:
    """These shows with their live counts."""
    rows = await connection.fetch(
        f"""
        select {LIVE_SHOW}
        from tickets.shows s, tickets.availability(s.id) a where s.id = any ($1)
        """,
        ids,
    )
    return {row["id"]: show_of(row) for row in rows}


async def show_owner(connection: Connection, show_id: UUID) -> UUID | None:
    owner_id: UUID | None = await connection.fetchval(
        "select owner_id from tickets.shows where id = $1", show_id
    )
    return owner_id


async def check_listing(
    connection: Connection, show_id: UUID, seller_id: UUID, count: int, max_listed: int
) -> tuple[str | None, int | None]:
    """The refusal to list this many more tickets, or None; and how many are listed."""
    row = await connection.fetchrow(
        "select outcome, listed from tickets.check_listing($1, $2, $3, $4)",
        show_id,
        seller_id,
        count,
        max_listed,
    )
    assert row is not None
    return row["outcome"], row["listed"]


async def add_seller(connection: Connection, seller_id: UUID, handle: str) -> None:
    """Store the handle of a seller of whom there is none yet."""
    await connection.execute(
        "insert into tickets.sellers (id, handle) values ($1, $2) on conflict do nothing",
        seller_id,
        handle,
    )


async def insert_tickets(
    connection: Connection,
    show_id: UUID,
    seller_id: UUID,
    seller_handle: str,
    specs: Sequence[TicketSpec],
) -> list[Ticket | None]:
    """Insert the tickets of a show. Returns them in the order of `specs`, and None in the place of
    one whose seat another ticket has.

    All transactions insert seats in one order, so none waits for another in a circle. The version
    before this one reads `seller_name`; nothing else does.
    """
    rows = await connection.fetch(
        f"""
        with specs as materialized (
            select uuidv7() as id, n.*
            from unnest(
                $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
                $10::bigint[]
            ) with ordinality as n (
                price, currency, title, section, "row", seat, face_value, place
            )
        ), listed as (
            insert into tickets.tickets (
                show_id, seller_id, seller_name, id, price, currency, title, section, "row", seat,
                face_value
            )
            select $1, $2, $3, id, price, currency, title, section, "row", seat, face_value
            from specs
            order by lower(section), lower("row"), lower(seat), place
            on conflict do nothing
            returning *
        )
        select {TICKET} from specs left join listed t using (id) order by specs.place
        """,
        show_id,
        seller_id,
        seller_handle,
        [spec.price for spec in specs],
        [spec.currency for spec in specs],
        [spec.title for spec in specs],
        [spec.section for spec in specs],
        [spec.row for spec in specs],
        [spec.seat for spec in specs],
        [spec.face_value for spec in specs],
    )
    return [Ticket(**row) if row["id"] else None for row in rows]


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
        f"select {TICKET} from tickets.tickets t where t.id = $1", ticket_id
    )
    return Ticket(**row) if row else None


async def lock_ticket(connection: Connection, ticket_id: UUID) -> TicketRow | None:
    row = await connection.fetchrow(
        """
        select t.seller_id, s.owner_id as show_owner_id,
               tickets.effective_status(t.status, t.held_until, clock_timestamp()) as status,
               t.price, t.face_value, t.currency, t.hidden, t.version, t.section, t."row", t.seat
        from tickets.tickets t join tickets.shows s on s.id = t.show_id
        where t.id = $1 for no key update of t
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


async def withdraw_cancelled(connection: Connection, limit: int) -> int:
    """Withdraw up to `limit` free tickets of cancelled shows. Returns their number."""
    count: int = await connection.fetchval(
        "select tickets.withdraw_cancelled($1) from events.bind_correlation($2)",
        limit,
        correlation.current(),
    )
    return count


async def set_hidden(connection: Connection, ticket_id: UUID, *, hidden: bool) -> None:
    """Hide a ticket, or list it again. The caller has locked it."""
    await connection.execute(
        """
        update tickets.tickets
        set hidden = $2, version = version + 1, updated_at = now()
        where id = $1
        """,
        ticket_id,
        hidden,
    )


async def sections(
    connection: Connection, show_id: UUID, after: str | None, limit: int
) -> list[Section]:
    """The sections of a show after this name."""
    rows = await connection.fetch(
        "select * from tickets.sections($1, $2, $3)", show_id, after, limit
    )
    return [Section(**{**row, "from_prices": from_prices(row)}) for row in rows]


async def search_query(connection: Connection, text: str, *, loose: bool) -> str:
    """The tsquery of a text for shows; empty for a text without words.

    A statement of its own, since a plan for any parameters would call the function for each row.
    """
    if not text.strip():
        return ""
    query: str = await connection.fetchval("select tickets.search_query($1, $2)::text", text, loose)
    return query


def show_of(row: Record) -> Show:
    columns = {name: row[name] for name in Show.__struct_fields__}
    return Show(**{**columns, "from_prices": from_prices(row)})


def from_prices(row: Record) -> list[FromPrice]:
    return [FromPrice(**offer) for offer in row["from_prices"]]


def ticket_of(row: Record) -> Ticket:
    return Ticket(**{name: row[name] for name in Ticket.__struct_fields__})
