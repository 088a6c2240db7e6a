"""The relay: appends each committed outbox row to the stream, once and in order, whichever process
dies.

One relay is active. It holds a session advisory lock on a connection of its own; when its process
dies, Postgres releases the lock. A turn assigns positions to committed rows (dense, in a committed
transaction), then appends the rows that the stream does not have. The last id of the stream is the
only record of what was appended, so no second record can disagree with it: after a crash, a lost
tail or an emptied Redis, the relay reads that id and continues after it.

Positions are assigned in id order among the visible rows. A transaction appends its events after
its row locks, so of two changes of one ticket the later has the higher id and is never visible
without the earlier. A slow transaction gets its positions when it commits, and delays no other.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from backend.events import queries
from backend.events.catalogue import Envelope
from backend.events.metrics import (
    OUTBOX_AGE,
    OUTBOX_DEPTH,
    REWINDS,
    count_published,
    reset_gauges,
    update_gauges,
)
from backend.events.outbox import WAKE_CHANNEL
from backend.events.stream import START, EntryId, EventStream
from backend.kernel import database, tracing
from backend.kernel.database import Connection
from backend.kernel.health import Check
from backend.kernel.lease import lease
from backend.kernel.redis import is_full
from backend.kernel.shutdown import finish_before_cancel
from backend.kernel.supervisor import alive, heartbeat, running

log = structlog.get_logger()

LEASE = 0x72656C61
# The longest delay that a lost wake-up causes.
POLL_SECONDS = 0.1
BATCH = 400
# Turns start this far apart, and farther apart above the rate below, so that events committed in
# between share one round of statements. A single event is published without delay.
SPACING_SECONDS = 0.005
BUSY_SPACING_SECONDS = 0.02
BUSY_EVENTS_PER_SECOND = 1_000
# How often an idle relay checks whether the stream lost entries.
CHECK_SECONDS = 1.0
TRIM_SECONDS = 30.0
# So many of the newest entries stay on the stream after every reader has read them, for `gittix
# events tail`.
KEPT_ENTRIES = 10_000

# Settings of the relay's connection. Each statement is planned once for batches of any size: rows
# are found by ctid or index and joined by a hash.
PLANS = {
    "plan_cache_mode": "force_generic_plan",
    "enable_nestloop": "off",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
}


class Relay:
    """`run` holds the lease and publishes until it is cancelled or loses a connection."""

    def __init__(self, database_url: str, redis: Redis) -> None:
        self._url = database_url
        self._redis = redis
        self._stream = EventStream(redis)
        self._woken = asyncio.Event()
        self._published: Published | None = None
        # Rows that got their positions while the batch before them was appended.
        self._next_batch: list[database.Record] = []
        self._log_position: int | None = None

    async def run(self) -> None:
        async with lease(
            self._url, LEASE, name="relay", standby=reset_gauges, **PLANS
        ) as connection:
            log.info("relay active")
            self._published, self._next_batch = None, []
            async with running(("relay-wakeups", self._receive_wakeups)):
                try:
                    await self._publish_forever(connection)
                except RedisError as error:
                    # Redis is down or full, and no event gets out: the gauges must still show for
                    # how long.
                    await self._measure(connection)
                    if is_full(error):
                        # Each try to append ends before the next regular trim is due.
                        await self._stream.trim(KEPT_ENTRIES)
                    raise

    def checks(self) -> Mapping[str, Check]:
        """Return the checks for /readyz; the active relay and a standby are both ready."""
        return {
            "database": self._database_answers,
            "redis": self._redis_answers,
            "relay": alive("relay"),
        }

    async def _database_answers(self) -> None:
        # The lease's connection is busy; opening another takes milliseconds.
        await (await database.connect(self._url, name="gittix-relay-ready")).close()

    async def _redis_answers(self) -> None:
        await self._redis.get("gittix:ping")

    async def _receive_wakeups(self) -> None:
        async with self._redis.pubsub() as wakeups:
            await wakeups.subscribe(WAKE_CHANNEL)
            while True:
                if await wakeups.get_message(ignore_subscribe_messages=True, timeout=1.0):
                    self._woken.set()

    async def _publish_forever(self, connection: Connection) -> None:
        clock = asyncio.get_running_loop().time
        started = clock()
        check_at = started + CHECK_SECONDS
        trim_at = started + TRIM_SECONDS
        while True:
            self._woken.clear()
            since, started = started, clock()
            reached = self._log_position or 0
            # A turn is finished even when this task is cancelled: a statement left running would
            # keep its locks, and the next relay would wait for them.
            more = await finish_before_cancel(self.turn(connection))
            busy = (self._log_position or 0) - reached > BUSY_EVENTS_PER_SECOND * (started - since)
            heartbeat("relay", "active")
            if clock() >= check_at:
                await self._check_stream(connection)
                check_at = clock() + CHECK_SECONDS
            if clock() >= trim_at:
                older = await self._trim_and_purge(connection)
                trim_at = clock() + (CHECK_SECONDS if older else TRIM_SECONDS)
            if more:
                continue
            OUTBOX_AGE.set(0)
            # Not wait_for: in Python 3.11 it can swallow a cancellation that arrives together with
            # the wake-up.
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._woken.wait()
            spacing = BUSY_SPACING_SECONDS if busy else SPACING_SECONDS
            await asyncio.sleep(max(0.0, started + spacing - clock()))

    async def turn(self, connection: Connection) -> bool:
        """Assign positions to one batch and append one batch.

        Returns whether more rows may be waiting.

        While a full batch is appended, the next batch gets its positions; if the append fails, that
        batch is read again by its positions.
        """
        if self._published is None:
            # Before any position is assigned: otherwise a restored database could reach the
            # stream's position unnoticed.
            self._published = await reconcile(connection, await self._stream.last())
            self._log_position = self._published.log_position
        reached = self._published.log_position
        rows = self._next_batch or await self._assign_positions(connection)
        self._next_batch = []
        more = len(rows) == BATCH
        if reached < (rows[0]["position"] - 1 if rows else self._published.numbered):
            # Rows that already have positions come first: a relay died before it appended them, or
            # the stream lost them.
            rows = await queries.unpublished_rows(connection, reached, BATCH)
            more = True
        if not rows:
            self._published = self._published._replace(numbered=reached)
            return False
        OUTBOX_AGE.set(rows[0]["age"])
        if not more or rows[-1]["position"] < self._published.numbered:
            return not await self._append(rows) or more
        # Assigning waits for Postgres's disk, appending waits for Redis: run both at the same time.
        numbering = asyncio.create_task(self._assign_positions(connection))
        try:
            appended = await self._append(rows)
        finally:
            next_batch = await numbering
        if appended:
            self._next_batch = next_batch
        return True

    async def _assign_positions(self, connection: Connection) -> list[database.Record]:
        rows = await queries.assign_positions(connection, BATCH)
        if rows and self._published is not None:
            self._published = self._published._replace(numbered=rows[-1]["position"])
        return rows

    async def _append(self, rows: Sequence[database.Record]) -> bool:
        """Append rows if the stream's last id is as expected; else the next turn reads it again."""
        published = self._published
        assert published is not None
        entries = [(EntryId(published.epoch, row["position"]), _encode(row)) for row in rows]
        last, appended = await self._stream.append(published.last_id, entries)
        if not appended:
            self._rewind(published.last_id, last)
            return False
        # Read again: `_assign_positions` may have replaced it while this append was awaited.
        assert self._published is not None
        self._published = self._published._replace(last_id=last, log_position=last.position)
        self._log_position = last.position
        count_published(rows)
        _log_and_trace(rows)
        return True

    async def _check_stream(self, connection: Connection) -> None:
        """Update the gauges, and compare the stream's last id with the expected one.

        An idle relay appends nothing, so only this check detects that Redis lost entries.
        """
        await update_gauges(self._stream, self._redis)
        await self._measure(connection)
        if self._published is not None:
            last = await self._stream.last()
            if last != self._published.last_id:
                self._rewind(self._published.last_id, last)

    async def _measure(self, connection: Connection) -> None:
        depth, age = await queries.unpublished_backlog(connection, self._log_position)
        OUTBOX_DEPTH.set(depth)
        OUTBOX_AGE.set(age)

    def _rewind(self, expected: EntryId, found: EntryId) -> None:
        log.warning("stream position changed", expected=str(expected), found=str(found))
        REWINDS.inc()
        self._published, self._next_batch = None, []
        self._woken.set()

    async def _trim_and_purge(self, connection: Connection) -> bool:
        """Trim the stream, and delete old published rows from the outbox.

        Returns whether more rows may be due.
        """
        await self._stream.trim(KEPT_ENTRIES)
        return (
            self._log_position is not None
            and await queries.purge(connection, self._log_position) == queries.PURGE_BATCH
        )


