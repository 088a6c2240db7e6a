"""A lease that makes one process of its kind active: a session advisory lock on a dedicated
connection.

When the process ends for any reason, Postgres closes the connection and releases the lock. When
the connection breaks, the next statement of the holder fails and the holder tries to acquire the
lease again.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import asyncpg

from backend.kernel import database
from backend.kernel.database import Connection
from backend.kernel.metrics import LEASE_HELD
from backend.kernel.supervisor import heartbeat

# The poll interval of standbys. Waiting in Postgres would hold a snapshot and keep dead rows from
# vacuum.
POLL_SECONDS = 0.1
CLOSE_SECONDS = 2.0


@asynccontextmanager
async def lease(
    url: str, number: int, *, name: str, standby: Callable[[], None] | None = None, **settings: str
) -> AsyncIterator[Connection]:
    """Wait for the lock `number`, and hold it on the yielded connection while the block runs.

    `standby` is called at each poll while another process holds the lock; `settings` are Postgres
    settings of the connection. Raises one of database.UNAVAILABLE.
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
