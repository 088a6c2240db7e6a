"""The SQL of refunds. A status only moves forward: each update names the statuses it may leave."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from backend.kernel import correlation
from backend.kernel.database import Connection
from backend.kernel.idempotency import KeyedRequest
from backend.payments.idempotency_queries import REFUND_KEYS
from backend.payments.model import Refund

_REFUND = """
    r.id, r.order_id, r.payment_id, r.intent_id, r.number, r.relist, r.status, r.amount, r.currency,
    r.stripe_id, r.failure_code, r.faults, r.version,
    array(
        select l.ticket_id from payments.refund_lines l where l.refund_id = r.id order by 1
    ) as lines
"""


class Begun(NamedTuple):
    """See `orders.begin_refund`."""

    outcome: str
    order_status: str | None
    payment: UUID | None
    amount: int | None
    currency: str | None


class RefundRequest(NamedTuple):
    """A user's request to refund lines of an order, which `lines` names by their tickets; None for
    all that the user may refund. The buyer may make it within `buyer_window` of the capture.
    """

    order_id: UUID
    user_id: UUID
    relist: bool
    buyer_window: timedelta
    keyed: KeyedRequest | None = None
    lines: Sequence[UUID] | None = None
    reason: str | None = None


class ToReturn(NamedTuple):
    """Tickets of an order for a cancelled show."""

    order_id: UUID
    buyer_id: UUID
    tickets: list[UUID]


class StallTimes(NamedTuple):
    """The time without progress after which a refund in each status counts as stalled."""

    requested: timedelta
    pending: timedelta


async def begin(connection: Connection, request: RefundRequest, refund_id: UUID) -> Begun:
    row = await connection.fetchrow(
        """
        with begun as (
            select orders.begin_refund($1, $2, $3, exists (
                select from payments.payments p
                where p.order_id = $1 and p.captured_at > now() - $4::interval
            ), $5, $6, $7) as result
            from events.bind_correlation($8)
        )
        select (result).* from begun
        """,
        request.order_id,
        refund_id,
        request.user_id,
        request.buyer_window,
        request.relist,
        request.lines,
        request.reason,
        correlation.current(),
    )
    assert row is not None
    return Begun(**row)


async def finish(connection: Connection, refund: Refund) -> bool:
    """Whether the refund's lines are refunded."""
    done: bool = await connection.fetchval(
        """
        select orders.finish_refund($1, $2, $3, r.requested_by <> p.buyer_id)
        from payments.refunds r
        join payments.payments p on p.id = r.payment_id
        cross join events.bind_correlation($4)
        where r.id = $2
        """,
        refund.order_id,
        refund.id,
        refund.relist,
        correlation.current(),
    )
    return done


async def fail(connection: Connection, refund: Refund) -> bool:
    """Whether this call made the refund's lines sold again."""
    done: bool = await connection.fetchval(
        "select orders.fail_refund($1, $2) from events.bind_correlation($3)",
        refund.order_id,
        refund.id,
        correlation.current(),
    )
    return done


async def order(connection: Connection, order_id: UUID) -> dict[str, Any]:
    """The order as `orders.state` builds it."""
    found: dict[str, Any] = await connection.fetchval("select orders.read($1)", order_id)
    return found


async def insert(
    connection: Connection, request: RefundRequest, refund_id: UUID, begun: Begun
) -> Refund:
    """Insert the order's next refund, with the lines that `begin` gave to it. Raises
    UniqueViolationError while another refund of one of the lines has not failed, or has the key.
    """
    keyed = request.keyed
    if keyed is not None:
        await REFUND_KEYS.free_expired(connection, keyed)
    inserted = await connection.execute(
        """
        insert into payments.refunds as r (
            id, order_id, payment_id, intent_id, number, requested_by, relist, amount, currency,
            idempotency_key, fingerprint
        )
        select $1, p.order_id, p.id, p.intent_id,
               (
                   select coalesce(max(e.number), 0) + 1 from payments.refunds e
                   where e.order_id = p.order_id
               ),
               $3, $4, $5, $6, $7, $8
        from payments.payments p where p.id = $2 and p.captured_at is not null
        """,
        refund_id,
        begun.payment,
        request.user_id,
        request.relist,
        begun.amount,
        begun.currency,
        keyed.key if keyed else None,
        keyed.fingerprint if keyed else None,
    )
    assert inserted == "INSERT 0 1", "a completed order has a captured payment"
    await connection.execute(
        """
        insert into payments.refund_lines (refund_id, order_id, ticket_id, amount)
        select $1, $2, l.ticket_id, l.amount from orders.lines_of_refund($2, $1) l
        """,
        refund_id,
        request.order_id,
    )
    found = await refund(connection, refund_id)
    assert found is not None
    return found


