"""A market in every state that a purchase leaves behind, at rest for ten minutes, cloned for each test.

It stands on a Postgres and a Redis of its own that keep what they confirm, since the check looks at that too.
"""

import asyncio
import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import uvicorn
import uvloop

from backend.embedded.postgres import Postgres, system_user
from backend.embedded.redis import Redis
from backend.kernel import database
from backend.kernel.redis import open_redis
from backend.payments.sandbox.app import SandboxSettings
from backend.payments.sandbox.app import build as build_sandbox
from backend.serving import http_config
from tests.check.market import AGE_SECONDS, Kept, Market, build
from tests.conftest import CLONE, PASSWORD, TEMPLATE, make_template, wait_for
from tests.system import STRIPE_KEY, WEBHOOK_SECRET, System, served

SEEDED = "gittix_market"
# Open orders stay open while the tests run.
LONG_HOLDS = {"HOLD_SECONDS": "7200", "PAYMENT_GRACE_SECONDS": "7200"}

_numbers = itertools.count()


@pytest.fixture(scope="session")
def lasting_postgres(folder: Path) -> Iterator[Postgres]:
    cluster = Postgres(folder / "lasting", PASSWORD)
    cluster.initialise()
    server = subprocess.Popen(
        cluster.command(),
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
def lasting_redis(folder: Path) -> Iterator[str]:
    server = Redis(folder / "lasting")
    process = subprocess.Popen(
        server.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        wait_for(server.socket)
        yield server.url
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="session")
def kept(lasting_postgres: Postgres, lasting_redis: str, folder: Path) -> Kept:
    """The market, built once by the real parts."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_built(lasting_postgres, lasting_redis, folder / "lasting"))


@pytest.fixture
async def lasting_system(
    lasting_postgres: Postgres, lasting_redis: str, tmp_path: Path
) -> AsyncIterator[System]:
    """An empty GitTix on stores that last."""
    async with _cloned(lasting_postgres, lasting_redis, TEMPLATE, tmp_path) as system:
        yield system


@pytest.fixture
async def market(
    kept: Kept, lasting_postgres: Postgres, lasting_redis: str, tmp_path: Path
) -> AsyncIterator[Market]:
    shutil.copytree(kept.ledger, tmp_path / "ledger")
    async with _cloned(lasting_postgres, lasting_redis, SEEDED, tmp_path / "ledger") as system:
        system.configure(**LONG_HOLDS)
        await kept.restore(system.redis())
        async with _aged_sandbox(system), Market.opened(system) as market:
            yield market


@asynccontextmanager
async def _cloned(postgres: Postgres, redis_url: str, template: str, folder: Path) -> AsyncIterator[System]:
    name = f"check_{os.getpid()}_{next(_numbers)}"
    admin = await database.connect(postgres.url(database="postgres"), name="tests-admin")
    try:
        await admin.execute(f"create database {name} template {template} {CLONE}")
        async with AsyncExitStack() as stack:
            system = System(stack, postgres, name, redis_url, folder)
            await system.redis().flushall()
            yield system
    finally:
        await admin.execute(f"drop database if exists {name} with (force)")
        await admin.close()


@asynccontextmanager
async def _aged_sandbox(system: System) -> AsyncIterator[None]:
    """The ledger as it was kept; what is done to it now was done when all the rest happened."""
    sandbox = build_sandbox(
        SandboxSettings(
            database=system.folder / "stripe.sqlite",
            api_key=STRIPE_KEY,
            webhook_url=f"{system.url}/api/payments/webhook",
            webhook_secret=WEBHOOK_SECRET,
            clock=lambda: time.time() - AGE_SECONDS,
        )
    )
    async with served(uvicorn.Server(http_config(sandbox, "127.0.0.1", system.ports["stripe"]))):
        yield


async def _built(postgres: Postgres, redis_url: str, folder: Path) -> Kept:
    admin = await database.connect(postgres.url(database="postgres"), name="tests-admin")
    ledger = folder / "ledger"
    ledger.mkdir()
    try:
        await admin.execute(f"create database {SEEDED} template {TEMPLATE} {CLONE}")
        async with AsyncExitStack() as stack:
            redis = open_redis(redis_url, name="tests")
            stack.push_async_callback(redis.aclose)
            await redis.flushall()
            system = System(stack, postgres, SEEDED, redis_url, ledger)
            system.configure(**LONG_HOLDS)
            await build(system)
            return await Kept.of(redis, ledger)
    finally:
        await admin.close()
