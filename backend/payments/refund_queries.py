"""The SQL of refunds. A status only moves forward: each update names the statuses that it may leave."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from backend.kernel import correlation
from backend.kernel.database import Connection
from backend.payments import idempotency_queries
from backend.payments.idempotency_queries import REFUNDS
from backend.payments.model import Refund

_REFUND = """
    r.id, r.order_id, r.payment_id, r.intent_id, r.number, r.relist, r.status, r.amount, r.currency, r.stripe_id,
    r.failure_code, r.faults, r.version
"""


class Begun(NamedTuple):
    """See `orders.begin_refund`."""

    outcome: str
    order_status: str | None
    payment: UUID | None
    amount: int | None
    currency: str | None


class Asking(NamedTuple):
    """Who asks for which order's money back, and how; `key` and `fingerprint` are the Idempotency-Key, or None."""

    order_id: UUID
    user_id: UUID
    relist: bool
    buyer_window: timedelta
    key: str | None = None
    fingerprint: bytes | None = None


class Patience(NamedTuple):
    """How long a refund in each status is left to whoever works on it."""

    requested: timedelta
    pending: timedelta


async def begin(connection: Connection, asking: Asking, refund_id: UUID) -> Begun:
    row = await connection.fetchrow(
        """
        select * from orders.begin_refund($1, $2, $3, exists (
            select from payments.payments p where p.order_id = $1 and p.captured_at > now() - $4::interval
        ), $5, $6)
        """,
        asking.order_id,
        refund_id,
        asking.user_id,
        asking.buyer_window,
        asking.relist,
        correlation.current(),
    )
    assert row is not None
    return Begun(**row)


async def finish(connection: Connection, refund: Refund) -> bool:
    """Whether the order is refunded."""
    done: bool = await connection.fetchval(
        "select orders.finish_refund($1, $2, $3, $4)",
        refund.order_id,
        refund.id,
        refund.relist,
        correlation.current(),
    )
    return done


async def fail(connection: Connection, refund: Refund) -> bool:
    """Whether this call gave the order back to its buyer."""
    done: bool = await connection.fetchval(
        "select orders.fail_refund($1, $2, $3)", refund.order_id, refund.id, correlation.current()
    )
    return done


async def order(connection: Connection, order_id: UUID) -> dict[str, Any]:
    found: dict[str, Any] = await connection.fetchval("select orders.read($1)", order_id)
    return found


async def insert(connection: Connection, asking: Asking, refund_id: UUID, begun: Begun) -> Refund:
    """The order's next refund. Raises UniqueViolationError while another has not failed."""
    if asking.key is not None:
        await idempotency_queries.forget_expired(connection, REFUNDS, asking.user_id, asking.key)
    row = await connection.fetchrow(
        f"""
        insert into payments.refunds as r (
            id, order_id, payment_id, intent_id, number, requested_by, relist, amount, currency, idempotency_key, fingerprint
        )
        select $1, p.order_id, p.id, p.intent_id,
               (select coalesce(max(e.number), 0) + 1 from payments.refunds e where e.order_id = p.order_id),
               $3, $4, $5, $6, $7, $8
        from payments.payments p where p.id = $2 and p.captured_at is not null
        returning {_REFUND}
        """,
        refund_id,
        begun.payment,
        asking.user_id,
        asking.relist,
        begun.amount,
        begun.currency,
        asking.key,
        asking.fingerprint,
    )
    assert row is not None, "a completed order has a captured payment"
    return Refund(**row)


async def advance(
    connection: Connection,
    refund_id: UUID,
    leaves: Sequence[str],
    status: str,
    *,
    stripe_id: str | None = None,
    failure_code: str | None = None,
) -> Refund | None:
    """Move a refund to `status` when it is in one of `leaves`. None when it isn't: somebody else moved it."""
    row = await connection.fetchrow(
        f"""
        update payments.refunds r
        set status = $3, stripe_id = coalesce($4, r.stripe_id), failure_code = $5, version = r.version + 1,
            updated_at = now(), reconciled_at = now()
        where r.id = $1 and r.status = any ($2)
        returning {_REFUND}
        """,
        refund_id,
        leaves,
        status,
        stripe_id,
        failure_code,
    )
    return Refund(**row) if row else None


async def count_fault(connection: Connection, refund: Refund) -> None:
    """Stripe failed at the request that was made under the key of this many faults."""
    await connection.execute(
        "update payments.refunds set faults = faults + 1 where id = $1 and faults = $2",
        refund.id,
        refund.faults,
    )


async def refund(connection: Connection, refund_id: UUID) -> Refund | None:
    row = await connection.fetchrow(
        f"select {_REFUND} from payments.refunds r where r.id = $1", refund_id
    )
    return Refund(**row) if row else None


async def newest_of_order(connection: Connection, order_id: UUID) -> Refund | None:
    row = await connection.fetchrow(
        f"select {_REFUND} from payments.refunds r where r.order_id = $1 order by r.number desc limit 1",
        order_id,
    )
    return Refund(**row) if row else None


async def newest_of_intent(connection: Connection, intent_id: str) -> Refund | None:
    row = await connection.fetchrow(
        f"select {_REFUND} from payments.refunds r where r.intent_id = $1 order by r.number desc limit 1",
        intent_id,
    )
    return Refund(**row) if row else None


async def claim_still(connection: Connection, patience: Patience, limit: int) -> list[Refund]:
    """Refunds that stand still, each for one caller, and again only after its patience."""
    rows = await connection.fetch(
        f"""
        update payments.refunds r set reconciled_at = now()
        where r.id in (
            select s.id from payments.refunds s
            where s.status in ('requested', 'pending')
              and s.reconciled_at < now() - case s.status when 'requested' then $1::interval else $2 end
            order by s.status = 'requested' desc, s.reconciled_at limit $3
            for no key update skip locked
        )
        returning {_REFUND}
        """,
        patience.requested,
        patience.pending,
        limit,
    )
    return [Refund(**row) for row in rows]