async def free_lines(connection: Connection, failed: Refund) -> None:
    """Let the lines of a failed refund be refunded by another one."""
    await connection.execute(
        "update payments.refund_lines set live = false where refund_id = $1 and live", failed.id
    )


async def returns_all(connection: Connection, last: Refund) -> bool:
    """Whether the refunds that succeeded have returned all the money of the payment."""
    returned: bool = await connection.fetchval(
        """
        select sum(r.amount) >= (select p.amount from payments.payments p where p.id = $1)
        from payments.refunds r where r.payment_id = $1 and r.status = 'succeeded'
        """,
        last.payment_id,
    )
    return returned


async def advance(
    connection: Connection,
    refund_id: UUID,
    from_statuses: Sequence[str],
    status: str,
    *,
    stripe_id: str | None = None,
    failure_code: str | None = None,
) -> Refund | None:
    """Set `status` if the refund has one of `from_statuses`. None otherwise: another process
    changed it.
    """
    row = await connection.fetchrow(
        f"""
        update payments.refunds r
        set status = $3, stripe_id = coalesce($4, r.stripe_id), failure_code = $5,
            version = r.version + 1, updated_at = now(), reconciled_at = now()
        where r.id = $1 and r.status = any ($2)
        returning {_REFUND}
        """,
        refund_id,
        from_statuses,
        status,
        stripe_id,
        failure_code,
    )
    return Refund(**row) if row else None


async def count_fault(connection: Connection, refund: Refund) -> None:
    """Add one to the refund's `faults`, unless another process has counted this 5xx reply."""
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


async def open_of_intent(connection: Connection, intent_id: str) -> list[Refund]:
    """The refunds of this intent that Stripe may still change: each that has not failed."""
    rows = await connection.fetch(
        f"""
        select {_REFUND} from payments.refunds r
        where r.intent_id = $1 and r.status <> 'failed' order by r.number
        """,
        intent_id,
    )
    return [Refund(**row) for row in rows]


async def to_return(connection: Connection, limit: int) -> list[ToReturn]:
    """Up to `limit` sold tickets of cancelled shows without a refund, by their orders."""
    rows = await connection.fetch("select * from orders.lines_to_return($1)", limit)
    return [ToReturn(*row) for row in rows]


async def count_requested(connection: Connection, most: int) -> int:
    """The number of refunds that Stripe has not accepted yet; counting stops at `most`."""
    count: int = await connection.fetchval(
        """
        select count(*) from (
            select from payments.refunds where status = 'requested' limit $1
        ) requested
        """,
        most,
    )
    return count


async def claim_stalled(
    connection: Connection, stalled_after: StallTimes, limit: int
) -> list[Refund]:
    """Claim up to `limit` stalled refunds, those first that have been stalled longest. Until its
    stall time has passed again, no other caller gets the same refund.
    """
    rows = await connection.fetch(
        f"""
        update payments.refunds r set reconciled_at = now()
        where r.id in (
            select s.id from payments.refunds s
            cross join lateral (
                select s.reconciled_at
                    + case s.status when 'requested' then $1::interval else $2 end as at
            ) stalled
            where s.status in ('requested', 'pending') and stalled.at < now()
            order by stalled.at limit $3
            for no key update of s skip locked
        )
        returning {_REFUND}
        """,
        stalled_after.requested,
        stalled_after.pending,
        limit,
    )
    return [Refund(**row) for row in rows]
