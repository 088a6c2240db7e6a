import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from backend.embedded.postgres import Postgres
from backend.kernel import database
from backend.kernel.redis import open_redis
from tests.conftest import CLONE, TEMPLATE
from tests.crash import nursery as nurseries
from tests.crash.nursery import Nursery
from tests.system import System

Fresh = Callable[[], AbstractAsyncContextManager[System]]

_numbers = itertools.count()


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    with nurseries.opened() as opened:
        yield opened


@pytest.fixture
def fresh(postgres: Postgres, redis_socket: str, tmp_path: Path) -> Fresh:
    """What the fixture `system` gives to a test, as often as one wants it, one after another."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[System]:
        number = next(_numbers)
        name = f"crash_{os.getpid()}_{number}"
        folder = tmp_path / str(number)
        folder.mkdir()
        admin = await database.connect(postgres.url(database="postgres"), name="tests-admin")
        try:
            await admin.execute(f"create database {name} template {TEMPLATE} {CLONE}")
            async with AsyncExitStack() as stack:
                redis = open_redis(redis_socket, name="tests")
                await redis.flushall()
                await redis.aclose()
                yield System(stack, postgres, name, redis_socket, folder)
        finally:
            await admin.execute(f"drop database if exists {name} with (force)")
            await admin.close()

    return opened
