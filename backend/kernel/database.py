"""Connections to Postgres: bounded pools, and transactions in which every wait has a timeout.

`command_timeout` bounds the wait of the client, `statement_timeout` the work of the server, and
`idle_in_transaction_session_timeout` releases the locks of a process that stopped within a
transaction.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
import msgspec
from asyncpg.exceptions._base import DataError as UnencodableError

from backend.kernel import connection_pool, tracing
from backend.kernel.metrics import POOL_MAX, POOL_USED, POOL_WAIT
from backend.kernel.problems import Problem

Connection = connection_pool.Connection
Pool = connection_pool.Pool
Record = asyncpg.Record

ACQUIRE_SECONDS = 3.0
COMMAND_SECONDS = 10.0
CLOSE_SECONDS = 5.0
SESSION = {
    "statement_timeout": "5s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "10s",
    "timezone": "UTC",
    "jit": "off",
}

# Raised when Postgres is unreachable or overloaded; the caller may retry.
UNAVAILABLE = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.InterfaceError,
    # Raised by a statement on a connection that the server has just closed.
    asyncpg.InternalClientError,
    # A missing Unix socket and an unknown host name raise OSError, not ConnectionError.
    OSError,
)

# A value that cannot be stored: Postgres refused it, or asyncpg could not encode it (an
# InterfaceError).
UNSTORABLE = (asyncpg.DataError, UnencodableError)


# Open pools by their name, and the connection pool of each.
_open: defaultdict[str, set[Pool]] = defaultdict(set)
_connection_pools: dict[Pool, connection_pool.ConnectionPool] = {}


class _PlainConnection(asyncpg.Connection):
    """Skips the reset query on release, which costs a round trip for each request: no statement on
    a pooled connection changes the state of its session.
    """

    def get_reset_query(self) -> str:
        return ""


async def connect(url: str, *, name: str, **settings: str) -> Connection:
    """Open one connection outside any pool, for a lease or a tool. Raises one of UNAVAILABLE."""
    connection = await asyncpg.connect(
        url,
        timeout=ACQUIRE_SECONDS,
        command_timeout=COMMAND_SECONDS,
        server_settings=SESSION | {"application_name": name} | settings,
    )
    await _set_codecs(connection)
    return connection


async def open_pool(
    url: str, *, name: str, size: int, handoff: bool = True, **settings: str
) -> Pool:
    """Open a pool of at most `size` connections. Raises one of UNAVAILABLE.

    `name` is their application_name in pg_stat_activity, `settings` are those of their sessions.
    With `handoff`, a released connection passes directly to the next waiting task (decision 26).
    """
    pool: Pool = await asyncpg.create_pool(
        url,
        min_size=min(2, size),
        max_size=size,
        timeout=ACQUIRE_SECONDS,
        command_timeout=COMMAND_SECONDS,
        connection_class=_PlainConnection,
        init=_set_codecs,
        server_settings=SESSION | {"application_name": name} | settings,
    )
    _register(pool, name, handoff=handoff)
    return pool


async def close_pool(pool: Pool) -> None:
    """Close a pool; terminate the connections that are still in use after `CLOSE_SECONDS`."""
    _connection_pools.pop(pool, None)
    for pools in _open.values():
        pools.discard(pool)
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await pool.close()
    except TimeoutError:
        pool.terminate()


def connection(pool: Pool) -> AbstractAsyncContextManager[Connection]:
    """A connection for single statements, each its own transaction. Raises one of UNAVAILABLE."""
    return _traced(pool) if tracing.enabled() else _Acquired(pool)


@asynccontextmanager
async def _traced(pool: Pool) -> AsyncIterator[Connection]:
    with tracing.span("postgres statements"):
        async with _Acquired(pool) as taken:
            yield taken


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """A connection in a transaction: committed when the block ends, rolled back when it raises.

    Raises one of UNAVAILABLE.
    """
    with tracing.span("postgres transaction"):
        async with _Acquired(pool) as taken, taken.transaction():
            yield taken


class _Acquired(AbstractAsyncContextManager[Connection]):
    """A connection of the pool, while the block runs."""

    __slots__ = ("_acquired", "_connection_pool")

    def __init__(self, pool: Pool) -> None:
        if pool not in _connection_pools:
            raise asyncpg.InterfaceError("the pool is closed")
        self._connection_pool = _connection_pools[pool]

    async def __aenter__(self) -> Connection:
        self._acquired = await self._connection_pool.acquire(ACQUIRE_SECONDS)
        return self._acquired

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # A Problem is raised by the application and leaves the connection usable.
        await self._connection_pool.release(
            self._acquired, reusable=kind is None or issubclass(kind, Problem)
        )


def _register(pool: Pool, name: str, *, handoff: bool) -> None:
    """Register a pool and its metrics. Pools of one name do the same work and share the metrics."""
    pools = _open[name]
    pools.add(pool)
    _connection_pools[pool] = connection_pool.ConnectionPool(
        pool, waits=POOL_WAIT.labels(name), handoff=handoff
    )
    POOL_MAX.labels(name).set_function(lambda: sum(each.get_max_size() for each in pools))
    POOL_USED.labels(name).set_function(
        lambda: sum(each.get_size() - each.get_idle_size() for each in pools)
    )


async def _set_codecs(taken: Any) -> None:
    for name in ("json", "jsonb"):
        await taken.set_type_codec(
            name,
            schema="pg_catalog",
            encoder=lambda value: msgspec.json.encode(value).decode(),
            decoder=msgspec.json.decode,
        )
