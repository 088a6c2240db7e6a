"""The SQL of payments. A status only moves forward: each update names the statuses it may leave."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from backend.kernel import correlation
from backend.kernel.database import Connection
from backend.kernel.decoding import decode_json
from backend.payments.idempotency_queries import PAYMENT_KEYS
from backend.payments.model import Payment, PaymentRequest, PresentShow
from backend.payments.provider import Failure, Intent

_PAYMENT = """
    p.id, p.order_id, p.buyer_id, p.attempt, p.status, p.amount, p.currency, p.intent_id,
    p.failure_code, p.decline_code, p.failure_message, p.version, p.created_at, p.updated_at,
    p.correlation_id
"""

# After this many failed tries a webhook is left to an operator.
MAX_TRIES = 50
# The gauges of waiting rows stop counting here, which bounds the time of the query.
MAX_COUNTED = 10_000
WAITING = (
    "payments_started",
    "payments_requires_action",
    "payments_authorised",
    "refunds_requested",
    "refunds_pending",
    "webhooks",
    "webhooks_given_up",
)


class Begun(NamedTuple):
    """See `orders.begin_payment`."""

    outcome: str
    amount: int
    currency: str
    deadline: datetime
    charged_to: list[int] | None
    refused_until: datetime | None
    spent: str | None
    decided_at: datetime


class StallTimes(NamedTuple):
    """The time without progress after which a payment in each status counts as stalled."""

    authorised: timedelta
    requires_action: timedelta
    started: timedelta


class StalledPayment(NamedTuple):
    """A payment without progress. `abandoned`: see `PaymentFlow.resume`."""

    payment: Payment
    abandoned: bool


class Webhook(NamedTuple):
    """One of Stripe's events that is about an intent."""

    type: str
    intent_id: str


async def begin(connection: Connection, request: PaymentRequest, payment_id: UUID) -> Begun:
    """Raises BudgetSpent."""
    row = await connection.fetchrow(
        """
        with begun as (
            select orders.begin_payment($1, $2, $3, $4, $5, $6) as result
            from events.bind_correlation($7)
        )
        select (result).* from begun
        """,
        request.new.order_id,
        request.buyer_id,
        payment_id,
        request.max_attempts,
        *request.budgets,
        correlation.current(),
    )
    assert row is not None
    return Begun(**row)


async def changed_shows(connection: Connection, order_id: UUID) -> dict[UUID, PresentShow]:
    """The shows whose place or time has changed since the order was placed, by their ids."""
    changed = await connection.fetchval("select orders.changed_shows($1)::text", order_id)
    return decode_json(changed, dict[UUID, PresentShow])


async def settle(connection: Connection, payment: Payment, intent: Intent) -> bool:
    """Whether this authorised payment wins its order. A repeat returns the same."""
    outcome = await connection.fetchval(
        """
        select orders.settle(
            $1, $2, $3, $4, (select p.charged_to from payments.payments p where p.id = $2)
        ) from events.bind_correlation($5)
        """,
        payment.order_id,
        payment.id,
        intent.amount,
        intent.currency,
        correlation.current(),
    )
    return bool(outcome == "won")


async def uncount_attempt(connection: Connection, payment: Payment) -> None:
    """Take an attempt that did not reach Stripe off its order and off the budgets of declines."""
    await connection.execute(
        """
        select orders.uncount_attempt(p.order_id, p.id, p.charged_to)
        from payments.payments p where p.id = $1
        """,
        payment.id,
    )


async def finish(connection: Connection, payment: Payment) -> bool:
    """Complete the order of a captured payment. Returns whether this payment completed it."""
    done: bool = await connection.fetchval(
        "select orders.finish($1, $2) from events.bind_correlation($3)",
        payment.order_id,
        payment.id,
        correlation.current(),
    )
    return done


async def fail(connection: Connection, payment: Payment) -> bool:
    """Cancel the order that this payment won. Returns whether this call cancelled it."""
    done: bool = await connection.fetchval(
        "select orders.fail($1, $2) from events.bind_correlation($3)",
        payment.order_id,
        payment.id,
        correlation.current(),
    )
    return done


