"""The relay: what committed to the outbox is on the stream, once, in order, whatever dies.

One relay is active, by a session advisory lock on a connection of its own: when its process dies, Postgres frees it.
A turn gives committed rows their position (dense, committed) and then appends what the stream has not got. The stream's
own last id is the only record of what was appended, so there is none that could disagree with it: after a crash between
append and anything else, after a lost tail or an emptied Redis, the relay reads that id and goes on from there.

Rows are numbered in id order among what is visible. A transaction appends after its row locks, so of two changes of one
ticket the later has the higher id and can't be visible without the earlier; a slow transaction is numbered when it
commits and stalls nobody.
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

from backend.events.catalogue import Envelope
from backend.events.metrics import (
    OUTBOX_AGE,
    OUTBOX_DEPTH,
    REWINDS,
    count_published,
    forget_measures,
    measure,
)
from backend.events.outbox import HINT_CHANNEL
from backend.events.stream import START, EventStream, Position
from backend.kernel import database, tracing
from backend.kernel.database import Connection
from backend.kernel.health import Check
from backend.kernel.lease import lease
from backend.kernel.shutdown import whole
from backend.kernel.supervisor import alive, heartbeat, running

log = structlog.get_logger()

LEASE = 0x72656C61
# What a lost hint costs at the most.
POLL_SECONDS = 0.1
BATCH = 400
# Turns are this far apart, and farther at this rate: what commits meanwhile shares one round of statements. A lone event
# waits for none.
SPACING_SECONDS = 0.005
BUSY_SPACING_SECONDS = 0.02
BUSY_EVENTS_PER_SECOND = 1_000
# How soon an idle relay sees that the stream has lost what was on it.
LOOK_SECONDS = 1.0
RETENTION = "7 days"
TIDY_SECONDS = 30.0
# Entries that every reader is past are still kept, for people who look.
KEPT = 10_000
PURGE_BATCH = 10_000
COUNTED = 100_000

# Planned once, for a batch of any size: rows are found by their place and joined by a hash.
PLANS = {
    "plan_cache_mode": "force_generic_plan",
    "enable_nestloop": "off",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
}

COLUMNS = """
    position, event_id, type, schema, subject, version, occurred_at, correlation_id, causation_id, data::text as data,
    extract(epoch from now() - occurred_at)::float8 as age
