"""Reads of rows as the database's owner, and changes of the times of orders."""

from typing import Any
from uuid import UUID

from tests.factories import Json


async def make_overdue(owner: Any, order: Json, *, seconds: int = 2) -> None:
    """Move the end of an order's hold to `seconds` ago, without expiring the order."""
    await owner.execute(
        "update tickets.tickets set held_until = now() - make_interval(secs => $2)"
        " where order_id = $1",
        UUID(order["id"]),
        seconds,
    )
    await owner.execute(
        "update orders.orders set expires_at = now() - make_interval(secs => $2) where id = $1",
        UUID(order["id"]),
        seconds,
    )


async def end_sales(owner: Any, show_id: str, *, seconds: int = 1, ends_at: str = "null") -> None:
    """Move the start of a show, and with it the end of its sales, to `seconds` ago. `ends_at` is an
    SQL expression.
    """
    await owner.execute(
        "update tickets.shows set starts_at = now() - make_interval(secs => $2),"
        f" sales_end_at = null, ends_at = {ends_at} where id = $1",
        UUID(show_id),
        seconds,
    )


async def backdate(owner: Any, order: Json, *, seconds: int) -> None:
    """Make the order `seconds` older, its hold's end unchanged. An order's id begins with its time,
    so the order gets another id.
    """
    order_id = UUID(order["id"])
    await owner.execute("set session_replication_role = replica")  # no triggers, no foreign keys
    older_id = await owner.fetchval(
        "update orders.orders set created_at = created_at - make_interval(secs => $2),"
        " id = orders.id_at(created_at - make_interval(secs => $2)) where id = $1 returning id",
        order_id,
        seconds,
    )
    for table in ("orders.lines", "tickets.tickets"):
        await owner.execute(
            f"update {table} set order_id = $2 where order_id = $1", order_id, older_id
        )
    await owner.execute("set session_replication_role = origin")


async def status(owner: Any, order: Json) -> str:
    """The stored status of the order."""
    found: str = await owner.fetchval(
        "select status from orders.orders where id = $1", UUID(order["id"])
    )
    return found


async def holder(owner: Any, ticket: Json) -> tuple[str, str | None]:
    """The stored status of the ticket, and the order that has it."""
    row = await owner.fetchrow(
        "select status, order_id from tickets.tickets where id = $1", UUID(ticket["id"])
    )
    return row["status"], row["order_id"] and str(row["order_id"])


async def live_orders(owner: Any, ticket: Json) -> list[str]:
    """The orders that have the ticket on a live line."""
    rows = await owner.fetch(
        "select order_id from orders.lines where ticket_id = $1 and live", UUID(ticket["id"])
    )
    return [str(row["order_id"]) for row in rows]


async def snapshot(owner: Any) -> Any:
    """The rows that a stale call must not change: tickets, orders, lines and the outbox."""
    return await owner.fetch(
        """
        select 'ticket', id::text, status || version, order_id::text, held_until
        from tickets.tickets
        union all
        select 'order', id::text, status || version, payment_id::text, expires_at
        from orders.orders
        union all
        select 'line', order_id::text, ticket_id::text, status || live, null from orders.lines
        union all
        select 'event', id::text, type, subject::text, occurred_at from events.outbox
        order by 1, 2, 3
        """
    )


async def elapse(owner: Any, seconds: float) -> None:
    """Move all times of tickets, orders and budgets back, as if `seconds` had passed."""
    for table, columns in (
        ("tickets.tickets", ("held_until",)),
        ("orders.orders", ("created_at", "updated_at", "expires_at", "latest_expiry")),
        ("orders.budgets", ("full_at",)),
    ):
        moved = ", ".join(f"{name} = {name} - make_interval(secs => $1)" for name in columns)
        await owner.execute(f"update {table} set {moved}", seconds)


async def used_of(owner: Any, subject: str) -> float:
    """The used amount of the budgets whose subjects contain the text."""
    used: float = await owner.fetchval(
        """
        select coalesce(sum(greatest(lacks, 0) * hourly / 3600), 0)::float8
        from orders.budgets, extract(epoch from full_at - now()) as lacks
        where position($1 in subject) > 0
        """,
        subject,
    )
    return used
