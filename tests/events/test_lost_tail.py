"""A Redis that comes back without the end of its append-only file: the stream is refilled, and users hear nothing twice."""

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
    """A server whose append-only file the test may cut. The file is complete after every command."""

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

    def come_back_with(self, size: int) -> bytes:
        """Killed, cut to this many bytes, and started on the same socket. Returns what the file still had."""
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
        self._told: dict[tuple[bytes, int], int] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        log = push.connect(self.system.settings.redis_url, timeout_seconds=2)
        async with (
            self.system.part("relay"),
            open_resources(self.system.settings, "tickets") as tickets,
        ):
            url = self.system.settings.noun_database_url("push")
            notifier = Notifier(url, tickets.pool, tickets.redis, Publisher(log))
            async with running(("notifier", notifier.run)):
                yield
        await log.aclose()

    async def order(self, *numbers: int, recorded: bool = True) -> None:
        """An order each, told to its buyer and, if it is to be, recorded as told."""
        await record_orders(self.rows, *numbers)
        await until(lambda: self.has_told(*numbers), seconds=20)
        if recorded:
            await until(self._recorded, seconds=20)

    async def has_told(self, *numbers: int) -> bool:
        return set(numbers) <= set(await self.told())

    async def told(self) -> Counter[int]:
        """How often each order was told, over all lives of this Redis. A message of the push log is known by its place."""
        for entry_id, fields in await self.redis.xrange(push.STREAM):
            for place, message in enumerate(push.read_entry(entry_id, fields).messages):
                if message.event == "order.created":
                    self._told[entry_id, place] = json.loads(message.data)["order"]["total"]
        return Counter(self._told.values())

    async def refilled(self, count: int) -> bool:
        return await ids(self.redis) == [f"1-{position}" for position in range(1, count + 1)]

    async def size(self) -> int:
        """The file's length, once nothing is written any more."""
        before = -1
        while before != (now := self.server.file.stat().st_size):
            before = now
            await asyncio.sleep(0.3)
        return now

    async def _recorded(self) -> bool:
        last = int((await ids(self.redis))[-1].partition("-")[2])
        told = await self.rows.fetchval(
            "select (position >> 1) & ((1::bigint << 40) - 1) from push.notifier"
        )
        return bool(told == last)


@pytest.mark.parametrize("torn", [0, 7], ids=["between two commands", "within a command"])
async def test_a_cut_tail_is_refilled_and_nobody_hears_anything_twice(cut: Cut, torn: int) -> None:
    async with cut.running():
        await cut.order(1, 2, 3)
        size = await cut.size()
        await cut.order(4, 5, 6)
        assert cut.server.file.stat().st_size > size + torn
        kept = cut.server.come_back_with(size + torn)
        assert [b"\r\n1-%d\r\n" % position in kept for position in (3, 4)] == [True, False]
        # Nothing new happens: the relay sees by itself what is missing.
        await until(lambda: cut.refilled(6), seconds=20)
        await cut.order(7)
        await until(lambda: cut.refilled(7))
    assert await cut.told() == dict.fromkeys(range(1, 8), 1)


@pytest.mark.parametrize("remembers", [True, False], ids=["as it is", "Postgres does not remember"])
async def test_a_tail_that_was_cut_while_nobody_ran_is_refilled_and_told_once(
    cut: Cut, monkeypatch: pytest.MonkeyPatch, remembers: bool
) -> None:
    """With its negative control: what Redis alone remembers of the telling is lost with its tail, and told twice."""

    async def forgets(*_: Any) -> None:
        return

    if not remembers:
        monkeypatch.setattr(Notifier, "_save_position", forgets)
    async with cut.running():
        await cut.order(1, 2, recorded=remembers)
        size = await cut.size()
        await cut.order(3, recorded=remembers)
    cut.server.come_back_with(size)
    await record_orders(cut.rows, 4)
    async with cut.running():
        await until(lambda: cut.has_told(4), seconds=20)
        await until(lambda: cut.refilled(4), seconds=20)
        await cut.order(5, recorded=remembers)
    assert await cut.told() == {1: 1, 2: 1, 3: 1 if remembers else 2, 4: 1, 5: 1}


async def test_the_streams_end_alone_is_lost_under_a_running_relay(cut: Cut) -> None:
    """Entries vanish and the last id goes back, while every connection stays."""
    async with cut.running():
        await cut.order(1, 2, 3)
        kept = await cut.redis.xrange(STREAM, max="1-1")
        async with cut.redis.pipeline(transaction=True) as commands:
            commands.delete(STREAM)
            commands.xadd(STREAM, kept[0][1], id=kept[0][0])
            await commands.execute()
        await until(lambda: cut.refilled(3), seconds=20)
        await cut.order(4)
    assert await cut.told() == dict.fromkeys(range(1, 5), 1)
