"""I6. A consumer's effect and its inbox row are one transaction, before the acknowledgement: an event that is
acknowledged, and neither in the inbox nor buried, was acknowledged early. An effect that happened twice shows where the
events tell of a step that has no way back. A webhook's second handling can't be seen: it changes nothing, or such a step.
"""

from typing import NamedTuple
from uuid import UUID

from backend.check.event_stream import EventLog, Told
from backend.check.evidence import Evidence
from backend.check.finding import EVENTS, MOST, QUERY_SECONDS, Finding, Unseen
from backend.check.publication import KEPT
from backend.events.stream import Position
from workers import expiration, payments

SAYS = (
    "what a consumer acknowledged is in its inbox, and no step that has no way back was told twice"
)


class Reader(NamedTuple):
    """A consumer, the schema that has its inbox, and the events that it handles."""

    name: str
    schema: str
    types: frozenset[str]


READERS = (
    Reader(expiration.CONSUMER, "orders", expiration.TYPES),
    Reader(payments.CONSUMER, "payments", payments.TYPES),
)
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

COUNTS = f"select least(count(*), {EVENTS}) from events.outbox"

FINDS = f"""
    with log as materialized (
        select o.event_id, o.type, o.subject from events.outbox o
        where o.position is null or o.position > (select r.position - {EVENTS} from events.relay r)
    )
    select format('%s %s has %s events %s', split_part(type, '.', 1), subject, count(*), type)
    from log where type = any ($1) group by subject, type having count(*) > 1
    union all
    select format('%s events have the id %s: %s', count(*), event_id, string_agg(type, ', '))
    from log group by event_id having count(*) > 1
"""


async def examine(evidence: Evidence, finding: Finding) -> None:
    await finding.ask(evidence.rows, COUNTS, FINDS, ONCE)
    if isinstance(evidence.event_stream, Unseen):
        finding.unseen.append(evidence.event_stream)
        return
    epoch: int = await evidence.rows.fetchval("select epoch from events.relay")
    for reader in READERS:
        acknowledged = _acknowledged(evidence.event_stream, reader, epoch)
        finding.examined += len(acknowledged)
        finding.offenders += await _early(evidence, reader, acknowledged)


def _acknowledged(log: EventLog, reader: Reader, epoch: int) -> dict[UUID, tuple[Position, Told]]:
    """The events of the reader's types, by id, that it is done with and did not bury.

    Of this epoch: what was handled before the database was restored is in no inbox that there is now.
    """
    group = log.groups.get(reader.name)
    if group is None:
        return {}
    return {
        told.id: (at, told)
        for at, told in log.entries.items()
        if told is not None
        and told.type in reader.types
        and at.epoch == epoch
        and at <= group.delivered
        and at not in group.pending
        and (reader.name, at) not in log.buried
    }


async def _early(
    evidence: Evidence, reader: Reader, acknowledged: dict[UUID, tuple[Position, Told]]
) -> list[str]:
    rows = await evidence.rows.fetch(
        f"""
        select a.event_id from unnest($2::uuid[], $3::timestamptz[]) as a (event_id, occurred_at)
        where a.occurred_at > now() - {KEPT}
          and not exists (
              select from {reader.schema}.inbox i where i.consumer = $1 and i.event_id = a.event_id
          )
        limit {MOST}
        """,
        reader.name,
        list(acknowledged),
        [told.occurred_at for _, told in acknowledged.values()],
        timeout=QUERY_SECONDS,
    )
    return [
        f"consumer {reader.name} acknowledged entry {at}, event {told.id} ({told.type}), which is not in its inbox"
        for at, told in (acknowledged[row["event_id"]] for row in rows)
    ]
