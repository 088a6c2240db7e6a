"""A queue in front of asyncpg's pool that passes a released connection directly to the next task.

On release, the connection passes to the longest-waiting task, and it returns to asyncpg's pool
only when no task is waiting, or after an unexpected error: asyncpg then ends an open transaction.
Releasing to asyncpg's pool and acquiring from it again costs a task, three timers and a proxy,
which every request would pay while requests wait (decision 26). Without hand-off, each release
goes through asyncpg's pool.
"""

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from prometheus_client import Histogram

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]
    # Resolves to a connection, or to None: the task then acquires one from asyncpg's pool.
    Waiter = asyncio.Future[Connection | None]
else:
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool


class ConnectionPool:
    """Grants as many slots as the pool has connections; `waits` records the time to acquire one."""

    def __init__(self, pool: Pool, *, waits: Histogram, handoff: bool = True) -> None:
        self._pool = pool
        self._waits = waits
        self._handoff = handoff
        self._free_slots = pool.get_max_size()
        self._waiters: deque[Waiter] = deque()

    async def acquire(self, seconds: float) -> Connection:
        """A connection, in order of arrival. Raises TimeoutError after this time."""
        began = time.perf_counter()
        try:
            return await self._slot(seconds) or await self._acquire_from_pool(seconds)
        finally:
            self._waits.observe(time.perf_counter() - began)

    async def release(self, connection: Connection, *, reusable: bool) -> None:
        """Release a connection; `reusable` means that its block raised no unexpected error."""
        if self._handoff and reusable and _is_open(connection) and self._grant(connection):
            return
        self._free_slot()
        await self._pool.release(connection)  # type: ignore[arg-type]

    async def _slot(self, seconds: float) -> Connection | None:
        """Wait for a slot. Returns the connection that came with it, if any."""
        if self._free_slots:
            self._free_slots -= 1
            return None
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(seconds):
                return await waiter
        except BaseException:
            # The slot may have been granted in the same iteration of the event loop.
            if waiter.done() and not waiter.cancelled():
                await self._pass_on(waiter.result())
            raise

    async def _acquire_from_pool(self, seconds: float) -> Connection:
        try:
            return await self._pool.acquire(timeout=seconds)
        except BaseException:
            self._free_slot()
            raise

    async def _pass_on(self, connection: Connection | None) -> None:
        if connection is None:
            self._free_slot()
        else:
            await self.release(connection, reusable=True)

    def _free_slot(self) -> None:
        if not self._grant(None):
            self._free_slots += 1

    def _grant(self, connection: Connection | None) -> bool:
        """Grant a slot to the longest-waiting task. Returns whether a task was waiting."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return True
        return False


def _is_open(connection: Connection) -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        # The proxy of a connection that closed belongs to asyncpg's pool again.
        return False
