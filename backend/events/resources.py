"""What a noun that tells of its changes stands on: its database pool, Redis, and the hint that wakes the relay."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

from redis.asyncio import Redis

from backend.events.outbox import RelayHint, relay_hint
from backend.kernel import database
from backend.kernel.database import Pool
from backend.kernel.health import Check
from backend.kernel.redis import open_redis
from backend.kernel.settings import Settings


class Resources(NamedTuple):
    pool: Pool
    redis: Redis
    hint: RelayHint

    def checks(self) -> Mapping[str, Check]:
        """For /readyz."""
        return {"database": self._database, "redis": self._redis}

    async def _database(self) -> None:
        async with database.connection(self.pool) as connection:
            await connection.fetchval("select 1")

    async def _redis(self) -> None:
        await self.redis.get("gittix:ping")


@asynccontextmanager
async def open_resources(settings: Settings, noun: str) -> AsyncIterator[Resources]:
    """Open them under the noun's own role; closed when the block ends."""
    name = f"gittix-{noun}"
    redis = open_redis(settings.redis_url, name=name)
    pool = await database.open_pool(
        settings.noun_database_url(noun), name=name, size=settings.database_pool_size
    )
    try:
        async with relay_hint(redis) as hint:
            yield Resources(pool, redis, hint)
    finally:
        await database.close_pool(pool)
        await redis.aclose()
