"""What the stores say, gathered so that one part can be held against the others.

Redis and the ledger are read first, one after the other, and Postgres last, in one read-only snapshot: whatever they
say happened is then in the snapshot, if it was ever committed. The other way about, what the snapshot has may not have
reached them yet, so that is judged by age.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, TypeVar

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from backend.check import event_stream, ledger, push_log
from backend.check.event_stream import EventLog
from backend.check.finding import STATEMENT_TIMEOUT, Unseen
from backend.check.ledger import Ledger
from backend.check.push_log import PushLog
from backend.kernel import database
from backend.kernel.database import Connection
from backend.kernel.redis import open_redis
from backend.kernel.settings import Settings

# Redis and the ledger are read within this time.
READ_SECONDS = 60.0


_T = TypeVar("_T")


class CannotLook(Exception):
    """Postgres can't be asked, so nothing can be said; the message is a sentence."""


class RedisFacts(NamedTuple):
    """What Redis says of itself. `ahead_seconds` is how far its clock is before Postgres's, beyond what asking took."""

    configuration: Mapping[str, str] | Unseen
    last_write: str
    ahead_seconds: float


@dataclass(frozen=True)
class Evidence:
    """`rows` is the snapshot; each of the others is what was read after `began`, by Postgres's clock, or why it was not."""

    rows: Connection
    began: datetime
    redis: RedisFacts | Unseen
    event_stream: EventLog | Unseen
    push_log: PushLog | Unseen
    ledger: Ledger | Unseen


@asynccontextmanager
async def gathered(settings: Settings) -> AsyncIterator[Evidence]:
    """Raises CannotLook, while the block runs as well."""
    try:
        connection = await database.connect(
            settings.database_url, name="gittix-check", statement_timeout=STATEMENT_TIMEOUT
        )
        try:
            began: datetime = await connection.fetchval("select clock_timestamp()")
            facts, events, told = await _redis(connection, settings)
            money = await _bounded(ledger.read(connection, settings))
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                yield Evidence(connection, began, facts, events, told, money)
        finally:
            await connection.close()
    except asyncpg.UndefinedTableError as fault:
        raise CannotLook(f"the database is not migrated: {fault}") from fault
    except (*database.UNAVAILABLE, asyncpg.PostgresError, TimeoutError) as fault:
        raise CannotLook(f"Postgres can't be asked: {fault!r}") from fault


async def _redis(
    connection: Connection, settings: Settings
) -> tuple[RedisFacts | Unseen, EventLog | Unseen, PushLog | Unseen]:
    if not settings.redis_url:
        unset = Unseen("REDIS_URL is not set")
        return unset, unset, unset
    redis = open_redis(settings.redis_url, name="gittix-check")
    try:
        facts = await _bounded(_facts(connection, redis))
        events = await _bounded(event_stream.read(redis))
        if settings.push_backend != "gateway":
            return facts, events, Unseen("messages are with hosted Pusher", is_fault=False)
        return facts, events, await _bounded(push_log.read(redis))
    finally:
        await redis.aclose()


async def _bounded(reading: Awaitable[_T]) -> _T | Unseen:
    try:
        async with asyncio.timeout(READ_SECONDS):
            return await reading
    except ledger.Unread as fault:
        return Unseen(str(fault), is_fault=fault.is_fault)
    except TimeoutError:
        return Unseen(f"reading took longer than {READ_SECONDS:.0f} seconds")
    except (RedisError, OSError) as fault:
        return Unseen(f"Redis does not answer: {fault}")
    except ValueError as fault:
        return Unseen(f"what was read is not ours: {fault!r}")


async def _facts(connection: Connection, redis: Redis) -> RedisFacts:
    before: datetime = await connection.fetchval("select clock_timestamp()")
    seconds, microseconds = await redis.time()
    after: datetime = await connection.fetchval("select clock_timestamp()")
    clock = seconds + microseconds / 1e6
    ahead = max(clock - after.timestamp(), 0) + min(clock - before.timestamp(), 0)
    persistence = await redis.info("persistence")
    return RedisFacts(await _configuration(redis), persistence["aof_last_write_status"], ahead)


async def _configuration(redis: Redis) -> Mapping[str, str] | Unseen:
    try:
        return {name: str(value) for name, value in (await redis.config_get("*")).items()}
    except ResponseError as fault:
        return Unseen(f"Redis does not tell its configuration: {fault}", is_fault=False)
