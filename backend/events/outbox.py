"""The outbox as a service sees it: append an event in the transaction whose change it tells, then hint the relay.

The hint only saves the relay's poll interval: losing one costs milliseconds, so it is sent after the commit, coalesced,
and never awaited by a request.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import msgspec
from redis.asyncio import Redis

from backend.kernel.database import Connection
from backend.kernel.supervisor import running

HINT_CHANNEL = "gittix:hint"
# As far apart as the relay's turns: more often it would not look anyway.
SPACING_SECONDS = 0.005


async def append(
    connection: Connection,
    type: str,
    subject: UUID,
    version: int,
    data: Any,
    *,
    correlation_id: UUID | None,
    causation_id: UUID | None = None,
) -> None:
    """One event, published if and only if this transaction commits. Call it after the transaction's row locks."""
    await connection.execute(
        "select events.append($1, $2, $3, $4, $5, $6)",
        type,
        subject,
        version,
        msgspec.to_builtins(data),
        correlation_id,
        causation_id,
    )


class RelayHint:
    """Wakes the relay after a commit, at once when it is the first for a while; those soon after it are one message."""

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
                await self._redis.publish(HINT_CHANNEL, b"")
            await asyncio.sleep(SPACING_SECONDS)


@asynccontextmanager
async def relay_hint(redis: Redis) -> AsyncIterator[RelayHint]:
    hint = RelayHint(redis)
    async with running(("relay-hint", hint.send)):
        yield hint
