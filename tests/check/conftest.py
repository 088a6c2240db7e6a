"""A market in every state that a purchase leaves behind, at rest for ten minutes, cloned for each test.

It stands on a Postgres and a Redis of its own that keep what they confirm, since the check looks at that too.
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
from tests.check.market import AGE_SECONDS, Kept, Market, build
from tests.system import System

SEEDED = "gittix_market"
# Open orders stay open while the tests run.
LONG_HOLDS = {"HOLD_SECONDS": "7200", "PAYMENT_GRACE_SECONDS": "7200"}


@pytest.fixture(scope="session")
def lasting_postgres(folder: Path) -> Iterator[Postgres]:
    with stores.running_postgres(folder / "lasting") as running:
        yield running


@pytest.fixture(scope="session")
def lasting_redis(folder: Path) -> Iterator[str]:
    with stores.running_redis(folder / "lasting") as url:
        yield url


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
    async with stores.fresh_system(lasting_postgres, lasting_redis, tmp_path) as system:
        yield system


@pytest.fixture
async def market(
    kept: Kept, lasting_postgres: Postgres, lasting_redis: str, tmp_path: Path
) -> AsyncIterator[Market]:
    shutil.copytree(kept.ledger, tmp_path / "ledger")
    opened = stores.fresh_system(
        lasting_postgres, lasting_redis, tmp_path / "ledger", template=SEEDED
    )
    async with opened as system:
        system.configure(**LONG_HOLDS)
        await kept.restore(system.redis())
        # What is done to the ledger now was done when all the rest happened.
        async with (
            system.sandbox(lambda: time.time() - AGE_SECONDS),
            Market.opened(system) as market,
        ):
            yield market


async def _built(postgres: Postgres, redis_url: str, folder: Path) -> Kept:
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
        return await Kept.of(redis, ledger)
