"""The notifier: every event of the log becomes its push messages, once, in order.

One is active, by a session advisory lock on a connection of its own. What was told is recorded twice: by the publisher's
script together with the messages, which makes a repeat impossible, and after that in Postgres, which outlives an emptied
Redis; the higher of the two counts, so users never get an old notice again. The position told is the event's epoch and
position as one growing number, with a place between two events for the counts that are sent at a bounded rate.

An event that was buried and sent back has been passed long ago, so it can have no place. It goes out at once, with its
event's id as its mark: the publisher's script appends its messages and sets the mark in one step, so a repeat appends
nothing. When Redis lost its tail, nobody can tell whether the mark was lost as well: whatever waits then to be told
again goes back to the dead letters and says so, and a person decides. No old notice comes twice by itself.
"""

import asyncio
import logging
import time
from collections import Counter as Tally
from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID

import msgspec
import structlog
from prometheus_client import Counter, Histogram
from redis.asyncio import Redis

from backend.events.catalogue import Event, log_fields
from backend.events.stream import (
    REDRIVE_PREFIX,
    START,
    STREAM,
    EventStream,
    Position,
    add_dead_letter,
    read_event,
)
from backend.kernel import database, tracing
from backend.kernel.database import Connection, Pool
from backend.kernel.lease import lease
from backend.kernel.supervisor import heartbeat
from backend.push.publisher import MAX_MESSAGES, EventMessages, MessagePublisher, PublisherState
from backend.push.push_log import Message
from backend.tickets import queries as tickets
from workers.messages import UnknownEvent, availability_message, told_of

log = structlog.get_logger()

LEASE = 0x6E6F7469
READER = "notifier"
REDRIVE_STREAM = REDRIVE_PREFIX + READER
BATCH = 200
BLOCK_MS = 1000
# Under load, reads are this far apart: what comes meanwhile shares one script. A lone event waits for none.
SPACING_SECONDS = 0.005
REPORT_SECONDS = 1.0
# At most two counts a second for each show.
AVAILABILITY_SECONDS = 0.5
# After a takeover the last events' shows are counted again: their count may have died with the other notifier.
RECOUNTED = 200
# Counts have one place between two events, so all that changed go out together; more than these wait for the next.
SHOWS_A_QUERY = 100
SHOWS_AT_ONCE = MAX_MESSAGES

NOTIFIED = Counter("gittix_notifier_messages", "Push messages published", ["event"])
REDRIVEN = Counter(
    "gittix_notifier_redriven", "Events told that were sent back from the dead letters"
)
DELAY = Histogram(
    "gittix_notifier_delay_seconds",
    "From the commit of the oldest event of a read, on Postgres's clock, to its messages in the push log",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
)

