"""Redis restarts without the end of its append-only file: the stream is refilled, and no message is
repeated.
"""

import asyncio
import json
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from backend.embedded.redis import Redis
from backend.events.resources import open_resources
from backend.events.stream import STREAM
from backend.kernel import lease as leases
from backend.kernel.supervisor import running
from backend.push import push_log as push
from backend.push.publisher import Publisher
from tests.events.log import ids, record_orders
from tests.system import System, until
from workers.notifier import Notifier


class OwnRedis:
    """A Redis server whose append-only file the test can truncate.

    The file is complete after each command.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._server = Redis(folder)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def file(self) -> Path:
        return self._server.data / "appendonly.aof"

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._server.command(appendfsync="always"),
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        with redis.Redis.from_url(self.url, retry=None) as client:
            for _ in range(500):
                try:
                    client.ping()
                except (redis.ConnectionError, redis.BusyLoadingError):
                    time.sleep(0.01)
                else:
                    return
        raise AssertionError("redis does not answer")

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def restart_truncated(self, size: int) -> bytes:
        """Kill the server, truncate its file to this size, and restart it.

        Returns the truncated file.
        """
        self.kill()
        with self.file.open("r+b") as file:
            file.truncate(size)
        kept = self.file.read_bytes()
        self.start()
        return kept


@pytest.fixture
def own_redis(folder: Path, request: pytest.FixtureRequest) -> Iterator[OwnRedis]:
    server = OwnRedis(folder / f"r{abs(hash(request.node.name))}")
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def cut(system: System, own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch) -> "Cut":
    monkeypatch.setattr(leases, "POLL_SECONDS", 0.05)
    system.configure(REDIS_URL=own_redis.url)
    return Cut(system, own_redis, await system.connect())


class Cut:
    def __init__(self, system: System, server: OwnRedis, rows: Any) -> None:
        self.system = system
        self.server = server
        self.rows = rows
        self.redis = system.redis()
        self._published: dict[tuple[bytes, int], int] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        log = push.connect(self.system.settings.redis_url, timeout_seconds=2)
        async with (
            self.system.part("relay"),
            open_resources(self.system.settings, "tickets") as tickets,
        ):
            url = self.system.settings.role_database_url("push")
            notifier = Notifier(url, tickets.pool, tickets.redis, Publisher(log))
            async with running(("notifier", notifier.run)):
                yield
        await log.aclose()

    async def order(self, *numbers: int, recorded: bool = True) -> None:
        """Publish orders; with `recorded`, also wait until Postgres has the push position."""
        await record_orders(self.rows, *numbers)
        await until(lambda: self.is_published(*numbers), seconds=20)
        if recorded:
            await until(self._recorded, seconds=20)

    async def is_published(self, *numbers: int) -> bool:
        return set(numbers) <= set(await self.published())

    async def published(self) -> Counter[int]:
        """Return how often each order was published, over all restarts of this Redis.

        A message of the push log is identified by its entry and its index.
        """
        for entry_id, fields in await self.redis.xrange(push.STREAM):
            for index, message in enumerate(push.read_entry(entry_id, fields).messages):
                if message.event == "order.created":
                    self._published[entry_id, index] = json.loads(message.data)["order"]["total"]
        return Counter(self._published.values())

    async def refilled(self, count: int) -> bool:
        return await ids(self.redis) == [f"1-{position}" for position in range(1, count + 1)]

    async def size(self) -> int:
        """Wait until the file no longer grows, and return its size."""
        before = -1
        while before != (now := self.server.file.stat().st_size):
            before = now
            await asyncio.sleep(0.3)
        return now

    async def _recorded(self) -> bool:
        last = int((await ids(self.redis))[-1].partition("-")[2])
        notified = await self.rows.fetchval(
            "select (position >> 1) & ((1::bigint << 40) - 1) from push.notifier"
        )
        return bool(notified == last)


@pytest.mark.parametrize("torn", [0, 7], ids=["between two commands", "within a command"])
async def test_a_lost_tail_is_refilled_and_no_message_is_repeated(cut: Cut, torn: int) -> None:
    async with cut.running():
        await cut.order(1, 2, 3)
        size = await cut.size()
        await cut.order(4, 5, 6)
        assert cut.server.file.stat().st_size > size + torn
        kept = cut.server.restart_truncated(size + torn)
        assert [b"\r\n1-%d\r\n" % position in kept for position in (3, 4)] == [True, False]
        # No new event is appended: the relay must detect the missing entries by itself.
        await until(lambda: cut.refilled(6), seconds=20)
        await cut.order(7)
        await until(lambda: cut.refilled(7))
    assert await cut.published() == dict.fromkeys(range(1, 8), 1)


@pytest.mark.parametrize(
    "is_recorded", [True, False], ids=["as it is", "Postgres does not remember"]
)
async def test_a_tail_lost_while_no_process_ran_is_refilled_and_published_once(
    cut: Cut, monkeypatch: pytest.MonkeyPatch, is_recorded: bool
) -> None:
    """Negative control: a push position recorded only in Redis is lost, and messages repeat."""

    async def skip(*_: Any) -> None:
        return

    if not is_recorded:
        monkeypatch.setattr(Notifier, "_save_position", skip)
    async with cut.running():
        await cut.order(1, 2, recorded=is_recorded)
        size = await cut.size()
        await cut.order(3, recorded=is_recorded)
    cut.server.restart_truncated(size)
    await record_orders(cut.rows, 4)
    async with cut.running():
        await until(lambda: cut.is_published(4), seconds=20)
        await until(lambda: cut.refilled(4), seconds=20)
        await cut.order(5, recorded=is_recorded)
    assert await cut.published() == {1: 1, 2: 1, 3: 1 if is_recorded else 2, 4: 1, 5: 1}


async def test_entries_lost_under_a_running_relay_are_refilled(cut: Cut) -> None:
    """Entries are lost and the last id is lower, while all connections stay open."""
    async with cut.running():
        await cut.order(1, 2, 3)
        kept = await cut.redis.xrange(STREAM, max="1-1")
        async with cut.redis.pipeline(transaction=True) as commands:
            commands.delete(STREAM)
            commands.xadd(STREAM, kept[0][1], id=kept[0][0])
            await commands.execute()
        await until(lambda: cut.refilled(3), seconds=20)
        await cut.order(4)
    assert await cut.published() == dict.fromkeys(range(1, 5), 1)
