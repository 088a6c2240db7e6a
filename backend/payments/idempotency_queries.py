"""The SQL of Idempotency-Keys on payments and refunds: the row that a request made is its key's lease and its memory.

A key is its user's own and lives a day. The row has the reply once there is one; without, the request's process is
taken to be at work for half a minute.
"""

from typing import NamedTuple
from uuid import UUID

from backend.kernel.database import Connection


class Table(NamedTuple):
    """Rows that carry their request's key; `user_column` says whose key it is."""

    name: str
    user_column: str


PAYMENTS = Table("payments.payments", "buyer_id")
REFUNDS = Table("payments.refunds", "requested_by")


class Earlier(NamedTuple):
    """The row that a key belongs to. `in_flight`: the process of its request may still be at work."""

    row_id: UUID
    fingerprint: bytes
    reply_status: int | None
    reply_body: bytes | None
    in_flight: bool


async def earlier(connection: Connection, table: Table, user_id: UUID, key: str) -> Earlier | None:
    row = await connection.fetchrow(
        f"""
        select id as row_id, fingerprint, reply_status, reply_body,
               reply_status is null and created_at > now() - interval '30 seconds' as in_flight
        from {table.name}
        where {table.user_column} = $1 and idempotency_key = $2 and created_at > now() - interval '24 hours'
        """,
        user_id,
        key,
    )
    return Earlier(**row) if row else None


async def forget_expired(connection: Connection, table: Table, user_id: UUID, key: str) -> None:
    """Free the key of a row that is older than a day."""
    await connection.execute(
        f"""
        update {table.name} set idempotency_key = null
        where {table.user_column} = $1 and idempotency_key = $2 and created_at < now() - interval '24 hours'
        """,
        user_id,
        key,
    )


async def store_reply(
    connection: Connection, table: Table, row_id: UUID, status: int, body: bytes
) -> None:
    await connection.execute(
        f"update {table.name} set reply_status = $2, reply_body = $3 where id = $1 and reply_status is null",
        row_id,
        status,
        body,
    )


async def forget(connection: Connection, table: Table, row_id: UUID) -> None:
    """The request came to nothing, and may be repeated."""
    await connection.execute(
        f"update {table.name} set idempotency_key = null where id = $1", row_id
    )
