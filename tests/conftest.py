"""A real Postgres and a real Redis for each test process; for each test a database cloned from a migrated template."""

import asyncio
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import structlog
import uvloop

from backend.embedded.postgres import Postgres, system_user
from backend.embedded.redis import Redis
from backend.kernel import database, migrations
from backend.kernel.redis import open_redis
from tests.system import System

TEMPLATE = "gittix_template"
# Ten times as quick as the default, which writes each page to the log.
CLONE = "strategy file_copy"
MEMORY = Path("/dev/shm")
MEMORY_BYTES = 4 * 2**30
PASSWORD = "tests"
# Tests want the real thing's behaviour, not its durability: no test cuts this server's power.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "300"}

_numbers = itertools.count()

# Drawing a traceback with its local variables takes longer than the test that wants the fault.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that production runs on: its write buffers fill and drain otherwise than asyncio's."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    # Short, for sockets' paths; passable, since Postgres runs as another user when the tests run as root.
    path = Path(tempfile.mkdtemp(prefix="gittix-", dir=_memory()))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(folder: Path) -> Iterator[Postgres]:
    """A running cluster with the migrated template database."""
    cluster = Postgres(folder, PASSWORD)
    cluster.initialise()
    server = subprocess.Popen(
        cluster.command(**FAST),
        user=system_user(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )
    try:
        cluster.wait()
        asyncio.run(make_template(cluster))
        yield cluster
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(20)


@pytest.fixture(scope="session")
def redis_socket(folder: Path) -> Iterator[str]:
    server = Redis(folder)
    process = subprocess.Popen(
        server.command(appendonly="no"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(server.socket)
        yield server.url
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
async def system(postgres: Postgres, redis_socket: str, tmp_path: Path) -> AsyncIterator[System]:
    """An empty GitTix: a fresh database and an emptied Redis, no part started yet."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    admin = await database.connect(postgres.url(database="postgres"), name="tests-admin")
    try:
        await admin.execute(f"create database {name} template {TEMPLATE} {CLONE}")
        async with AsyncExitStack() as stack:
            redis = open_redis(redis_socket, name="tests")
            await redis.flushall()
            await redis.aclose()
            yield System(stack, postgres, name, redis_socket, tmp_path)
    finally:
        await admin.execute(f"drop database if exists {name} with (force)")
        await admin.close()


async def make_template(cluster: Postgres) -> None:
    admin = await database.connect(cluster.url(database="postgres"), name="tests-admin")
    await admin.execute(f"create database {TEMPLATE}")
    await admin.close()
    roles = [f"gittix_{noun}" for noun in ("auth", "tickets", "orders", "payments", "push", "relay")]
    await migrations.migrate(
        cluster.url(database=TEMPLATE),
        migrations.read(),
        role_urls=[cluster.url(role=role) for role in roles],
    )


def _memory() -> Path | None:
    """Where files are in memory, if this machine has room there."""
    roomy = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > MEMORY_BYTES
    return MEMORY if roomy else None


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.01)
