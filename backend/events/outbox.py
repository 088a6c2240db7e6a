"""The writing side of the outbox: append an event in the transaction of its change, then wake the
relay.

The wake-up only shortens the relay's poll interval, and losing one costs milliseconds. So it is
sent after the commit, coalesced with others, and no request awaits it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import msgspec
from redis.asyncio import Redis

from backend.kernel import correlation
from backend.kernel.database import Connection
from backend.kernel.supervisor import running

WAKE_CHANNEL = "gittix:relay:wake"
# The same spacing as the relay's turns: the relay could not use more frequent wake-ups.
SPACING_SECONDS = 0.005


async def append(
    connection: Connection,
    type: str,
    subject: UUID,
    version: int,
    data: Any,
    *,
    causation_id: UUID | None = None,
) -> None:
    """Append one event, published if and only if this transaction commits.

    Call it after the transaction has taken its row locks: the relay relies on this order (see
    `backend.events.relay`). Raises correlation.Unbound without a correlation id.
    """
    await connection.execute(
        "select events.append($1, $2, $3, $4, $6) from events.bind_correlation($5)",
        type,
        subject,
        version,
        msgspec.to_builtins(data),
        correlation.current(),
        causation_id,
    )


class RelayWaker:
    """Wakes the relay: call it after a commit.

    The first call sends a wake-up at once; further calls within SPACING_SECONDS are coalesced into
    one.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._wanted = asyncio.Event()

    def __call__(self) -> None:
        self._wanted.set()

    async def send(self) -> None:
        """Send the wake-ups of the calls, forever. Raises RedisError or TimeoutError."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            async with asyncio.timeout(1):
                await self._redis.publish(WAKE_CHANNEL, b"")
            await asyncio.sleep(SPACING_SECONDS)


@asynccontextmanager
async def relay_waker(redis: Redis) -> AsyncIterator[RelayWaker]:
    waker = RelayWaker(redis)
    async with running(("relay-waker", waker.send)):
        yield waker