"""


class Relay:
    """`run` holds the lease and publishes until it is cancelled or loses a connection."""

    def __init__(self, database_url: str, redis: Redis) -> None:
        self._url = database_url
        self._redis = redis
        self._stream = EventStream(redis)
        self._woken = asyncio.Event()
        self._published: Published | None = None
        # What was numbered while the batch before it was appended.
        self._ahead: list[database.Record] = []
        self._reached: int | None = None

    async def run(self) -> None:
        async with lease(
            self._url, LEASE, name="relay", standby=forget_measures, **PLANS
        ) as connection:
            log.info("relay active")
            self._published, self._ahead = None, []
            async with running(("relay-hints", self._hints)):
                try:
                    await self._publish_for_ever(connection)
                except RedisError:
                    # Nothing gets out; how long that has been so must still be seen.
                    await self._measure(connection)
                    raise

    def checks(self) -> Mapping[str, Check]:
        """For /readyz; the active relay and one that stands by are both ready."""
        return {
            "database": self._database_answers,
            "redis": self._redis_answers,
            "relay": alive("relay"),
        }

    async def _database_answers(self) -> None:
        # The lease's own connection is at work, and one only takes milliseconds.
        await (await database.connect(self._url, name="gittix-relay-ready")).close()

    async def _redis_answers(self) -> None:
        await self._redis.get("gittix:ping")

    async def _hints(self) -> None:
        async with self._redis.pubsub() as hints:
            await hints.subscribe(HINT_CHANNEL)
            while True:
                if await hints.get_message(ignore_subscribe_messages=True, timeout=1.0):
                    self._woken.set()

    async def _publish_for_ever(self, connection: Connection) -> None:
        clock = asyncio.get_running_loop().time
        started = clock()
        look_at = started + LOOK_SECONDS
        tidy_at = started + TIDY_SECONDS
        while True:
            self._woken.clear()
            since, started = started, clock()
            reached = self._reached or 0
            # Who takes over would wait for a statement that was left alone.
            more = await whole(self.turn(connection))
            busy = (self._reached or 0) - reached > BUSY_EVENTS_PER_SECOND * (started - since)
            heartbeat("relay", "active")
            if clock() >= look_at:
                await self._look(connection)
                look_at = clock() + LOOK_SECONDS
            if clock() >= tidy_at:
                older = await self._tidy(connection)
                tidy_at = clock() + (LOOK_SECONDS if older else TIDY_SECONDS)
            if more:
                continue
            OUTBOX_AGE.set(0)
            # Python 3.11's wait_for can swallow a cancellation that comes together with the hint.
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._woken.wait()
            spacing = BUSY_SPACING_SECONDS if busy else SPACING_SECONDS
            await asyncio.sleep(max(0.0, started + spacing - clock()))

    async def turn(self, connection: Connection) -> bool:
        """Number a batch and append a batch. Returns whether there may be more to do at once.

        While a full batch is appended the next one is numbered; if the append fails, it is read again by its positions.
        """
        if self._published is None:
            # Before anything is numbered: a restored database must not catch up with the stream unnoticed.
            self._published = await agree(connection, await self._stream.last())
            self._reached = self._published.log_position
        reached = self._published.log_position
        rows = self._ahead or await self._number(connection)
        self._ahead = []
        more = len(rows) == BATCH
        if reached < (rows[0]["position"] - 1 if rows else self._published.numbered):
            # Rows that were numbered before, by a relay that died or for a stream that lost them, come first.
            rows = await unpublished(connection, reached, BATCH)
            more = True
        if not rows:
            self._published = self._published._replace(numbered=reached)
            return False
        OUTBOX_AGE.set(rows[0]["age"])
        if not more or rows[-1]["position"] < self._published.numbered:
            return not await self._append(rows) or more
        # One waits for Postgres's disk and the other for Redis, so they wait together.
        numbering = asyncio.create_task(self._number(connection))
        try:
            appended = await self._append(rows)
        finally:
            ahead = await numbering
        if appended:
            self._ahead = ahead
        return True

    async def _number(self, connection: Connection) -> list[database.Record]:
        rows = await number(connection, BATCH)
        if rows and self._published is not None:
            self._published = self._published._replace(numbered=rows[-1]["position"])
        return rows

    async def _append(self, rows: Sequence[database.Record]) -> bool:
        """Append rows if the stream is where it is expected; else the next turn asks it where it is."""
        published = self._published
        assert published is not None
        entries = [(Position(published.epoch, row["position"]), _encode(row)) for row in rows]
        last, appended = await self._stream.append(published.last_id, entries)
        if not appended:
            self._rewind(published.last_id, last)
            return False
        # Not what was read before: the next batch may have been numbered meanwhile.
        assert self._published is not None
        self._published = self._published._replace(last_id=last, log_position=last.position)
        self._reached = last.position
        count_published(rows)
        _say(rows)
        return True

    async def _look(self, connection: Connection) -> None:
        """An idle relay appends nothing, so nothing else would show it that Redis lost what was on the stream."""
        await measure(self._stream, self._redis)
        await self._measure(connection)
        if self._published is not None:
            last = await self._stream.last()
            if last != self._published.last_id:
                self._rewind(self._published.last_id, last)

    async def _measure(self, connection: Connection) -> None:
        depth, age = await waiting(connection, self._reached)
        OUTBOX_DEPTH.set(depth)
        OUTBOX_AGE.set(age)

    def _rewind(self, expected: Position, found: Position) -> None:
        log.warning("the stream is not where it was", expected=str(expected), found=str(found))
        REWINDS.inc()
        self._published, self._ahead = None, []
        self._woken.set()

    async def _tidy(self, connection: Connection) -> bool:
        """Forget what is old and told. Returns whether there may be more of it."""
        await self._stream.trim(KEPT)
        return self._reached is not None and await purge(connection, self._reached) == PURGE_BATCH


class Published(NamedTuple):
    """How far the stream is: its last id, the epoch to publish under, and the log position to go on after.

    `numbered` is the last position that was given, as far as this relay knows; up to there, rows have theirs already.
    """

    last_id: Position
    epoch: int
    log_position: int
    numbered: int


async def agree(connection: Connection, last: Position) -> Published:
    """Where to go on, by the stream's own word.

    A stream ahead of the database means that the database was restored: what it still has was published before, so a
    new epoch begins after it, and what it numbers from here on is new.
    """
    async with connection.transaction():
        row = await connection.fetchrow(
            "select epoch, position, epoch_start from events.relay for update"
        )
        assert row is not None
        epoch: int = row["epoch"]
        start: int = row["epoch_start"]
        if last > Position(epoch, row["position"]):
            epoch, start = last.epoch + 1, row["position"]
            await connection.execute(
                "update events.relay set epoch = $1, epoch_start = $2", epoch, start
            )
            log.warning(
                "the database is behind the stream: a new epoch begins",
                epoch=epoch,
                stream=str(last),
            )
    if last == START:
        return Published(last, epoch, 0, row["position"])
    # A stream that is still in an older epoch may have lost its tail too.
    reached = last.position if last.epoch == epoch else min(start, last.position)
    return Published(last, epoch, reached, row["position"])


async def number(connection: Connection, limit: int) -> list[database.Record]:
    """Give committed rows their position. Returns them, in order.

    Found again by `ctid`, which can't have moved: nobody but the lease's holder writes a row that has no position. A
    second relay that believes it is alone waits for the first one's lock and then finds its rows taken. It asks in words
    that no index knows for a row without a position, else Postgres may look through all of these for each batch.
    """
    return await connection.fetch(
        f"""
        with start as materialized (
            select position from events.relay for update
        ), batch as (
            select b.row, b.id, row_number() over (order by b.id) as n
            from (select ctid as row, id from events.outbox where position is null order by id limit {limit:d}) b
        ), numbered as (
            update events.outbox o set position = (select position from start) + batch.n
            from batch
            where o.ctid = any (array(select row from batch)) and o.id = batch.id and coalesce(o.position, 0) = 0
            returning o.*
        ), moved as (
            update events.relay set position = (select max(position) from numbered)
            where exists (select from numbered)
        )
        select {COLUMNS} from numbered order by position
        """
    )


async def unpublished(connection: Connection, position: int, limit: int) -> list[database.Record]:
    return await connection.fetch(
        f"select {COLUMNS} from events.outbox where position > $1 order by position limit $2",
        position,
        limit,
    )


async def waiting(connection: Connection, position: int | None) -> tuple[int, float]:
    """How many events wait, and the age in seconds of the oldest: after this position of the log, else after its last.

    What has no position yet is counted up to a bound: a relay that counts for long does not publish.
    """
    row = await connection.fetchrow(
        f"""
        select
            (select count(*) from (select from events.outbox where position is null limit {COUNTED}) unnumbered)
                + relay.position - coalesce($1, relay.position) as depth,
            coalesce(extract(epoch from clock_timestamp() - least(
                (
                    select occurred_at from events.outbox
                    where position > coalesce($1, relay.position) order by position limit 1
                ),
                (select occurred_at from events.outbox where position is null order by id limit 1)
            )), 0)::float8 as age
        from events.relay
        """,
        position,
    )
    assert row is not None
    return row["depth"], row["age"]


async def purge(connection: Connection, published: int) -> int:
    """Forget events older than the retention, up to this position of the log. Returns how many.

    Only the log's lowest positions are looked at: an idle purge reads a page or two, however long the log.
    """
    status = await connection.execute(
        f"""
        delete from events.outbox where ctid = any (array(
            select lowest.row from (
                select ctid as row, occurred_at from events.outbox
                where position <= $1 order by position limit {PURGE_BATCH}
            ) lowest
            where occurred_at < now() - interval '{RETENTION}'
        ))
        """,
        published,
    )
    return int(status.removeprefix("DELETE "))


def _say(rows: Sequence[database.Record]) -> None:
    """Each event by itself, for who looks closely."""
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
            # From the change until others can read of it.
            tracing.passed(
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