class Published(NamedTuple):
    """The stream's last id, the epoch of the next entries, and the log position to continue after.

    `numbered` is the last position that this relay knows to be assigned.
    """

    last_id: EntryId
    epoch: int
    log_position: int
    numbered: int


async def reconcile(connection: Connection, last: EntryId) -> Published:
    """Return where to continue, from the stream's last id.

    A stream ahead of the database means that the database was restored from a backup. The positions
    in the backup were published before, so a new epoch begins after them, and every position
    assigned from now on is new.
    """
    async with connection.transaction():
        row = await connection.fetchrow(
            "select epoch, position, epoch_start from events.relay for update"
        )
        assert row is not None
        epoch: int = row["epoch"]
        start: int = row["epoch_start"]
        if last > EntryId(epoch, row["position"]):
            epoch, start = last.epoch + 1, row["position"]
            await connection.execute(
                "update events.relay set epoch = $1, epoch_start = $2", epoch, start
            )
            log.warning(
                "database is behind the stream; starting a new epoch",
                epoch=epoch,
                stream=str(last),
            )
    if last == START:
        return Published(last, epoch, 0, row["position"])
    # A stream that is still in an older epoch may have lost its tail as well.
    reached = last.position if last.epoch == epoch else min(start, last.position)
    return Published(last, epoch, reached, row["position"])


def _log_and_trace(rows: Sequence[database.Record]) -> None:
    """Log each event at debug level, and record its trace span."""
    if log.is_enabled_for(logging.DEBUG):
        for row in rows:
            log.debug(
                "event published",
                type=row["type"],
                event_id=str(row["event_id"]),
                correlation_id=str(row["correlation_id"] or ""),
            )
    if tracing.enabled():
        for row in rows:
            # The span lasts from the change to its publication.
            tracing.record_span(
                "relay " + row["type"], row["correlation_id"], row["occurred_at"].timestamp()
            )


def _encode(row: database.Record) -> bytes:
    return msgspec.json.encode(
        Envelope(
            id=row["event_id"],
            type=row["type"],
            schema=row["schema"],
            subject=row["subject"],
            version=row["version"],
            occurred_at=row["occurred_at"],
            correlation_id=row["correlation_id"],
            causation_id=row["causation_id"],
            data=msgspec.Raw(row["data"].encode()),
        )
    )
