"""Postgres and Redis as processes, and a database for each test, cloned from a migrated
template.
"""

import asyncio
import itertools
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from redis.asyncio import Redis as RedisClient

from backend.embedded.postgres import OWNER, Postgres
from backend.embedded.redis import Redis
from backend.embedded.system_user import credentials
from backend.kernel import database, migrations
from backend.kernel.database import Connection
from backend.kernel.redis import open_redis
from backend.kernel.settings import ROLES
from tests.system import System

TEMPLATE = "gittix_template"
PASSWORD = "tests"

_numbers = itertools.count()


@contextmanager
def running_postgres(folder: Path, **settings: str) -> Iterator[Postgres]:
    """A running cluster with the migrated template database."""
    with running_cluster(folder, **settings) as cluster:
        asyncio.run(_hash_password_again(cluster))
        asyncio.run(create_migrated(cluster, TEMPLATE))
        yield cluster


@contextmanager
def running_cluster(folder: Path, **settings: str) -> Iterator[Postgres]:
    """A running cluster with its data in `folder`."""
    cluster = Postgres(folder, PASSWORD)
    cluster.initialise()
    server = subprocess.Popen(
        cluster.command(**settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
        **credentials(),
    )
    try:
        cluster.wait()
        yield cluster
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(20)


@contextmanager
def running_redis(folder: Path, **settings: str) -> Iterator[str]:
    """The URL of a running server."""
    server = Redis(folder)
    process = subprocess.Popen(
        server.command(**settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_for(server.socket)
        yield server.url
    finally:
        process.terminate()
        process.wait(10)


@asynccontextmanager
async def full(redis: RedisClient, *, limit_bytes: int = 1) -> AsyncIterator[None]:
    """Redis at its memory limit while the block runs: it refuses commands that need memory."""
    before = (await redis.config_get("maxmemory"))["maxmemory"]
    await redis.config_set("maxmemory", limit_bytes)
    try:
        yield
    finally:
        await redis.config_set("maxmemory", before)


@asynccontextmanager
async def fresh_system(
    postgres: Postgres, redis_url: str, folder: Path, *, template: str = TEMPLATE
) -> AsyncIterator[System]:
    """A System with a fresh database and an empty Redis, without running parts."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    async with admin_of(postgres) as admin:
        try:
            await clone(admin, name, template)
            async with AsyncExitStack() as stack:
                redis = open_redis(redis_url, name="tests")
                await redis.flushall()
                await redis.aclose()
                yield System(stack, postgres, name, redis_url, folder)
        finally:
            await admin.execute(f"drop database if exists {name} with (force)")


@asynccontextmanager
async def admin_of(postgres: Postgres) -> AsyncIterator[Connection]:
    """A connection that creates and drops databases."""
    admin = await database.connect(postgres.url(database="postgres"), name="tests-admin")
    try:
        yield admin
    finally:
        await admin.close()


async def clone(admin: Connection, name: str, template: str = TEMPLATE) -> None:
    # A tenth of the time of the default strategy, which writes each page to the WAL.
    await admin.execute(f"create database {name} template {template} strategy file_copy")


@contextmanager
def filled_template(
    postgres: Postgres, name: str, fill: Callable[[Connection], Awaitable[None]]
) -> Iterator[str]:
    """A template with the rows that `fill` writes on a connection of the owner: to clone it takes a
    fraction of the time of writing them again.
    """
    try:
        asyncio.run(_create_filled(postgres, name, fill))
        yield name
    finally:
        asyncio.run(_drop(postgres, name))


async def create_migrated(postgres: Postgres, name: str) -> None:
    async with admin_of(postgres) as admin:
        await admin.execute(f"create database {name}")
    role_urls = [postgres.url(role=f"gittix_{role}") for role in ROLES]
    await migrations.migrate(postgres.url(database=name), migrations.read(), role_urls=role_urls)


async def _create_filled(
    postgres: Postgres, name: str, fill: Callable[[Connection], Awaitable[None]]
) -> None:
    async with admin_of(postgres) as admin:
        await clone(admin, name)
    owner = await database.connect(postgres.url(database=name), name="tests-template")
    try:
        await fill(owner)
    finally:
        await owner.close()


async def _drop(postgres: Postgres, name: str) -> None:
    async with admin_of(postgres) as admin:
        await admin.execute(f"drop database if exists {name} with (force)")


async def _hash_password_again(postgres: Postgres) -> None:
    """Applies the server's `scram_iterations` to the owner's password, which initdb hashed."""
    async with admin_of(postgres) as admin:
        await admin.execute(f"alter role {OWNER} password '{PASSWORD}'")


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.01)
