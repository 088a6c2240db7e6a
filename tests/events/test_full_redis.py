"""Redis at its memory limit: relay and consumers empty the event stream, and nothing is lost."""

import asyncio
from typing import Any

import pytest

from backend.events import consumer as consumers
from backend.events import relay as relays
from backend.events.catalogue import Event
from backend.events.consumer import Consumer
from backend.events.resources import Resources, open_resources
from backend.events.stream import READERS, REDRIVE_PREFIX, STREAM, EntryId, EventStream
from backend.kernel.database import Connection
from backend.kernel.supervisor import running
from tests import stores
from tests.events.log import numbers, publish, record
from tests.system import System, until

GROUP = "tests"
EVENTS, EVENT_BYTES = 1_000, 5_000
# More events than Redis has room for.
WAITING = 500


def consumer(resources: Resources, handled: list[int]) -> Consumer:
    async def handle(_connection: Connection, event: Event) -> None:
        handled.append(event.envelope.version)

    types = frozenset({"order.created"})
    return Consumer(GROUP, resources.redis, resources.pool, "orders", handle, types=types)


async def record_large(rows: Any, *versions: int) -> None:
    await rows.executemany(
        """
        insert into events.outbox (type, subject, version, data)
        values ('order.created', gen_random_uuid(), $1, $2)
        """,
        [(version, {"text": "x" * EVENT_BYTES}) for version in versions],
    )


async def test_a_stream_that_fills_redis_is_handled_trimmed_and_continued(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A consumer was down until the stream filled Redis. Only trimming it makes room again."""
    monkeypatch.setattr(relays, "KEPT_ENTRIES", 100)
    monkeypatch.setattr(consumers, "BLOCK_MS", 100)
    rows, redis = await system.connect(), system.redis()
    for name in (STREAM, REDRIVE_PREFIX + GROUP):
        await redis.xgroup_create(name, GROUP, id="0", mkstream=True)
    await EventStream(redis).report_progress("notifier", EntryId(1, 0))
    await record_large(rows, *range(EVENTS))
    await publish(system)
    used = (await redis.info("memory"))["used_memory"]
    handled: list[int] = []
    async with stores.full(redis, limit_bytes=used - 1_000_000):
        await record_large(rows, *range(EVENTS, EVENTS + WAITING))
        async with system.part("relay"):
            await asyncio.sleep(1)
            assert len(await numbers(redis)) == EVENTS
            async with (
                open_resources(system.settings, "orders") as resources,
                running(("consumer", consumer(resources, handled).run)),
            ):
                await until(lambda: has_handled(handled, EVENTS), seconds=20)
                await EventStream(redis).report_progress("notifier", EntryId(1, EVENTS))
                await until(lambda: has_handled(handled, EVENTS + WAITING), seconds=20)
    assert sorted(handled) == list(range(EVENTS + WAITING))


async def has_handled(handled: list[int], count: int) -> bool:
    return len(handled) >= count


async def test_a_reader_reports_its_progress_while_redis_is_full(system: System) -> None:
    redis = system.redis()
    async with stores.full(redis):
        await EventStream(redis).report_progress("notifier", EntryId(1, 7))
    assert await redis.hgetall(READERS) == {b"notifier": b"1-7"}  # type: ignore[misc]


async def test_a_consumer_starts_while_redis_is_full(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "BLOCK_MS", 100)
    rows, redis = await system.connect(), system.redis()
    handled: list[int] = []
    async with open_resources(system.settings, "orders") as resources:
        async with running(("consumer", consumer(resources, handled).run)):
            await record(rows, 1)
            await publish(system)
            await until(lambda: has_handled(handled, 1))
        await record(rows, 2)
        await publish(system)
        async with (
            stores.full(redis),
            running(("consumer", consumer(resources, handled).run)),
        ):
            await until(lambda: has_handled(handled, 2))
            await until(lambda: is_acknowledged(redis))


async def is_acknowledged(redis: Any) -> bool:
    pending: int = (await redis.xpending(STREAM, GROUP))["pending"]
    return pending == 0
