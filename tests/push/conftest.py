from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.push.gateway_process import gateway_processes
from tests.push.nodes import SETTINGS, Nodes
from tests.push.servers import RedisServer, RunningGateway, running_gateway

_names = count()


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


@pytest.fixture(scope="module")
def redis_of_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("nodes"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module", params=[2, 3], ids=["two", "three"])
def nodes(redis_of_nodes: RedisServer, request: pytest.FixtureRequest) -> Iterator[Nodes]:
    redis_of_nodes.flush()
    with gateway_processes(redis_of_nodes.url, request.param, **SETTINGS) as running:
        yield Nodes(redis_of_nodes, running)


@pytest.fixture
def channel() -> str:
    return f"presence-{next(_names)}"
