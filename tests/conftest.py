"""Fixtures: Postgres and Redis for each test process, and for each test a database cloned from a
migrated template.
"""

import asyncio
import functools
import gc
import os
import shutil
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import asyncpg
import pytest
import structlog
import uvloop

from backend.embedded.postgres import Postgres
from tests import stores
from tests.fork_server import ForkServer, running_fork_server
from tests.machine_share import machine_share
from tests.system import System

MEMORY = Path("/dev/shm")
MEMORY_BYTES = 4 * 2**30
# The behaviour is that of production, durability apart: no test cuts the power of this server.
FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "300",
    # For each connection, client and server hash the password this often; 4,096 by default.
    "scram_iterations": "1",
}

# Postgres gives lower ones to its own objects (FirstNormalObjectId).
FIRST_OID_OF_USERS = 16384

# The folders with the longest files and the long files beside them, longest first. If a long file
# starts last, one process runs it while the others are idle. `make test ARGS=--durations=40` lists
# the slowest tests.
LONG = (
    *("shop", "embedded", "loadtests", "search", "crash", "test_fuzz", "test_full_redis"),
    *("payments", "races", "check"),
)

# A traceback with its local variables takes longer to print than the test that raises it takes.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(
            colors=False, exception_formatter=structlog.dev.plain_traceback
        ),
    ]
)


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """uvloop, as in production: its write buffers behave differently from asyncio's."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Without the garbage collector, which would examine the growing set of tests again and again,
    and find nothing to free. Later collections pass over the tests.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files first; within a folder the order stays random.

    Before all others are undisturbed tests: later, other processes would stop for the end of a long
    test.
    """
    ranks = {name: rank for rank, name in enumerate(LONG)}
    last = len(ranks)

    def order(item: pytest.Item) -> tuple[bool, int]:
        names = (item.path.parent.name, item.path.stem)
        return not _is_undisturbed(item), min(ranks.get(name, last) for name in names)

    items.sort(key=order)


def _is_undisturbed(item: pytest.Item) -> bool:
    return item.get_closest_marker("undisturbed") is not None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Outside of the test's time limit, which does not include the wait for other tests."""
    with machine_share(exclusive=_is_undisturbed(item)):
        return (yield)


@pytest.fixture(scope="session", autouse=True)
def certificates() -> Iterator[None]:
    """Loads the certificates once: each HTTP client would take 10 ms, and no test uses TLS."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", functools.cache(ssl.create_default_context))
        yield


@pytest.fixture(scope="session", autouse=True)
def pools_connect_on_demand() -> Iterator[None]:
    """Starts pools empty: an application has six pools, and most tests use two of them."""
    create_pool = asyncpg.create_pool

    def create(url: str, *, min_size: int, **options: Any) -> Any:
        assert min_size >= 0
        return create_pool(url, min_size=0, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncpg, "create_pool", create)
        yield


@pytest.fixture(scope="session", autouse=True)
def built_in_types_are_read_once() -> Iterator[None]:
    """Reads built-in types such as `uuid[]` once for all connections. asyncpg reads them once for
    each connection, which takes 4 ms, and a test has four connections. They are the same in all
    databases.
    """
    connection_class: Any = asyncpg.Connection
    introspect = connection_class._introspect_types
    known: dict[frozenset[int], Any] = {}

    async def introspect_once(connection: Any, oids: set[int], seconds: float | None) -> Any:
        if max(oids) >= FIRST_OID_OF_USERS:
            return await introspect(connection, oids, seconds)
        key = frozenset(oids)
        if key not in known:
            known[key], _ = await introspect(connection, oids, seconds)
        # A named statement, for asyncpg: it prepares its own again if this one was unnamed.
        return known[key], SimpleNamespace(name="built-in types")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection_class, "_introspect_types", introspect_once)
        yield


@pytest.fixture(scope="session", autouse=True)
def uvicorn_polls_often() -> Iterator[None]:
    """Lets uvicorn see the stop of a server and the end of its connections after 10 ms. It sleeps
    for 100 ms between two checks and once in each shutdown, and a test stops up to three servers.
    """

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.01))

    quick = ModuleType("asyncio")
    vars(quick).update(vars(asyncio), sleep=sleep)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("uvicorn.server.asyncio", quick)
        yield


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    # Short, since the path of a Unix socket is limited; mode 755, since Postgres runs as another
    # user when the tests run as root.
    path = Path(tempfile.mkdtemp(prefix="gittix-", dir=_memory()))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(folder: Path) -> Iterator[Postgres]:
    """A running cluster with the migrated template database."""
    with stores.running_postgres(folder, **FAST) as running:
        yield running


@pytest.fixture(scope="session")
def redis_socket(folder: Path) -> Iterator[str]:
    with stores.running_redis(folder, appendonly="no") as url:
        yield url


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    with running_fork_server() as server:
        yield server


@pytest.fixture(scope="session")
def template() -> str:
    """The database that `system` clones; a module whose tests need many rows overrides it."""
    return stores.TEMPLATE


@pytest.fixture
async def system(
    postgres: Postgres, redis_socket: str, folder: Path, template: str
) -> AsyncIterator[System]:
    # In memory, unlike tmp_path: the Stripe sandbox syncs its file at each write.
    with tempfile.TemporaryDirectory(dir=folder) as path:
        fresh = stores.fresh_system(postgres, redis_socket, Path(path), template=template)
        async with fresh as system:
            yield system


def _memory() -> Path | None:
    """A folder in memory when the machine has enough of it."""
    roomy = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > MEMORY_BYTES
    return MEMORY if roomy else None
