"""The SQL of idempotency keys on payments and refunds: the store of work that calls Stripe.

The effect and the reply cannot commit together, because Stripe's call stands between them. So the
row that the request inserts carries the key, under a unique index, and later the reply. Without a
reply, the request's process is taken to be running for `LEASE` after the insert; a repeat that
comes later resumes the row's work.
"""

from datetime import timedelta
from uuid import UUID

from backend.kernel.database import Connection
from backend.kernel.idempotency import RETENTION, Claim, KeyedRequest, Reply, State
from backend.kernel.problems import PROBLEM_TYPE

# Longer than a request works on a payment (`payment_flow.PAY_SECONDS`) or on a refund.
LEASE = timedelta(seconds=30)

# The tables with keys, and the column of the key's user.
_USER_COLUMNS = {"payments.payments": "buyer_id", "payments.refunds": "requested_by"}
_ROWS = " union all ".join(
    f"""
    select id, fingerprint, reply_status, reply_body, created_at > now() - $4::interval as is_leased
    from {table}
    where {user_column} = $1 and idempotency_key = $2 and created_at > now() - $3::interval
    """
    for table, user_column in _USER_COLUMNS.items()
)


class RowKeys:
    """Keys on the rows of one table. A key of the other table is a key of another request."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._user_column = _USER_COLUMNS[table]

    async def claim(self, connection: Connection, request: KeyedRequest) -> Claim:
        """The state of the key. NEW reserves nothing: when two requests insert the same key, the
        second insert raises UniqueViolationError.
        """
        rows = await connection.fetch(_ROWS, request.user_id, request.key, RETENTION, LEASE)
        if not rows:
            return Claim(State.NEW)
        # The path is part of the fingerprint, so a row of the other table never has the same one.
        if any(row["fingerprint"] != request.fingerprint for row in rows):
            return Claim(State.REUSED)
        row = rows[0]
        if row["reply_status"] is not None:
            reply = make_reply(row["reply_status"], row["reply_body"] or b"")
            return Claim(State.REPLAYED, reply, row["id"])
        state = State.IN_FLIGHT if row["is_leased"] else State.INTERRUPTED
        return Claim(state, row_id=row["id"])

    async def store(self, connection: Connection, slot: UUID, reply: Reply) -> None:
        await connection.execute(
            f"""
            update {self._table} set reply_status = $2, reply_body = $3
            where id = $1 and reply_status is null
            """,
            slot,
            reply.status,
            reply.body,
        )

    async def free(self, connection: Connection, slot: UUID) -> None:
        """Detach the key from a row without a stored reply, so that a repeat begins anew."""
        await connection.execute(
            f"update {self._table} set idempotency_key = null where id = $1", slot
        )

    async def free_expired(self, connection: Connection, request: KeyedRequest) -> None:
        """Detach the key from a row that is older than RETENTION."""
        await connection.execute(
            f"""
            update {self._table} set idempotency_key = null
            where {self._user_column} = $1 and idempotency_key = $2
              and created_at <= now() - $3::interval
            """,
            request.user_id,
            request.key,
            RETENTION,
        )


PAYMENT_KEYS = RowKeys("payments.payments")
REFUND_KEYS = RowKeys("payments.refunds")


def make_reply(status: int, body: bytes) -> Reply:
    """A reply of payments and refunds. Their rows keep no headers: the status implies the type."""
    return Reply(
        status, {"content-type": "application/json" if status < 400 else PROBLEM_TYPE}, body
    )
