"""Failover of real processes: one of two is active, and after its kill -9 the other takes over."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from backend.events.stream import STREAM
from backend.push import push_log as push
from tests.embedded.running import clean_environment
from tests.events.log import numbers, record, record_orders
from tests.system import System, until

TAKEOVER_SECONDS = 5.0
START_SECONDS = 30.0


class Pair:
    """Two processes of one kind; the first holds the lease, the other waits for it."""

    def __init__(self, system: System, owner: Any, kind: str, lease: str) -> None:
        self._system = system
        self._owner = owner
        self._kind = kind
        self._lease = lease
        self.processes: list[asyncio.subprocess.Process] = []

    async def start(self) -> None:
        for count in (1, 2):
            self.processes.append(
                await asyncio.create_subprocess_exec(
                    sys.executable,
                    *("-m", "backend.cli", self._kind),
                    env=clean_environment() | self._system.environment | {"LOG_LEVEL": "error"},
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.DEVNULL,
                )
            )
            await until(partial(self._candidates, count), seconds=START_SECONDS)

    async def stop(self) -> None:
        for process in self.processes:
            if process.returncode is None:
                process.kill()
            await process.wait()

    def kill_active(self) -> float:
        """Kill the active process with SIGKILL. Returns the time, by the monotonic clock."""
        os.kill(self.processes[0].pid, signal.SIGKILL)
        return time.monotonic()

    async def holders(self) -> int:
        """Return the number of sessions that hold the lease."""
        held: int = await self._owner.fetchval(
            "select count(*) from pg_locks l join pg_stat_activity a using (pid)"
            " where l.locktype = 'advisory' and l.granted and a.application_name = $1"
            " and a.datname = current_database()",
            self._lease,
        )
        return held

    async def candidates(self) -> int:
        """Return the number of sessions that hold the lease or wait for it."""
        there: int = await self._owner.fetchval(
            "select count(*) from pg_stat_activity"
            " where application_name = $1 and datname = current_database()",
            self._lease,
        )
        return there

    async def _candidates(self, count: int) -> bool:
        return await self.candidates() == count and await self.holders() == 1


@asynccontextmanager
async def pair(system: System, kind: str, lease: str) -> AsyncIterator[Pair]:
    both = Pair(system, await system.connect(), kind, lease)
    try:
        await both.start()
        yield both
    finally:
        await both.stop()


@pytest.fixture
async def owner(system: System) -> Any:
    return await system.connect()


async def test_the_standby_relay_takes_over_within_seconds_of_a_kill(
    system: System, owner: Any
) -> None:
    redis = system.redis()
    written = 0

    async def write(seconds: float) -> None:
        nonlocal written
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await record(owner, written)
            written += 1

    async def published(number: int) -> bool:
        last = await redis.xrevrange(STREAM, count=1)
        return bool(last) and int(last[0][0].partition(b"-")[2]) > number

    async with pair(system, "relay", "gittix-relay") as relays:
        await write(0.3)
        await until(lambda: published(0))
        assert await relays.holders() == 1
        # Kill the relay while it works: rows have positions and are not appended, or are appended
        # without a reply.
        writing = asyncio.create_task(write(0.6))
        await asyncio.sleep(0.3)
        killed_at = relays.kill_active()
        before = len(await numbers(redis))
        await until(lambda: published(before), seconds=TAKEOVER_SECONDS + 5)
        took = time.monotonic() - killed_at
        await writing
        await until(lambda: published(written - 1), seconds=10)
        assert await relays.holders() == 1
    assert took < TAKEOVER_SECONDS
    assert await numbers(redis) == list(range(written))


async def test_the_standby_notifier_takes_over_within_seconds_of_a_kill(
    system: System, owner: Any
) -> None:
    redis = system.redis()

    async def published_totals() -> list[int]:
        """Return the totals of the published orders, in order."""
        return [
            json.loads(message.data)["order"]["total"]
            for entry in await redis.xrange(push.STREAM)
            for message in push.read_entry(*entry).messages
            if message.event == "order.created"
        ]

    async def is_published(number: int) -> bool:
        return number in await published_totals()

    await system.start("relay")
    async with pair(system, "worker", "gittix-notifier") as workers:
        await record_orders(owner, *range(50))
        await until(lambda: is_published(0))
        killed_at = workers.kill_active()
        await record_orders(owner, *range(50, 60))
        await until(lambda: is_published(50), seconds=TAKEOVER_SECONDS + 5)
        took = time.monotonic() - killed_at
        await until(lambda: is_published(59))
        assert await workers.holders() == 1
    assert took < TAKEOVER_SECONDS
    assert await published_totals() == list(range(60))
