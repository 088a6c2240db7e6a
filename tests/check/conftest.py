"""Fixtures: a system with orders in every state, at rest for ten minutes, cloned for each test.

It runs on a Postgres and a Redis of its own with durable settings, since the check examines these
too.
"""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import uvloop

from backend.embedded.postgres import Postgres
from tests import stores
from tests.check.seeded_system import AGE_SECONDS, SeededSystem, StoredState, build
from tests.system import System

SEEDED = "gittix_seeded"
# Open orders stay open while the tests run.
LONG_HOLDS = {"HOLD_SECONDS": "7200", "PAYMENT_GRACE_SECONDS": "7200"}


@pytest.fixture(scope="session")
def durable_postgres(folder: Path) -> Iterator[Postgres]:
    with stores.running_postgres(folder / "durable") as running:
        yield running


@pytest.fixture(scope="session")
def durable_redis(folder: Path) -> Iterator[str]:
    with stores.running_redis(folder / "durable") as url:
        yield url


@pytest.fixture(scope="session")
def stored_state(durable_postgres: Postgres, durable_redis: str, folder: Path) -> StoredState:
    """The state of the seeded system, built once by real processes."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_built(durable_postgres, durable_redis, folder / "durable"))


@pytest.fixture
async def durable_system(
    durable_postgres: Postgres, durable_redis: str, tmp_path: Path
) -> AsyncIterator[System]:
    """An empty system on durable stores."""
    async with stores.fresh_system(durable_postgres, durable_redis, tmp_path) as system:
        yield system


@pytest.fixture
async def seeded(
    stored_state: StoredState, durable_postgres: Postgres, durable_redis: str, tmp_path: Path
) -> AsyncIterator[SeededSystem]:
    shutil.copytree(stored_state.ledger, tmp_path / "ledger")
    fresh_system = stores.fresh_system(
        durable_postgres, durable_redis, tmp_path / "ledger", template=SEEDED
    )
    async with fresh_system as system:
        system.configure(**LONG_HOLDS)
        await stored_state.restore(system.redis())
        # The sandbox's clock is set back, so that changes of the ledger are as old as the rows.
        async with (
            system.sandbox(lambda: time.time() - AGE_SECONDS),
            SeededSystem.open(system) as seeded,
        ):
            yield seeded


async def _built(postgres: Postgres, redis_url: str, folder: Path) -> StoredState:
    ledger = folder / "ledger"
    ledger.mkdir()
    async with stores.admin_of(postgres) as admin:
        await stores.clone(admin, SEEDED)
    async with AsyncExitStack() as stack:
        system = System(stack, postgres, SEEDED, redis_url, ledger)
        redis = system.redis()
        await redis.flushall()
        system.configure(**LONG_HOLDS)
        await build(system)
        return await StoredState.of(redis, ledger)
