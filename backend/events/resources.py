"""The connections of a service that publishes events: its database pool, Redis, and the relay's
waker.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

from redis.asyncio import Redis

from backend.events.outbox import RelayWaker, relay_waker
from backend.kernel import database
from backend.kernel.database import Pool
from backend.kernel.health import Check
from backend.kernel.redis import open_redis
from backend.kernel.settings import Settings


class Resources(NamedTuple):
    pool: Pool
    redis: Redis
    wake_relay: RelayWaker

    def checks(self) -> Mapping[str, Check]:
        """Return the readiness checks for /readyz."""
        return {"database": self._database, "redis": self._redis}

    async def _database(self) -> None:
        async with database.connection(self.pool) as connection:
            await connection.fetchval("select 1")

    async def _redis(self) -> None:
        await self.redis.get("gittix:ping")


@asynccontextmanager
async def open_resources(
    settings: Settings, service: str, **session: str
) -> AsyncIterator[Resources]:
    """Open the resources with the service's own database role; close them when the block ends.

    `session` are settings of its database sessions.
    """
    name = f"gittix-{service}"
    redis = open_redis(settings.redis_url, name=name)
    pool = await database.open_pool(
        settings.role_database_url(service),
        name=name,
        size=settings.database_pool_size,
        handoff=settings.database_pool_handoff == "on",
        **session,
    )
    try:
        async with relay_waker(redis) as wake_relay:
            yield Resources(pool, redis, wake_relay)
    finally:
        await database.close_pool(pool)
        await redis.aclose()
