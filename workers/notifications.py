"""The notifier: every event of the log becomes its push messages, once, in order.

One is active, by a session advisory lock on a connection of its own. What was told is recorded twice: by the publisher's
script together with the messages, which makes a repeat impossible, and after that in Postgres, which outlives an emptied
Redis; the higher of the two counts, so users never get an old notice again. The position told is the event's epoch and
position as one growing number, with a place between two events for the counts that are sent at a bounded rate.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID

import msgspec
import structlog
from prometheus_client import Counter, Gauge
from redis.asyncio import Redis

from backend.events.catalogue import Event
from backend.events.stream import START, STREAM, EventStream, Position, bury, read
from backend.kernel import database
from backend.kernel.database import Connection, Pool
from backend.kernel.lease import lease
from backend.kernel.supervised import heartbeat
from backend.push.publisher import MAX_MESSAGES, Message, MessagePublisher
from backend.tickets import queries as tickets
from workers.messages import UnknownEvent, availability_message, messages_for, show_of

log = structlog.get_logger()

LEASE = 0x6E6F7469
READER = "notifier"
BATCH = 200
BLOCK_MS = 1000
# At most two counts a second for each show.
AVAILABILITY_SECONDS = 0.5
# After a takeover the last events' shows are counted again: their count may have died with the other notifier.
RECOUNTED = 200
# Counts have one place between two events, so all that changed go out together; more than these wait for the next.
SHOWS_A_QUERY = 100
SHOWS_AT_ONCE = MAX_MESSAGES

NOTIFIED = Counter("gittix_notifier_messages", "Push messages published", ["event"])
LAG = Gauge("gittix_notifier_lag_seconds", "Age of the event that was last told to clients")


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
        self._appended = 0
        self._changed: dict[UUID, None] = {}
        self._counted_at = 0.0

    async def run(self) -> None:
        async with lease(self._url, LEASE, name=READER) as connection:
            log.info("notifier active")
            cursor = await self._start(connection)
            while True:
                heartbeat("notifier")
                cursor = await self._turn(connection, cursor)

    async def _start(self, connection: Connection) -> Position:
        row = await connection.fetchrow("select position, appended from push.notifier")
        assert row is not None
        state = await self._publisher.state()
        self._told = max(row["position"], state.position)
        self._appended = max(row["appended"], state.appended)
        if not self._counted():
            for event in await self._recent():
                self._note_change(event)
        return position_of(self._told)

    async def _recent(self) -> Sequence[Event]:
        entries = await self._redis.xrevrange(STREAM, count=RECOUNTED)
        return [event for entry_id, fields in entries if (event := read(entry_id, fields)) is not None]

    async def _turn(self, connection: Connection, cursor: Position) -> Position:
        """Tell what is new, for one read of the stream. Returns the cursor to go on from."""
        wait = BLOCK_MS if not self._changed or self._counted() else int(AVAILABILITY_SECONDS * 500)
        streams = await self._redis.xread({STREAM: str(cursor)}, count=BATCH, block=wait)
        entries = streams[0][1] if streams else []
        for entry_id, fields in entries:
            await self._tell(entry_id, fields)
            cursor = Position.parse(entry_id)
        if entries:
            await self._record(connection, cursor)
        await self._tell_availability()
        if not entries and cursor > await self._stream.last():
            # The stream lost its tail, or everything: what comes again is known by its position.
            log.warning("the stream is behind the notifier", cursor=str(cursor))
            return START
        return cursor

    async def _record(self, connection: Connection, cursor: Position) -> None:
        await connection.execute(
            "update push.notifier set position = $1, appended = $2, updated_at = now()",
            self._told,
            self._appended,
        )
        await self._stream.report(READER, cursor)

    async def _tell(self, entry_id: bytes, fields: dict[bytes, bytes]) -> None:
        event = read(entry_id, fields)
        if event is None:
            await bury(self._redis, READER, entry_id, fields, "not an event")
            return
        try:
            position = told_at(Position(event.epoch, event.position))
            if position <= self._told:
                return
            messages = messages_for(event)
        except (UnknownEvent, msgspec.ValidationError) as fault:
            await bury(self._redis, READER, entry_id, fields, repr(fault))
            return
        self._note_change(event)
        await self._publish(position, messages)
        LAG.set(max(0.0, time.time() - event.envelope.occurred_at.timestamp()))

    async def _publish(self, position: int, messages: Sequence[Message]) -> None:
        state = await self._publisher.publish(position, messages, expected_appended=self._appended)
        self._told = max(self._told, position)
        self._appended = state.appended
        for message in messages:
            NOTIFIED.labels(message.event).inc()

    def _note_change(self, event: Event) -> None:
        with suppress(msgspec.ValidationError):
            show_id = show_of(event)
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
        await self._publish(self._told | 1, counted)
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


def told_at(position: Position) -> int:
    """An event's place in what was told: grows with epoch and position, and is even."""
    return (position.epoch << 40 | position.position) << 1


def position_of(told: int) -> Position:
    """The last event that was told."""
    return Position(told >> 41, (told >> 1) & ((1 << 40) - 1))
