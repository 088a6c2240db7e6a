"""One active process of its kind: a session advisory lock on a connection of its own.

When the process dies, however it dies, Postgres sees the connection end and frees the lock; when the connection breaks,
the holder's next statement fails and it starts over as a candidate.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import asyncpg

from backend.kernel import database
from backend.kernel.database import Connection
from backend.kernel.metrics import LEASE_HELD
from backend.kernel.supervisor import heartbeat

# How soon a lease that is given back is taken up. To wait in Postgres would hold a snapshot, and keep dead rows alive.
POLL_SECONDS = 0.1
CLOSE_SECONDS = 2.0


@asynccontextmanager
async def lease(
    url: str, number: int, *, name: str, standby: Callable[[], None] | None = None, **settings: str
) -> AsyncIterator[Connection]:
    """Wait for the lock `number`, and hold it on the yielded connection while the block runs.

    `standby` is called while another process has it.
    """
    connection = await database.connect(url, name=f"gittix-{name}", **settings)
    try:
        while not await connection.fetchval("select pg_try_advisory_lock($1)", number):
            heartbeat(name, "standby")
            if standby is not None:
                standby()
            await asyncio.sleep(POLL_SECONDS)
        LEASE_HELD.labels(name).set(1)
        yield connection
    finally:
        LEASE_HELD.labels(name).set(0)
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await connection.close(timeout=CLOSE_SECONDS)
