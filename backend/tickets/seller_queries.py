"""The SQL of a seller's own tickets: changes of many, and counts by show."""

from collections.abc import Sequence
from uuid import UUID

from backend.kernel import correlation
from backend.kernel.conditions import Conditions
from backend.kernel.database import Connection
from backend.tickets.model import OwnTicketCounts, ShowTicketCounts, Ticket
from backend.tickets.queries import TICKET

# The most tickets of a seller that a request counts.
MAX_COUNTED = 50_000


async def tickets(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Ticket]:
    rows = await connection.fetch(
        f"select {TICKET} from tickets.tickets t where t.id = any ($1)", ids
    )
    return {row["id"]: Ticket(**row) for row in rows}


async def set_prices(
    connection: Connection, ids: Sequence[UUID], seller_id: UUID, price: int, currency: str
) -> set[UUID]:
    """Set the price of the seller's free tickets in this currency. Returns those that changed."""
    changed: list[UUID] = await connection.fetchval(
        "select tickets.set_prices($1, $2, $3, $4) from events.bind_correlation($5)",
        ids,
        seller_id,
        price,
        currency,
        correlation.current(),
    )
    return set(changed)


async def price_caps(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, int]:
    """The most that each of these tickets may cost in its currency, if it is capped."""
    rows = await connection.fetch(
        """
        select t.id, tickets.price_cap_of(t) as cap from tickets.tickets t where t.id = any ($1)
        """,
        ids,
    )
    return {row["id"]: row["cap"] for row in rows if row["cap"] is not None}


async def withdraw(connection: Connection, ids: Sequence[UUID], seller_id: UUID) -> set[UUID]:
    """Withdraw the seller's free tickets. Returns those that are withdrawn now."""
    withdrawn: list[UUID] = await connection.fetchval(
        "select tickets.withdraw_all($1, $2) from events.bind_correlation($3)",
        ids,
        seller_id,
        correlation.current(),
    )
    return set(withdrawn)


async def count_by_show(connection: Connection, seller_id: UUID) -> OwnTicketCounts:
    """The counts of the seller's newest `MAX_COUNTED` tickets, by show."""
    own = Conditions()
    own.add_range(["t.seller_id", "t.id"], [seller_id], [seller_id], None, is_descending=True)
    rows = await connection.fetch(
        f"""
        select o.show_id, count(*) as examined,
               count(*) filter (where o.status <> 'withdrawn') as listed,
               count(*) filter (where o.status = 'available' and not o.hidden) as free,
               count(*) filter (where o.status in ('held', 'reserved')) as held,
               count(*) filter (where o.status = 'sold') as sold
        from (
            select t.show_id, t.hidden,
                   tickets.effective_status(t.status, t.held_until, now()) as status
            from tickets.tickets t where {own}
            order by t.seller_id desc, t.id desc limit {MAX_COUNTED}
        ) o
        group by o.show_id
        """,
        *own.values,
    )
    return OwnTicketCounts(
        [
            ShowTicketCounts(row["show_id"], row["listed"], row["free"], row["held"], row["sold"])
            for row in rows
            if row["listed"]
        ],
        is_complete=sum(row["examined"] for row in rows) < MAX_COUNTED,
    )
