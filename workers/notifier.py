"""The notifier: publishes the push messages of every event, once and in order.

One notifier is active. It holds a session advisory lock on a connection of its own. How far it has
published is recorded twice: by the publisher's script in one step with the messages, which prevents
a repetition, and then in Postgres, which survives an emptied Redis. A new notifier continues after
the higher of the two, so clients never receive an old message again. The recorded number, the push
position, combines the event's epoch and position into one growing integer. It leaves an odd number
free after each event, for the availability counts that are published at a bounded rate.

A redriven event was passed long ago and has no push position left. Its messages are published at
once with the event's id as their mark: the publisher's script appends them and sets the mark in one
step, so a repetition appends nothing. When Redis lost its tail, the mark may be lost as well, and
whether the messages were published is unknown. The notifier then returns the redriven events to the
dead letters with that reason, and an operator decides whether to repeat them.
"""

import asyncio
import logging
import time
from collections import Counter as Tally
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import structlog
from prometheus_client import Counter, Histogram
from redis.asyncio import Redis

from backend.events.catalogue import Event, log_fields
from backend.events.stream import (
    REDRIVE_PREFIX,
    START,
    STREAM,
    EntryId,
    EventStream,
    add_dead_letter,
    read_event,
)
from backend.kernel import database, tracing
from backend.kernel.database import Connection, Pool
from backend.kernel.lease import lease
from backend.kernel.supervisor import heartbeat
from backend.push.publisher import (
    MAX_MESSAGES,
    MessagePublisher,
    PositionedMessages,
    PublisherState,
    Refusal,
)
from backend.push.push_log import Message
from backend.tickets import queries as tickets
from workers.push_messages import availability_message, messages_of

log = structlog.get_logger()

LEASE = 0x6E6F7469
READER = "notifier"
REDRIVE_STREAM = REDRIVE_PREFIX + READER
BATCH = 200
BLOCK_MS = 1000
# Under load, reads start this far apart, so that events arriving in between share one script call.
# A single event is published without delay.
SPACING_SECONDS = 0.005
REPORT_SECONDS = 1.0
# At most two counts a second for each show.
AVAILABILITY_SECONDS = 0.5
# After a takeover, the shows of the last events are counted again: the other notifier may have died
# before it published their counts.
RECOUNTED_EVENTS = 200
# Only one push position is free between two events, so the counts of all changed shows are
# published together, up to this many; the others wait for the next free position.
SHOWS_PER_QUERY = 100
MAX_SHOWS = MAX_MESSAGES

NOTIFIED = Counter("gittix_notifier_messages", "Push messages published", ["event"])
REDRIVEN = Counter(
    "gittix_notifier_redriven", "Redriven dead letters whose messages were published"
)
DELAY = Histogram(
    "gittix_notifier_delay_seconds",
    "Time from the commit of the oldest event of a read (Postgres's clock) to its push messages",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
)

Entry = tuple[bytes, dict[bytes, bytes]]


class PreparedEntry(NamedTuple):
    """An entry with its messages, or with the `fault` for which it has none."""

    entry: Entry
    position: int
    event: Event | None
    messages: list[Message]
    fault: str | None