Entry = tuple[bytes, dict[bytes, bytes]]


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
        self._told = 0
        self._recorded = True
        self._appended = 0
        self._epoch = 0
        self._reported_at = 0.0
        self._changed: dict[UUID, None] = {}
        self._counted_at = 0.0

    async def run(self) -> None:
        # What Postgres loses in a crash of its own, Redis still knows; waiting for its disk would cost each turn dear.
        async with lease(self._url, LEASE, name=READER, synchronous_commit="off") as connection:
            log.info("notifier active")
            cursor = await self._start(connection)
            while True:
                cursor = await self._turn(connection, cursor)
                heartbeat(READER, "active")

    async def _start(self, connection: Connection) -> Position:
        row = await connection.fetchrow("select position, appended from push.notifier")
        assert row is not None
        state = await self._publisher.state()
        self._told = max(row["position"], state.position)
        self._appended = max(row["appended"], state.appended)
        self._epoch = state.epoch
        if 0 < state.appended < row["appended"]:
            await self._doubt()
        if not self._counted():
            for event in await self._recent():
                with suppress(UnknownEvent, msgspec.ValidationError):
                    self._note_change(told_of(event).show_id)
        # The one before may have died between telling and recording, and Redis may be emptied before the next event.
        self._recorded = (self._told, self._appended) == (row["position"], row["appended"])
        cursor = position_of(self._told)
        await self._report(cursor)
        return cursor

    async def _recent(self) -> Sequence[Event]:
        entries = await self._redis.xrevrange(STREAM, count=RECOUNTED)
        return [
            event
            for entry_id, fields in entries
            if (event := read_event(entry_id, fields)) is not None
        ]

    async def _turn(self, connection: Connection, cursor: Position) -> Position:
        """Tell what is new, for one read of the stream. Returns the cursor to go on from."""
        clock = asyncio.get_running_loop().time
        wait = BLOCK_MS if not self._changed or self._counted() else int(AVAILABILITY_SECONDS * 500)
        spaced_at = clock() + SPACING_SECONDS
        streams = await self._redis.xread(
            {STREAM: str(cursor), REDRIVE_STREAM: "0"}, count=BATCH, block=wait
        )
        found: dict[bytes, list[Entry]] = dict(streams or [])
        entries, sent_back = (found.get(name.encode(), []) for name in (STREAM, REDRIVE_STREAM))
        epoch = self._epoch
        if entries:
            await self._tell(entries)
            cursor = Position.parse(entries[-1][0])
        if entries or not self._recorded:
            await self._record(connection)
        await self._tell_availability()
        if sent_back:
            await (
                self._doubt()
                if 0 < epoch < self._epoch
                else self._tell_again(connection, sent_back)
            )
        if clock() >= self._reported_at + REPORT_SECONDS:
            await self._report(cursor)
        if not entries and cursor > await self._stream.last():
            # The stream lost its tail, or everything: what comes again is known by its position.
            log.warning("the stream is behind the notifier", cursor=str(cursor))
            return START
        if 0 < len(entries) < BATCH:
            await asyncio.sleep(max(0.0, spaced_at - clock()))
        return cursor

    async def _report(self, cursor: Position) -> None:
        await self._stream.report_progress(READER, cursor)
        self._reported_at = asyncio.get_running_loop().time()

    async def _record(self, connection: Connection) -> None:
        await connection.execute(
            "update push.notifier set position = $1, appended = $2, updated_at = now()",
            self._told,
            self._appended,
        )
        self._recorded = True

    async def _tell(self, entries: Sequence[Entry]) -> None:
        """Publish what these entries become, each at its place. One that becomes nothing is buried and has its place too."""
        places = []
        told: list[Event] = []
        for entry_id, fields in entries:
            event = read_event(entry_id, fields)
            if event is None:
                await add_dead_letter(self._redis, READER, entry_id, fields, "not an event")
                continue
            place = told_at(Position(event.epoch, event.position))
            if place <= self._told:
                continue
            places.append(EventMessages(place, await self._messages(entry_id, fields, event)))
            told.append(event)
        if not told:
            return
        began = time.time()
        self._published(
            places, await self._publisher.publish(places, expected_appended=self._appended)
        )
        DELAY.observe(max(0.0, time.time() - told[0].envelope.occurred_at.timestamp()))
        _say(told)
        for event in told if tracing.enabled() else ():
            tracing.passed("notifier " + event.type, event.envelope.correlation_id, began)

    async def _messages(
        self, entry_id: bytes, fields: dict[bytes, bytes], event: Event
    ) -> list[Message]:
        try:
            told = told_of(event)
        except (UnknownEvent, msgspec.ValidationError) as fault:
            await add_dead_letter(self._redis, READER, entry_id, fields, repr(fault))
            return []
        self._note_change(told.show_id)
        return told.messages

    async def _tell_again(self, connection: Connection, entries: Sequence[Entry]) -> None:
        """Tell events that were sent back, but for those that were told; then they are done with."""
        for entry_id, fields in entries:
            event = read_event(entry_id, fields)
            if event is None:
                await add_dead_letter(self._redis, READER, entry_id, fields, "not an event")
            elif messages := await self._messages(entry_id, fields, event):
                mark = str(event.envelope.id)
                state = await self._publisher.publish_once(
                    mark, messages, expected_appended=self._appended
                )
                if state is None:
                    await self._doubt()
                    return
                self._published([EventMessages(self._told, messages)], state)
                _say([event])
                REDRIVEN.inc()
                # Before it is forgotten: else a Redis that lost its tail could bring it back unnoticed.
                await self._record(connection)
            await self._redis.xdel(REDRIVE_STREAM, entry_id)

    async def _doubt(self) -> None:
        """Redis lost its tail: of what waits to be told again, nobody can know whether it was told."""
        for entry_id, fields in await self._redis.xrange(REDRIVE_STREAM):
            await add_dead_letter(
                self._redis, READER, entry_id, fields, "Redis lost its tail: it may have been told"
            )
            await self._redis.xdel(REDRIVE_STREAM, entry_id)

    def _published(self, places: Sequence[EventMessages], state: PublisherState) -> None:
        self._told = max(self._told, places[-1].position)
        self._appended = state.appended
        self._epoch = state.epoch
        events = Tally(message.event for place in places for message in place.messages)
        for event, count in events.items():
            NOTIFIED.labels(event).inc(count)

    def _note_change(self, show_id: UUID | None) -> None:
        if show_id is not None:
            self._changed[show_id] = None

    async def _tell_availability(self) -> None:
        """Count the shows that changed, at a bounded rate. A count that is skipped is in the next one."""
        now = asyncio.get_running_loop().time()
        if not self._changed or self._counted() or now < self._counted_at + AVAILABILITY_SECONDS:
            return
        self._counted_at = now
        due = list(self._changed)[:SHOWS_AT_ONCE]
        try:
            counted = await self._count(due)
        except database.UNAVAILABLE as fault:
            # Counts can wait; what happens to tickets can't wait for them.
            log.warning("shows not counted", shows=len(due), error=repr(fault))
            return
        places = [EventMessages(self._told | 1, counted)]
        self._published(
            places, await self._publisher.publish(places, expected_appended=self._appended)
        )
        for show_id in due:
            self._changed.pop(show_id, None)

    async def _count(self, show_ids: Sequence[UUID]) -> list[Message]:
        counted = []
        async with database.connection(self._tickets) as connection:
            for start in range(0, len(show_ids), SHOWS_A_QUERY):
                shows = await tickets.shows(connection, show_ids[start : start + SHOWS_A_QUERY])
                counted += [availability_message(show) for show in shows.values()]
        return counted

    def _counted(self) -> bool:
        """Whether the place for counts after the last event is taken."""
        return self._told & 1 == 1


def _say(events: Sequence[Event]) -> None:
    """Each event by itself, for who looks closely."""
    if log.is_enabled_for(logging.DEBUG):
        for event in events:
            log.debug("event notified", **log_fields(event))


def told_at(position: Position) -> int:
    """An event's place in what was told: grows with epoch and position, and is even."""
    return (position.epoch << 40 | position.position) << 1


def position_of(told: int) -> Position:
    """The last event that was told."""
    return Position(told >> 41, (told >> 1) & ((1 << 40) - 1))
