"""Invariant I6: a single effect of each event.

A consumer writes its effect and its inbox row in one transaction, before the acknowledgement. An
event that is acknowledged, and neither in the inbox nor dead-lettered, was therefore acknowledged
too early. A repeated effect shows when an irreversible step was published twice. A webhook that was
handled twice cannot be detected by itself: it changes nothing, or repeats such a step.
"""

from typing import NamedTuple
from uuid import UUID

from backend.check.event_stream import EventLog, EventSummary
from backend.check.publication import KEPT_INTERVAL
from backend.check.result import MAX_EVENTS, MAX_VIOLATIONS, QUERY_SECONDS, Result, Unchecked
from backend.check.snapshot import Snapshot
from backend.events.stream import EntryId
from workers import expiration, payments

DESCRIPTION = (
    "each event that a consumer acknowledged is in its inbox, no irreversible step was published"
    " twice, and each attempt to pay is counted once"
)


class CheckedConsumer(NamedTuple):
    """A consumer, the schema of its inbox, and the event types that it handles."""

    name: str
    schema: str
    types: frozenset[str]


CONSUMERS = (
    CheckedConsumer(expiration.CONSUMER, "orders", expiration.TYPES),
    CheckedConsumer(payments.CONSUMER, "payments", payments.TYPES),
)
# The types of which each subject may have one event.
ONCE = (
    "user.registered",
    "show.created",
    "ticket.listed",
    "ticket.withdrawn",
    "order.created",
    "order.confirmed",
    "order.completed",
    "order.cancelled",
    "order.expired",
    "payment.authorised",
    "payment.captured",
    "payment.voided",
)

COUNT_SQL = f"select least(count(*), {MAX_EVENTS}) from events.outbox"

VIOLATIONS_SQL = f"""
    with log as materialized (
        select o.event_id, o.type, o.subject from events.outbox o
        where o.position is null or o.position > (select r.position - {MAX_EVENTS}
            from events.relay r)
    )
    select format('%s %s has %s events %s', split_part(type, '.', 1), subject, count(*), type)
    from log where type = any ($1) group by subject, type having count(*) > 1
    union all
    select format('%s events have the id %s: %s', count(*), event_id, string_agg(type, ', '))
    from log group by event_id having count(*) > 1
    union all
    select format('order %s counts %s attempts to pay, but %s reached Stripe', o.id,
        o.payment_attempts, made.attempts)
    from orders.orders o
    join (
        select p.order_id,
            count(*) filter (where p.failure_code is distinct from 'provider_unavailable')
                as attempts
        from payments.payments p
        -- Older attempts were not counted.
        group by p.order_id having bool_and(p.charged_to is not null)
    ) made on made.order_id = o.id and made.attempts <> o.payment_attempts
"""


async def check(snapshot: Snapshot, result: Result) -> None:
    await result.run(snapshot.connection, COUNT_SQL, VIOLATIONS_SQL, ONCE)
    if isinstance(snapshot.event_stream, Unchecked):
        result.unchecked.append(snapshot.event_stream)
        return
    epoch: int = await snapshot.connection.fetchval("select epoch from events.relay")
    for consumer in CONSUMERS:
        acknowledged = _acknowledged(snapshot.event_stream, consumer, epoch)
        result.examined += len(acknowledged)
        result.violations += await _acknowledged_early(snapshot, consumer, acknowledged)


def _acknowledged(
    log: EventLog, consumer: CheckedConsumer, epoch: int
) -> dict[UUID, tuple[EntryId, EventSummary]]:
    """Return the events, by id, that the consumer acknowledged and did not dead-letter.

    Only events of this epoch: inbox rows from before a database restore may be lost.
    """
    group = log.groups.get(consumer.name)
    if group is None:
        return {}
    return {
        event.id: (at, event)
        for at, event in log.entries.items()
        if event is not None
        and event.type in consumer.types
        and at.epoch == epoch
        and at <= group.delivered
        and at not in group.pending
        and (consumer.name, at) not in log.dead_lettered
    }


async def _acknowledged_early(
    snapshot: Snapshot,
    consumer: CheckedConsumer,
    acknowledged: dict[UUID, tuple[EntryId, EventSummary]],
) -> list[str]:
    rows = await snapshot.connection.fetch(
        f"""
        select a.event_id from unnest($2::uuid[], $3::timestamptz[]) as a (event_id, occurred_at)
        where a.occurred_at > now() - {KEPT_INTERVAL}
          and not exists (
              select from {consumer.schema}.inbox i
              where i.consumer = $1 and i.event_id = a.event_id
          )
        limit {MAX_VIOLATIONS}
        """,
        consumer.name,
        list(acknowledged),
        [event.occurred_at for _, event in acknowledged.values()],
        timeout=QUERY_SECONDS,
    )
    return [
        f"consumer {consumer.name} acknowledged entry {at}, event {event.id} ({event.type}),"
        " which is not in its inbox"
        for at, event in (acknowledged[row["event_id"]] for row in rows)
    ]
