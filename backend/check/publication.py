"""I5. The outbox is the truth: each row of it is numbered soon and without a gap, and stands on the stream under its
number; the stream has nothing else. Rows older than the outbox keeps, and entries of an earlier epoch (before the
database was restored), can't be held against each other.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from backend.check.event_stream import EventLog
from backend.check.evidence import Evidence
from backend.check.finding import (
    EVENTS,
    LATE,
    LATE_SECONDS,
    MOST,
    QUERY_SECONDS,
    Finding,
    Unseen,
    sentences,
)
from backend.events.stream import START, Position

SAYS = "what committed is on the stream, densely numbered, within seconds, and the stream has nothing else"

# Rows older than this may be deleted at any time.
KEPT_FOR = timedelta(days=6, hours=23)
KEPT = "interval '6 days 23 hours'"

NUMBERS = f"""
    select format('event %s (%s) waits in the outbox without a position since %s', event_id, type, occurred_at)
    from events.outbox where position is null and occurred_at < $1::timestamptz - {LATE}
    union all
    select format('position %s follows %s in the outbox', position, before)
    from (
        select o.position, o.occurred_at, lag(o.position) over (order by o.position) as before
        from events.outbox o where o.position > (select r.position - {EVENTS} from events.relay r)
    ) numbered
    where position <> before + 1 and occurred_at > now() - {KEPT}
    union all
    select format('the outbox ends at position %s, though %s was given', newest.position, r.position)
    from events.relay r, lateral (
        select o.position, o.occurred_at from events.outbox o where o.position is not null
        order by o.position desc limit 1
    ) newest
    where newest.position <> r.position and newest.occurred_at > now() - {KEPT}
"""


class Row(NamedTuple):
    position: int
    event_id: Any
    type: str
    is_late: bool


async def examine(evidence: Evidence, finding: Finding) -> None:
    finding.examined = await evidence.rows.fetchval(
        f"select least(count(*), {EVENTS}) from events.outbox", timeout=QUERY_SECONDS
    )
    finding.offenders += await sentences(evidence.rows, NUMBERS, evidence.began)
    if isinstance(evidence.event_stream, Unseen):
        finding.unseen.append(evidence.event_stream)
        return
    finding.examined += len(evidence.event_stream.entries)
    finding.offenders += await _compare(evidence, evidence.event_stream)
    finding.offenders += _lost(evidence.event_stream)


async def _compare(evidence: Evidence, log: EventLog) -> list[str]:
    relay = await evidence.rows.fetchrow("select epoch, epoch_start from events.relay")
    assert relay is not None
    epoch, start = relay["epoch"], relay["epoch_start"]
    here = {at.position: told for at, told in log.entries.items() if at.epoch == epoch}
    rows = {row.position: row for row in await _rows(evidence, min(here, default=None))}
    ahead = [f"the stream is in epoch {log.last.epoch}, the event log in {epoch}"]
    return [
        *(ahead if log.last.epoch > epoch else []),
        *(
            f"entry {at} of the stream is no event"
            for at, told in log.entries.items()
            if told is None and at.epoch == epoch
        ),
        *(
            sentence
            for position, told in here.items()
            if told is not None and (sentence := _unfounded(Position(epoch, position), told, rows))
        ),
        *_missing(rows, here, log.last, Position(epoch, start)),
    ][:MOST]


async def _rows(evidence: Evidence, first: int | None) -> list[Row]:
    """The newest rows, and all from the position `first` on."""
    found = await evidence.rows.fetch(
        f"""
        select position, event_id, type, occurred_at < $2::timestamptz - {LATE} as is_late
        from events.outbox
        where position > (select least(r.position - {EVENTS}, $1::bigint - 1) from events.relay r)
        order by position
        """,
        first,
        evidence.began,
        timeout=QUERY_SECONDS,
    )
    return [Row(**row) for row in found]


def _unfounded(at: Position, told: Any, rows: dict[int, Row]) -> str | None:
    """Why an entry of the stream should not be there; None when it should."""
    row = rows.get(at.position)
    if row is None:
        kept = told.occurred_at > datetime.now(UTC) - KEPT_FOR
        return (
            f"entry {at} is event {told.id} ({told.type}), which is not in the outbox"
            if kept
            else None
        )
    if row.event_id != told.id:
        return f"entry {at} is event {told.id} ({told.type}), but the outbox has {row.event_id} ({row.type}) there"
    return None


def _missing(
    rows: dict[int, Row], here: dict[int, Any], last: Position, start: Position
) -> list[str]:
    """Rows that the stream should have. It has no gaps by itself: what is trimmed is below its first entry."""
    late = [row for row in rows.values() if row.is_late]
    if last == START and late:
        return [
            f"the stream is empty, though {len(late)} events were published to it, the last at {late[-1].position}"
        ]
    first = min(here, default=None)
    newest = last.position if last.epoch == start.epoch else start.position if last > START else 0
    missing = []
    for row in rows.values():
        if row.position > newest:
            if row.is_late:
                missing.append(
                    f"event {row.event_id} ({row.type}) at position {row.position} is not on the stream "
                    f"{LATE_SECONDS} seconds after its commit"
                )
        elif first is not None and row.position > first and row.position not in here:
            missing.append(
                f"event {row.event_id} ({row.type}) at position {row.position} is gone from the stream"
            )
    return missing


def _lost(log: EventLog) -> list[str]:
    """Entries that were trimmed although a reader still had to read them."""
    if not log.entries:
        return []
    first, last = min(log.entries), max(log.entries)
    found = [
        f"entry {at} was trimmed while consumer {name} had it pending"
        for name, group in log.groups.items()
        for at in sorted(group.pending)
        if at <= last and at not in log.entries and (at > first or len(log.entries) < EVENTS)
    ]
    return found[:MOST]
