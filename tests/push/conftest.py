from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.push.servers import RedisServer, RunningGateway, running_gateway


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_server(shared_redis: RedisServer) -> RedisServer:
    """An empty Redis."""
    shared_redis.flush()
    return shared_redis


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that the test may kill."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def chatty(redis_server: RedisServer) -> AsyncIterator[RunningGateway]:
    """A gateway that accepts client events."""
    async with running_gateway(redis_server.url, client_events=True) as running:
        yield running


@pytest.fixture
async def gateway(redis_server: RedisServer) -> AsyncIterator[RunningGateway]:
    async with running_gateway(redis_server.url) as running:
        yield running
