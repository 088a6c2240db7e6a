"""Invariant I5: publication of events.

The outbox decides: each of its rows gets a position soon and without gaps, and the stream has
exactly these rows under their positions. Rows that the purge may have deleted, and entries of an
earlier epoch (from before a database restore), cannot be compared.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from backend.check.event_stream import EventLog
from backend.check.result import (
    LATE,
    LATE_SECONDS,
    MAX_EVENTS,
    MAX_VIOLATIONS,
    QUERY_SECONDS,
    Result,
    Unchecked,
    find_violations,
)
from backend.check.snapshot import Snapshot
from backend.events.stream import START, EntryId

DESCRIPTION = (
    "committed events are on the stream within seconds, without gaps, and the stream has no others"
)

# The purge may delete rows older than this at any time.
KEPT_FOR = timedelta(days=6, hours=23)
KEPT_INTERVAL = "interval '6 days 23 hours'"

NUMBERS = f"""
    select format('event %s (%s) waits in the outbox without a position since %s', event_id, type,
        occurred_at)
    from events.outbox where position is null and occurred_at < $1::timestamptz - {LATE}
    union all
    select format('position %s follows %s in the outbox', position, before)
    from (
        select o.position, o.occurred_at, lag(o.position) over (order by o.position) as before
        from events.outbox o where o.position > (select r.position - {MAX_EVENTS}
            from events.relay r)
    ) numbered
    where position <> before + 1 and occurred_at > now() - {KEPT_INTERVAL}
    union all
    select format('the outbox ends at position %s, but position %s was assigned', newest.position,
        r.position)
    from events.relay r, lateral (
        select o.position, o.occurred_at from events.outbox o where o.position is not null
        order by o.position desc limit 1
    ) newest
    where newest.position <> r.position and newest.occurred_at > now() - {KEPT_INTERVAL}
"""


class Row(NamedTuple):
    position: int
    event_id: Any
    type: str
    is_late: bool


async def check(snapshot: Snapshot, result: Result) -> None:
    result.examined = await snapshot.connection.fetchval(
        f"select least(count(*), {MAX_EVENTS}) from events.outbox", timeout=QUERY_SECONDS
    )
    result.violations += await find_violations(snapshot.connection, NUMBERS, snapshot.began)
    if isinstance(snapshot.event_stream, Unchecked):
        result.unchecked.append(snapshot.event_stream)
        return
    result.examined += len(snapshot.event_stream.entries)
    result.violations += await _compare(snapshot, snapshot.event_stream)
    result.violations += _trimmed_early(snapshot.event_stream)


async def _compare(snapshot: Snapshot, log: EventLog) -> list[str]:
    relay = await snapshot.connection.fetchrow("select epoch, epoch_start from events.relay")
    assert relay is not None
    epoch, start = relay["epoch"], relay["epoch_start"]
    here = {at.position: event for at, event in log.entries.items() if at.epoch == epoch}
    rows = {row.position: row for row in await _rows(snapshot, min(here, default=None))}
    ahead = [f"the stream is in epoch {log.last.epoch}, the event log in {epoch}"]
    return [
        *(ahead if log.last.epoch > epoch else []),
        *(
            f"entry {at} of the stream is not an event"
            for at, event in log.entries.items()
            if event is None and at.epoch == epoch
        ),
        *(
            sentence
            for position, event in here.items()
            if event is not None
            and (sentence := _unexpected_entry(EntryId(epoch, position), event, rows))
        ),
        *_missing_rows(rows, here, log.last, EntryId(epoch, start)),
    ][:MAX_VIOLATIONS]


async def _rows(snapshot: Snapshot, first: int | None) -> list[Row]:
    """Return the newest rows, and all from the position `first` on."""
    found = await snapshot.connection.fetch(
        f"""
        select position, event_id, type, occurred_at < $2::timestamptz - {LATE} as is_late
        from events.outbox
        where position > (select least(r.position - {MAX_EVENTS}, $1::bigint - 1)
            from events.relay r)
        order by position
        """,
        first,
        snapshot.began,
        timeout=QUERY_SECONDS,
    )
    return [Row(**row) for row in found]


def _unexpected_entry(at: EntryId, event: Any, rows: dict[int, Row]) -> str | None:
    """Return a sentence when an entry must not be on the stream, else None."""
    row = rows.get(at.position)
    if row is None:
        kept = event.occurred_at > datetime.now(UTC) - KEPT_FOR
        return (
            f"entry {at} is event {event.id} ({event.type}), which is not in the outbox"
            if kept
            else None
        )
    if row.event_id != event.id:
        return (
            f"entry {at} is event {event.id} ({event.type}),"
            f" but the outbox has {row.event_id} ({row.type}) there"
        )
    return None


def _missing_rows(
    rows: dict[int, Row], here: dict[int, Any], last: EntryId, start: EntryId
) -> list[str]:
    """Return a sentence for each row that is missing on the stream.

    Trimmed entries are below its first entry.
    """
    late = [row for row in rows.values() if row.is_late]
    if last == START and late:
        return [
            (
                f"the stream is empty, though {len(late)} events were published to it, the last at"
                f" {late[-1].position}"
            )
        ]
    first = min(here, default=None)
    newest = last.position if last.epoch == start.epoch else start.position if last > START else 0
    missing = []
    for row in rows.values():
        if row.position > newest:
            if row.is_late:
                missing.append(
                    f"event {row.event_id} ({row.type}) at position {row.position} is not on the"
                    " stream "
                    f"{LATE_SECONDS} seconds after its commit"
                )
        elif first is not None and row.position > first and row.position not in here:
            missing.append(
                f"event {row.event_id} ({row.type}) at position {row.position} is gone from the"
                " stream"
            )
    return missing


def _trimmed_early(log: EventLog) -> list[str]:
    """Return a sentence for each entry that was trimmed while a consumer had it pending."""
    if not log.entries:
        return []
    first, last = min(log.entries), max(log.entries)
    found = [
        f"entry {at} was trimmed while consumer {name} had it pending"
        for name, group in log.groups.items()
        for at in sorted(group.pending)
        if at <= last and at not in log.entries and (at > first or len(log.entries) < MAX_EVENTS)
    ]
    return found[:MAX_VIOLATIONS]
