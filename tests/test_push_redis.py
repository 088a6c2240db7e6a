"""The push log in a Redis of its own: gateway, notifier and check use it, and nothing else does."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from redis.asyncio import Redis

from backend.check import push_log, snapshot
from backend.check.result import Unchecked
from backend.kernel.redis import open_redis
from backend.push.push_log import STATE, STREAM
from tests import factories, stores
from tests.system import System, until
from tests.test_full_redis import page


@pytest.fixture
def push_redis_url(folder: Path) -> Iterator[str]:
    with (
        TemporaryDirectory(dir=folder) as path,
        stores.running_redis(Path(path), appendonly="no") as url,
    ):
        yield url


async def test_messages_go_through_the_redis_of_the_push_log_alone(
    system: System, push_redis_url: str
) -> None:
    system.configure(PUSH_REDIS_URL=push_redis_url)
    await system.start("api", "push", "relay", "worker")
    seller = system.person("seller")
    show = await factories.show(seller)
    async with page(system, show["id"]) as visitor:
        ticket = await factories.ticket(seller, show["id"])

        async def arrived() -> bool:
            return ("ticket.listed", ticket["id"]) in visitor.seen

        await until(arrived)
    assert await push_keys(system.redis()) == set()
    async with open_redis(push_redis_url, name="tests") as own:
        assert {STREAM.encode(), STATE.encode()} <= await push_keys(own)
        assert len(await own.keys("*")) == len(await push_keys(own))
    async with snapshot.open_snapshot(system.settings) as state:
        assert not isinstance(state.push_log, Unchecked)
        assert "ticket.listed" in {message.event for message in push_log.messages(state.push_log)}


async def push_keys(redis: Redis) -> set[bytes]:
    return set(await redis.keys("gittix:push*"))
