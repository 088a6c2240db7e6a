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
from contextlib import suppress
from typing import NamedTuple

import msgspec
import structlog
from prometheus_client import Counter, Gauge
from redis.asyncio import Redis

from backend.events.catalogue import Envelope
from backend.events.outbox import HINT_CHANNEL
from backend.events.stream import START, EventStream, Position
from backend.kernel import database
from backend.kernel.database import Connection
from backend.kernel.lease import lease
from backend.kernel.supervised import heartbeat, running

log = structlog.get_logger()

LEASE = 0x72656C61
# What a lost hint costs at the most.
POLL_SECONDS = 0.1
BATCH = 500
RETENTION = "7 days"
TIDY_SECONDS = 30.0
# Entries that every reader is past are still kept, for people who look.
KEPT = 10_000
PURGE_BATCH = 10_000

PUBLISHED = Counter("gittix_relay_published", "Events appended to the stream")
REWINDS = Counter("gittix_relay_rewinds", "Times the stream was not where the relay expected it")
OUTBOX_AGE = Gauge(
    "gittix_outbox_oldest_unpublished_seconds", "Age of the oldest event that is not on the stream"
)


class Relay:
    """`run` holds the lease and publishes until it is cancelled or loses a connection."""

    def __init__(self, database_url: str, redis: Redis) -> None:
        self._url = database_url
        self._redis = redis
        self._stream = EventStream(redis)
        self._woken = asyncio.Event()
        self._published: Published | None = None

    async def run(self) -> None:
        async with lease(self._url, LEASE, name="relay", plan_cache_mode="force_custom_plan") as connection:
            log.info("relay active")
            self._published = None
            async with running(("relay-hints", self._hints)):
                await self._publish_for_ever(connection)

    async def _hints(self) -> None:
        async with self._redis.pubsub() as hints:
            await hints.subscribe(HINT_CHANNEL)
            while True:
                if await hints.get_message(ignore_subscribe_messages=True, timeout=1.0):
                    self._woken.set()

    async def _publish_for_ever(self, connection: Connection) -> None:
        clock = asyncio.get_running_loop().time
        tidy_at = clock() + TIDY_SECONDS
        while True:
            heartbeat("relay")
            self._woken.clear()
            if not await self.turn(connection):
                OUTBOX_AGE.set(0)
                # Python 3.11's wait_for can swallow a cancellation that comes together with the hint.
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._woken.wait()
            if clock() >= tidy_at:
                await purge(connection)
                await self._stream.trim(KEPT)
                tidy_at = clock() + TIDY_SECONDS

    async def turn(self, connection: Connection) -> bool:
        """Number a batch and append a batch. Returns whether there may be more to do at once."""
        if self._published is None:
            # Before anything is numbered: a restored database must not catch up with the stream unnoticed.
            self._published = await agree(connection, await self._stream.last())
        expected = self._published
        numbered = await number(connection, BATCH)
        rows = await unpublished(connection, expected.log_position, BATCH)
        if not rows:
            return numbered == BATCH
        entries = [(Position(expected.epoch, row["position"]), _encode(row)) for row in rows]
        last, appended = await self._stream.append(expected.last_id, entries)
        if not appended:
            log.warning("the stream is not where it was", expected=str(expected.last_id), found=str(last))
            REWINDS.inc()
            self._published = None
            return True
        self._published = Published(last, expected.epoch, last.position)
        PUBLISHED.inc(len(entries))
        OUTBOX_AGE.set(rows[0]["age"])
        return True


class Published(NamedTuple):
    """How far the stream is: its last id, the epoch to publish under, and the log position to go on after."""

    last_id: Position
    epoch: int
    log_position: int


async def agree(connection: Connection, last: Position) -> Published:
    """Where to go on, by the stream's own word.

    A stream ahead of the database means that the database was restored: what it still has was published before, so a
    new epoch begins after it, and what it numbers from here on is new.
    """
    async with connection.transaction():
        row = await connection.fetchrow("select epoch, position, epoch_start from events.relay for update")
        assert row is not None
        epoch: int = row["epoch"]
        start: int = row["epoch_start"]
        if last > Position(epoch, row["position"]):
            epoch, start = last.epoch + 1, row["position"]
            await connection.execute("update events.relay set epoch = $1, epoch_start = $2", epoch, start)
            log.warning(
                "the database is behind the stream: a new epoch begins", epoch=epoch, stream=str(last)
            )
    if last == START:
        return Published(last, epoch, 0)
    # A stream that is still in an older epoch may have lost its tail too.
    return Published(last, epoch, last.position if last.epoch == epoch else min(start, last.position))


async def number(connection: Connection, limit: int) -> int:
    """Give committed rows their position. Returns how many."""
    count: int = await connection.fetchval(
        """
        with start as (
            select position from events.relay for update
        ), batch as (
            select b.id, row_number() over (order by b.id) as n
            from (select id from events.outbox where position is null order by id limit $1) b
        ), numbered as (
            update events.outbox o set position = start.position + batch.n
            from batch, start where o.id = batch.id
            returning 1
        ), moved as (
            update events.relay r set position = r.position + (select count(*) from numbered)
            where exists (select from numbered)
        )
        select count(*) from numbered
        """,
        limit,
    )
    return count


async def unpublished(connection: Connection, position: int, limit: int) -> list[database.Record]:
    return await connection.fetch(
        """
        select position, event_id, type, schema, subject, version, occurred_at, correlation_id, causation_id,
               data::text as data, extract(epoch from now() - occurred_at)::float8 as age
        from events.outbox where position > $1 order by position limit $2
        """,
        position,
        limit,
    )


async def purge(connection: Connection) -> None:
    """Forget published events older than the retention."""
    await connection.execute(
        f"""
        delete from events.outbox where id in (
            select id from events.outbox
            where occurred_at < now() - interval '{RETENTION}' and position is not null
            order by occurred_at limit {PURGE_BATCH}
        )
        """
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