class Notifier:
    """`run` holds the lease and publishes until it is cancelled or loses a connection."""

    def __init__(
        self, database_url: str, tickets_pool: Pool, redis: Redis, publisher: MessagePublisher
    ) -> None:
        self._url = database_url
        self._tickets = tickets_pool
        self._redis = redis
        self._stream = EventStream(redis)
        self._publisher = publisher
        self._push_position = 0
        self._is_saved = True
        self._appended = 0
        self._epoch = 0
        self._reported_at = 0.0
        self._changed: dict[UUID, None] = {}
        self._counted_at = 0.0

    async def run(self) -> None:
        # With synchronous_commit off, a crash of Postgres may lose the last recorded positions.
        # Redis still has them, and a turn does not wait for Postgres's disk.
        async with lease(self._url, LEASE, name=READER, synchronous_commit="off") as connection:
            log.info("notifier active")
            cursor = await self._start(connection)
            while True:
                cursor = await self._turn(connection, cursor)
                heartbeat(READER, "active")

    async def _start(self, connection: Connection) -> EntryId:
        row = await connection.fetchrow("select position, appended from push.notifier")
        assert row is not None
        state = await self._publisher.state()
        self._push_position = max(row["position"], state.position)
        self._appended = max(row["appended"], state.appended)
        self._epoch = state.epoch
        if 0 < state.appended < row["appended"]:
            await self._dead_letter_redriven()
        if not self._has_counts():
            for entry in await self._redis.xrevrange(STREAM, count=RECOUNTED_EVENTS):
                self._prepare(entry, self._push_position)
        # The previous notifier may have died after publishing and before saving; save now, since
        # Redis may be emptied before the next event.
        self._is_saved = (self._push_position, self._appended) == (row["position"], row["appended"])
        cursor = entry_id_of(self._push_position)
        await self._report(cursor)
        return cursor

    async def _turn(self, connection: Connection, cursor: EntryId) -> EntryId:
        """Read the streams once and publish new events. Returns the cursor for the next read."""
        clock = asyncio.get_running_loop().time
        # With counts to publish, wait for half of their interval.
        counts_wait = self._changed and not self._has_counts()
        wait = int(AVAILABILITY_SECONDS / 2 * 1000) if counts_wait else BLOCK_MS
        spaced_at = clock() + SPACING_SECONDS
        streams = await self._redis.xread(
            {STREAM: str(cursor), REDRIVE_STREAM: "0"}, count=BATCH, block=wait
        )
        found: dict[bytes, list[Entry]] = dict(streams or [])
        entries, redriven = (found.get(name.encode(), []) for name in (STREAM, REDRIVE_STREAM))
        epoch = self._epoch
        if entries:
            cursor = await self._publish_entries(entries)
        if entries or not self._is_saved:
            await self._save_position(connection)
        await self._publish_availability()
        if redriven:
            await (
                self._dead_letter_redriven()
                if 0 < epoch < self._epoch
                else self._publish_redriven(connection, redriven)
            )
        if clock() >= self._reported_at + REPORT_SECONDS:
            await self._report(cursor)
        if not entries and cursor > await self._stream.last():
            # The stream lost its tail, or all entries. Read from the start: the push positions
            # exclude repeated events.
            log.warning("stream is behind the notifier; reading from the start", cursor=str(cursor))
            return START
        if 0 < len(entries) < BATCH:
            await asyncio.sleep(max(0.0, spaced_at - clock()))
        return cursor

    async def _report(self, cursor: EntryId) -> None:
        """Report the progress. Detect that the push log lost its tail also without new events:
        until an epoch begins, a client that resumes can't know of the lost messages.
        """
        await self._stream.report_progress(READER, cursor)
        state = await self._publisher.detect_loss(expected_appended=self._appended)
        if 0 < self._epoch < state.epoch:
            log.warning("the push log lost its tail", epoch=state.epoch)
            await self._dead_letter_redriven()
        self._appended, self._epoch = state.appended, state.epoch
        self._reported_at = asyncio.get_running_loop().time()

    async def _save_position(self, connection: Connection) -> None:
        await connection.execute(
            "update push.notifier set position = $1, appended = $2, updated_at = now()",
            self._push_position,
            self._appended,
        )
        self._is_saved = True

    async def _publish_entries(self, entries: Sequence[Entry]) -> EntryId:
        """Publish the messages of these entries, each under its push position. Returns the id of
        the last entry that needs no further read.

        An entry without valid messages becomes a dead letter, and its push position is published
        without messages. Dead letters are added after the publication, so that repeating a failed
        publication adds none.
        """
        prepared = [
            self._prepare(entry, position)
            for entry in entries
            if (position := push_position_of(EntryId.parse(entry[0]))) > self._push_position
        ]
        if not prepared:
            return EntryId.parse(entries[-1][0])
        batch = [PositionedMessages(one.position, one.messages) for one in prepared]
        began = time.time()
        state = await self._publisher.publish(batch, expected_appended=self._appended)
        done = [one for one in prepared if one.position <= state.position]
        self._note_published(batch[: len(done)], state)
        refused = {refusal.position: refusal for refusal in state.refused}
        for one in done:
            if reason := one.fault or _reason(refused.get(one.position)):
                await add_dead_letter(self._redis, READER, *one.entry, reason)
        _observe([one.event for one in done if one.event], began)
        if len(done) < len(prepared):
            return entry_id_of(done[-1].position)
        return EntryId.parse(entries[-1][0])

    def _prepare(self, entry: Entry, position: int) -> PreparedEntry:
        event = read_event(*entry)
        if event is None:
            return PreparedEntry(entry, position, None, [], "not an event")
        try:
            found = messages_of(event)
        except Exception as error:  # A pure function raises the same at every try.
            return PreparedEntry(entry, position, event, [], repr(error))
        if found.show_id is not None:
            self._changed[found.show_id] = None
        return PreparedEntry(entry, position, event, found.messages, None)

    async def _publish_redriven(self, connection: Connection, entries: Sequence[Entry]) -> None:
        """Publish the redriven events that were not published yet, and delete their entries."""
        for entry in entries:
            one = self._prepare(entry, self._push_position)
            reason = one.fault
            if one.event and one.messages:
                mark = str(one.event.envelope.id)
                state = await self._publisher.publish_once(
                    mark, one.messages, expected_appended=self._appended
                )
                if state is None:
                    await self._dead_letter_redriven()
                    return
                self._note_published([PositionedMessages(one.position, one.messages)], state)
                reason = _reason(state.refused[0]) if state.refused else None
                _log_events([one.event])
                REDRIVEN.inc()
                # Save before the entry is deleted: otherwise a Redis that lost its tail could
                # restore the entry without the notifier detecting the loss.
                await self._save_position(connection)
            if reason:
                await add_dead_letter(self._redis, READER, *entry, reason)
            await self._redis.xdel(REDRIVE_STREAM, entry[0])

    async def _dead_letter_redriven(self) -> None:
        """Return redriven events to the dead letters: they may have been published already."""
        for entry_id, fields in await self._redis.xrange(REDRIVE_STREAM):
            await add_dead_letter(
                self._redis,
                READER,
                entry_id,
                fields,
                "Redis lost its tail; the messages may have been published",
            )
            await self._redis.xdel(REDRIVE_STREAM, entry_id)

    def _note_published(self, batch: Sequence[PositionedMessages], state: PublisherState) -> None:
        self._push_position = max(self._push_position, batch[-1].position)
        self._appended = state.appended
        self._epoch = state.epoch
        events = Tally(message.event for position in batch for message in position.messages)
        for event, count in events.items():
            NOTIFIED.labels(event).inc(count)

    async def _publish_availability(self) -> None:
        """Publish the counts of changed shows, at a bounded rate.

        A skipped count is part of the next one.
        """
        now = asyncio.get_running_loop().time()
        if not self._changed or self._has_counts() or now < self._counted_at + AVAILABILITY_SECONDS:
            return
        self._counted_at = now
        due = list(self._changed)[:MAX_SHOWS]
        try:
            counted = await self._count(due)
        except database.UNAVAILABLE as error:
            # Counts may be late, but ticket events must not wait for them.
            log.warning("show counts delayed", shows=len(due), error=repr(error))
            return
        batch = [PositionedMessages(self._push_position | 1, counted)]
        self._note_published(
            batch, await self._publisher.publish(batch, expected_appended=self._appended)
        )
        for show_id in due:
            self._changed.pop(show_id, None)

    async def _count(self, show_ids: Sequence[UUID]) -> list[Message]:
        counted = []
        async with database.connection(self._tickets) as connection:
            for start in range(0, len(show_ids), SHOWS_PER_QUERY):
                shows = await tickets.shows(connection, show_ids[start : start + SHOWS_PER_QUERY])
                counted += [availability_message(show) for show in shows.values()]
        return counted

    def _has_counts(self) -> bool:
        """Return whether the push position for counts after the last event is used."""
        return self._push_position & 1 == 1


def _reason(refusal: Refusal | None) -> str | None:
    if refusal is None:
        return None
    return f"{refusal.event} to {refusal.channel} was refused: {refusal.reason}"


def _observe(events: Sequence[Event], began: float) -> None:
    if not events:
        return
    DELAY.observe(max(0.0, time.time() - events[0].envelope.occurred_at.timestamp()))
    _log_events(events)
    for event in events if tracing.enabled() else ():
        tracing.record_span("notifier " + event.type, event.envelope.correlation_id, began)


def _log_events(events: Sequence[Event]) -> None:
    """Log each event at debug level."""
    if log.is_enabled_for(logging.DEBUG):
        for event in events:
            log.debug("event notified", **log_fields(event))


def push_position_of(entry_id: EntryId) -> int:
    """Return an event's push position: an even number that grows with epoch and position."""
    return (entry_id.epoch << 40 | entry_id.position) << 1


def entry_id_of(push_position: int) -> EntryId:
    """Return the entry id of the event at a push position, or of the last event before it."""
    return EntryId(push_position >> 41, (push_position >> 1) & ((1 << 40) - 1))
