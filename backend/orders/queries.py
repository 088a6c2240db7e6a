"""The SQL of orders. What decides about tickets is in the functions of migration 0005, one statement each."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

import msgspec

from backend.kernel.database import Connection
from backend.orders.model import Order, OrderQuery

# An unpaid order past its time reads as expired.
_EFFECTIVE = """
    case when o.status in ('pending', 'awaiting_payment') and o.expires_at <= now() then 'expired' else o.status end
"""

_ORDER = f"""
    orders.state(o) || jsonb_build_object(
        'status', {_EFFECTIVE},
        'server_now', now(),
        'seconds_left', case
            when o.status in ('pending', 'awaiting_payment') then greatest(extract(epoch from o.expires_at - now()), 0)
            else 0
        end
    ) as "order"
"""


class Placing(NamedTuple):
    """What an order is placed with; `key` and `fingerprint` are its Idempotency-Key, or None.

    Without `max_unpaid_holds` there is no cooldown.
    """

    buyer_id: UUID
    ticket_ids: list[UUID]
    hold: timedelta
    grace: timedelta
    fee_percent: Decimal
    max_open_orders: int
    max_tickets_per_show: int
    max_unpaid_holds: int | None
    cooldown: timedelta
    correlation_id: UUID
    key: str | None
    fingerprint: bytes | None


class Placed(NamedTuple):
    """How it went: see `orders.place`."""

    outcome: str
    status: int | None
    body: str | None
    refused: UUID | None
    refused_until: datetime | None
    decided_at: datetime | None


async def place(connection: Connection, placing: Placing) -> Placed:
    row = await connection.fetchrow(
        "select * from orders.place($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)", *placing
    )
    assert row is not None
    return Placed(**row)


async def cancel(connection: Connection, order_id: UUID, buyer_id: UUID, correlation_id: UUID) -> str:
    outcome: str = await connection.fetchval(
        "select orders.cancel($1, $2, $3)", order_id, buyer_id, correlation_id
    )
    return outcome


async def expire_due(connection: Connection, limit: int, correlation_id: UUID) -> int:
    """Expire what is due now, about `limit` tickets. Returns how many orders lost theirs."""
    count: int = await connection.fetchval("select orders.expire_due($1, $2)", limit, correlation_id)
    return count


async def expire_batches(connection: Connection, limit: int, batches: int, correlation_id: UUID) -> int:
    """The same in up to so many batches, each its own transaction. Returns how many orders."""
    count: int = await connection.fetchval(
        "call orders.expire_batches($1, $2, $3)", limit, batches, correlation_id
    )
    return count


async def order(connection: Connection, order_id: UUID, buyer_id: UUID) -> Order | None:
    row = await connection.fetchval(
        f"select {_ORDER} from orders.orders o where o.id = $1 and o.buyer_id = $2", order_id, buyer_id
    )
    return msgspec.convert(row, Order) if row else None


async def list_orders(
    connection: Connection, buyer_id: UUID, query: OrderQuery, after: UUID | None
) -> list[Order]:
    """Up to `limit + 1` of the buyer's orders, newest first."""
    rows = await connection.fetch(
        f"""
        select {_ORDER} from orders.orders o
        where o.buyer_id = $1 and ($2::uuid is null or o.id < $2) and ($3::text is null or {_EFFECTIVE} = $3)
        order by o.id desc limit $4
        """,
        buyer_id,
        after,
        query.status,
        query.limit + 1,
    )
    return [msgspec.convert(row["order"], Order) for row in rows]
