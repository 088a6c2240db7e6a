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
    `backend.events.relay`).
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
    """Wakes the relay after a commit.

    The first call is sent at once; further calls within SPACING_SECONDS are coalesced into one
    message.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._wanted = asyncio.Event()

    def __call__(self) -> None:
        self._wanted.set()

    async def send(self) -> None:
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