async def insert(
    connection: Connection, payment_id: UUID, request: PaymentRequest, begun: Begun
) -> Payment:
    """Insert the order's next attempt. It reuses the intent of the failed attempts, unless that was
    voided.

    Raises UniqueViolationError while another attempt is open, or has the key.
    """
    new, keyed = request.new, request.keyed
    if keyed is not None:
        await PAYMENT_KEYS.free_expired(connection, keyed)
    row = await connection.fetchrow(
        f"""
        insert into payments.payments as p (
            id, order_id, buyer_id, attempt, amount, currency, payment_method, idempotency_key,
            fingerprint, deadline_at, correlation_id, charged_to, intent_id
        )
        select $1, $2, $3, coalesce(max(o.attempt), 0) + 1, $4, $5, $6, $7, $8, $9, $10, $11,
               (array_agg(o.intent_id order by o.attempt desc) filter (
                   where o.status = 'failed' and o.intent_id is not null and not exists (
                       select from payments.payments v
                       where v.intent_id = o.intent_id and v.status = 'voided'
                   )
               ))[1]
        from payments.payments o where o.order_id = $2
        returning {_PAYMENT}
        """,
        payment_id,
        new.order_id,
        request.buyer_id,
        begun.amount,
        begun.currency,
        new.payment_method,
        keyed.key if keyed else None,
        keyed.fingerprint if keyed else None,
        begun.deadline,
        correlation.current(),
        begun.charged_to,
    )
    assert row is not None
    return Payment(**row)


async def record_intent(connection: Connection, payment_id: UUID, intent_id: str) -> None:
    await connection.execute(
        "update payments.payments set intent_id = $2 where id = $1", payment_id, intent_id
    )


async def is_captured(connection: Connection, intent_id: str) -> bool:
    """Whether an attempt on this intent completed its order, which may be refunded since."""
    found: bool = await connection.fetchval(
        """
        select exists (
            select from payments.payments
            where intent_id = $1 and status in ('captured', 'refunded')
        )
        """,
        intent_id,
    )
    return found


async def captured(connection: Connection, intent_id: str) -> Payment | None:
    """The captured attempt on this intent, which may be refunded since."""
    row = await connection.fetchrow(
        f"""
        select {_PAYMENT} from payments.payments p
        where p.intent_id = $1 and p.captured_at is not null
        """,
        intent_id,
    )
    return Payment(**row) if row else None


async def advance(
    connection: Connection,
    payment_id: UUID,
    from_statuses: Sequence[str],
    status: str,
    *,
    intent_id: str | None = None,
    failure: Failure | None = None,
) -> Payment | None:
    """Set `status` if the payment has one of `from_statuses`. None otherwise: another process
    changed it.

    An attempt that a later attempt followed is never authorised: the intent's status is about the
    later one.
    """
    row = await connection.fetchrow(
        f"""
        update payments.payments p
        set status = $3, intent_id = coalesce($4, p.intent_id), failure_code = $5,
            decline_code = $6, failure_message = $7, version = p.version + 1, updated_at = now(),
            reconciled_at = now(),
            captured_at = case $3 when 'captured' then now() else p.captured_at end
        where p.id = $1 and p.status = any ($2) and ($3 <> 'authorised' or not exists (
            select from payments.payments later
            where later.order_id = p.order_id and later.attempt > p.attempt
        ))
        returning {_PAYMENT}
        """,
        payment_id,
        from_statuses,
        status,
        intent_id,
        *(failure or (None, None, None)),
    )
    return Payment(**row) if row else None


async def payment(connection: Connection, payment_id: UUID) -> Payment | None:
    row = await connection.fetchrow(
        f"select {_PAYMENT} from payments.payments p where p.id = $1", payment_id
    )
    return Payment(**row) if row else None


async def order_of_intent(connection: Connection, intent_id: str) -> UUID | None:
    """None while no attempt has recorded the intent."""
    order_id: UUID | None = await connection.fetchval(
        "select order_id from payments.payments where intent_id = $1 limit 1", intent_id
    )
    return order_id


async def current_attempt(connection: Connection, order_id: UUID) -> Payment | None:
    """The attempt that an order's intent is about: the open one, else the newest."""
    row = await connection.fetchrow(
        f"""
        select {_PAYMENT} from payments.payments p where p.order_id = $1
        order by (p.status in ('started', 'requires_action', 'authorised')) desc, p.attempt desc
        limit 1
        """,
        order_id,
    )
    return Payment(**row) if row else None


