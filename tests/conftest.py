"""Fixtures: Postgres and Redis for each test process, and for each test a database cloned from a
migrated template.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import pytest
import structlog
import uvloop

from backend.embedded.postgres import Postgres
from tests import stores
from tests.system import System

MEMORY = Path("/dev/shm")
MEMORY_BYTES = 4 * 2**30
# Tests want the real thing's behaviour, not its durability: no test cuts this server's power.
FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "300",
}

# Drawing a traceback with its local variables takes longer than the test that wants the fault.
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


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    # Short, for sockets' paths; passable, since Postgres runs as another user when the tests run
    # as root.
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


@pytest.fixture
async def system(postgres: Postgres, redis_socket: str, tmp_path: Path) -> AsyncIterator[System]:
    async with stores.fresh_system(postgres, redis_socket, tmp_path) as opened:
        yield opened


def _memory() -> Path | None:
    """A folder in memory when the machine has enough of it."""
    roomy = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > MEMORY_BYTES
    return MEMORY if roomy else None
