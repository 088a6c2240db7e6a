"""The state of Postgres, Redis and the payment ledger, read so that the three can be compared.

Redis and the ledger are read first, one after the other, and Postgres last, in one read-only
snapshot. Everything that Redis or the ledger has is then in the snapshot, if it was ever committed.
In the other direction, a row of the snapshot may not have reached them yet, so a missing entry
counts as a violation only after some time.
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
from backend.check.ledger import Ledger
from backend.check.push_log import PushLog
from backend.check.result import STATEMENT_TIMEOUT, Unchecked
from backend.kernel import database
from backend.kernel.database import Connection
from backend.kernel.redis import open_redis
from backend.kernel.settings import Settings

# Redis and the ledger are read within this time.
READ_SECONDS = 60.0


_T = TypeVar("_T")


class CheckError(Exception):
    """The check cannot run, because Postgres cannot be read. The message is a sentence."""


class RedisState(NamedTuple):
    """Settings and state of Redis.

    `ahead_seconds` is how far its clock is ahead of Postgres's, less the duration of the
    measurement.
    """

    configuration: Mapping[str, str] | Unchecked
    last_write: str
    ahead_seconds: float


@dataclass(frozen=True)
class Snapshot:
    """`connection` is in the Postgres snapshot.

    Each other part was read after `began` (Postgres's clock) or has the reason why it was not read.
    """

    connection: Connection
    began: datetime
    redis: RedisState | Unchecked
    event_stream: EventLog | Unchecked
    push_log: PushLog | Unchecked
    ledger: Ledger | Unchecked


@asynccontextmanager
async def open_snapshot(settings: Settings) -> AsyncIterator[Snapshot]:
    """Read Redis and the ledger, and open the Postgres snapshot.

    Raises CheckError, also while the block runs.
    """
    try:
        connection = await database.connect(
            settings.role_database_url("check"),
            name="gittix-check",
            statement_timeout=STATEMENT_TIMEOUT,
        )
        try:
            began: datetime = await connection.fetchval("select clock_timestamp()")
            state, events, push = await _redis(connection, settings)
            intents = await _bounded(ledger.read(connection, settings))
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                yield Snapshot(connection, began, state, events, push, intents)
        finally:
            await connection.close()
    except asyncpg.UndefinedTableError as error:
        raise CheckError(f"the database is not migrated: {error}") from error
    except (*database.UNAVAILABLE, asyncpg.PostgresError, TimeoutError) as error:
        raise CheckError(f"Postgres can't be read: {error!r}") from error


async def _redis(
    connection: Connection, settings: Settings
) -> tuple[RedisState | Unchecked, EventLog | Unchecked, PushLog | Unchecked]:
    if not settings.redis_url:
        unset = Unchecked("REDIS_URL is not set")
        return unset, unset, unset
    redis = open_redis(settings.redis_url, name="gittix-check")
    try:
        state = await _bounded(_redis_state(connection, redis))
        events = await _bounded(event_stream.read(redis))
    finally:
        await redis.aclose()
    return state, events, await _push_log(settings)


async def _push_log(settings: Settings) -> PushLog | Unchecked:
    if settings.push_backend != "gateway":
        return Unchecked("messages are with hosted Pusher", is_error=False)
    redis = open_redis(settings.push_log_url, name="gittix-check")
    try:
        return await _bounded(push_log.read(redis))
    finally:
        await redis.aclose()


async def _bounded(reading: Awaitable[_T]) -> _T | Unchecked:
    try:
        async with asyncio.timeout(READ_SECONDS):
            return await reading
    except ledger.LedgerError as error:
        return Unchecked(str(error), is_error=error.is_error)
    except TimeoutError:
        return Unchecked(f"reading took longer than {READ_SECONDS:.0f} seconds")
    except (RedisError, OSError) as error:
        return Unchecked(f"Redis does not answer: {error}")
    except ValueError as error:
        return Unchecked(f"an entry is malformed: {error!r}")


async def _redis_state(connection: Connection, redis: Redis) -> RedisState:
    before: datetime = await connection.fetchval("select clock_timestamp()")
    seconds, microseconds = await redis.time()
    after: datetime = await connection.fetchval("select clock_timestamp()")
    clock = seconds + microseconds / 1e6
    ahead = max(clock - after.timestamp(), 0) + min(clock - before.timestamp(), 0)
    persistence = await redis.info("persistence")
    return RedisState(await _configuration(redis), persistence["aof_last_write_status"], ahead)


async def _configuration(redis: Redis) -> Mapping[str, str] | Unchecked:
    try:
        return {name: str(value) for name, value in (await redis.config_get("*")).items()}
    except ResponseError as error:
        return Unchecked(f"Redis refuses to return its configuration: {error}", is_error=False)