async def claim_stalled(
    connection: Connection, stalled_after: StallTimes, limit: int
) -> list[StalledPayment]:
    """Claim up to `limit` stalled payments, those first that have been stalled longest, so that
    payments whose reconciliation fails each time delay no other one. Until its stall time has
    passed again, no other caller gets the same payment.
    """
    rows = await connection.fetch(
        f"""
        update payments.payments p set reconciled_at = now()
        where p.id in (
            select s.id from payments.payments s
            cross join lateral (
                select s.reconciled_at + case s.status
                    when 'authorised' then $1::interval
                    when 'requires_action' then $2
                    when 'started' then $3
                end as at
            ) stalled
            where s.status in ('started', 'requires_action', 'authorised') and stalled.at < now()
            order by stalled.at limit $4
            for no key update of s skip locked
        )
        returning {_PAYMENT}, p.status = 'started' or p.deadline_at < now() as abandoned
        """,
        stalled_after.authorised,
        stalled_after.requires_action,
        stalled_after.started,
        limit,
    )
    found = []
    for row in rows:
        columns = dict(row)
        abandoned = columns.pop("abandoned")
        found.append(StalledPayment(Payment(**columns), abandoned))
    return found


async def store_webhook(
    connection: Connection, event_id: str, type: str, object_id: str | None
) -> bool:
    """Store one of Stripe's events. Returns whether it is new."""
    done = await connection.fetchval(
        """
        insert into payments.webhook_events (id, type, object_id) values ($1, $2, $3)
        on conflict (id) do nothing returning true
        """,
        event_id,
        type,
        object_id,
    )
    return done is True


async def unhandled_webhook(connection: Connection, event_id: str) -> Webhook | None:
    """The event, unless it was handled or is about no intent."""
    row = await connection.fetchrow(
        """
        select type, object_id as intent_id from payments.webhook_events
        where id = $1 and handled_at is null and object_id is not null
        """,
        event_id,
    )
    return Webhook(**row) if row else None


async def mark_webhook(connection: Connection, event_id: str, error: str | None) -> None:
    """Count one try to handle an event. Without an error, the event is handled."""
    await connection.execute(
        """
        update payments.webhook_events
        set tries = tries + 1, last_error = $2,
            handled_at = coalesce(handled_at, case when $2::text is null then now() end)
        where id = $1
        """,
        event_id,
        error,
    )


async def waiting_webhooks(connection: Connection, seconds: float, limit: int) -> list[str]:
    """The ids of events that were stored at least `seconds` ago and not handled: their job was
    lost, or failed. The events that failed least often come first, so that none waits for those.
    """
    rows = await connection.fetch(
        f"""
        select id from payments.webhook_events
        where handled_at is null and received_at < now() - make_interval(secs => $1)
          and tries < {MAX_TRIES}
        order by tries, received_at limit $2
        """,
        seconds,
        limit,
    )
    return [row["id"] for row in rows]


async def waiting(connection: Connection) -> list[tuple[str, int, float]]:
    """For each of WAITING: name, count (up to MAX_COUNTED), age of the oldest in seconds."""
    rows = await connection.fetch(
        f"""
        with open as (
            (select 'payments_' || status as of, created_at as since from payments.payments
             where status in ('started', 'requires_action', 'authorised') limit {MAX_COUNTED})
            union all
            (select 'refunds_' || status, created_at from payments.refunds
             where status in ('requested', 'pending') limit {MAX_COUNTED})
            union all
            (select case when tries < {MAX_TRIES} then 'webhooks' else 'webhooks_given_up' end,
                    received_at
             from payments.webhook_events where handled_at is null
             order by received_at limit {MAX_COUNTED})
        )
        select k.of, count(open.of)::int as count,
               coalesce(extract(epoch from now() - min(open.since)), 0)::float8 as oldest
        from unnest($1::text[]) k (of) left join open on open.of = k.of group by k.of
        """,
        WAITING,
    )
    return [(row["of"], row["count"], row["oldest"]) for row in rows]


async def purge_webhooks(connection: Connection) -> None:
    """Delete handled events that Stripe will not send again."""
    await connection.execute(
        "delete from payments.webhook_events where handled_at < now() - interval '30 days'"
    )
