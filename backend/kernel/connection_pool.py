"""The places of a pool of connections to Postgres, for whom they are kept, and how a connection
goes from hand to hand.

To give a connection back to asyncpg and to take it out again costs a task, three timers and a
proxy, more than a small statement costs this process, and in a rush every request would pay it.
So who is done hands the connection to who has waited longest, and only who leaves nobody waiting
gives it back. One that a fault left goes back too: asyncpg looks it over.
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
    Slot = asyncio.Future[Connection | None]
else:
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool


class ConnectionPool:
    """As many as the pool may have connections; `waits` is told how long each was waited for."""

    def __init__(self, pool: Pool, *, waits: Histogram) -> None:
        self._pool = pool
        self._waits = waits
        self._free = pool.get_max_size()
        self._waiting: deque[Slot] = deque()

    async def acquire(self, seconds: float) -> Connection:
        """A connection, first for who has waited longest. Raises TimeoutError."""
        began = time.perf_counter()
        try:
            return await self._turn(seconds) or await self._acquired(seconds)
        finally:
            self._waits.observe(time.perf_counter() - began)

    async def release(self, connection: Connection, *, sound: bool) -> None:
        """`sound` means that its user met no fault."""
        if sound and _is_open(connection) and self._hand(connection):
            return
        self._leave()
        await self._pool.release(connection)  # type: ignore[arg-type]

    async def _turn(self, seconds: float) -> Connection | None:
        """A place, with the connection of who had it before, unless that one gave it back."""
        if self._free:
            self._free -= 1
            return None
        place: Slot = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(seconds):
                return await place
        except BaseException:
            # Its turn may have come at the very moment at which it was called off.
            if place.done() and not place.cancelled():
                await self._pass_on(place.result())
            raise

    async def _acquired(self, seconds: float) -> Connection:
        try:
            return await self._pool.acquire(timeout=seconds)
        except BaseException:
            self._leave()
            raise

    async def _pass_on(self, connection: Connection | None) -> None:
        if connection is None:
            self._leave()
        else:
            await self.release(connection, sound=True)

    def _leave(self) -> None:
        if not self._hand(None):
            self._free += 1

    def _hand(self, connection: Connection | None) -> bool:
        """Give a place to who has waited longest. Returns whether somebody had."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(connection)
                return True
        return False


def _is_open(connection: Connection) -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        # asyncpg took it back as it closed.
        return False
