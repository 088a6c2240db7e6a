"""Consumers apply each event once: with repeated deliveries, failing events, crashes and an emptied
Redis.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from backend.events import consumer as consumers
from backend.events.catalogue import Event
from backend.events.consumer import Consumer, Handler
from backend.events.resources import open_resources
from backend.events.stream import DEAD_LETTERS, REDRIVE_PREFIX, STREAM
from backend.kernel.database import Connection
from backend.kernel.supervisor import running
from tests.events.log import publish, record
from tests.system import System, until

GROUP = "tests"
TRIES = "gittix:events:tries:" + GROUP
TYPES = frozenset({"order.created", "order.updated"})


class ConsumerHarness:
    """Makes consumers that insert rows into `orders.effects`, with a handler that can fail."""

    def __init__(self, system: System, rows: Any, pool: Any) -> None:
        self.system = system
        self.rows = rows
        self.redis = system.redis()
        self._pool = pool
        self.failure: Callable[[Event], None] = lambda event: None
        self.tried: list[int] = []

    def consumer(self, member: str = "one", handler: Handler | None = None) -> Consumer:
        made = Consumer(
            GROUP, self.redis, self._pool, "orders", handler or self.handle, types=TYPES
        )
        made._member = member
        return made

    async def handle(self, connection: Connection, event: Event) -> None:
        self.tried.append(event.envelope.version)
        await connection.execute("insert into orders.effects values ($1)", event.envelope.version)
        self.failure(event)

    async def publish(self, *numbers: int, type: str = "order.created") -> None:
        await record(self.rows, *numbers, type=type)
        await publish(self.system)

    async def effects(self) -> list[int]:
        return [
            row["n"] for row in await self.rows.fetch("select n from orders.effects order by seq")
        ]

    async def has(self, *numbers: int) -> bool:
        return sorted(await self.effects()) == sorted(numbers)

    async def pending(self) -> int:
        return int((await self.redis.xpending(STREAM, GROUP))["pending"])

    async def is_pending(self, count: int) -> bool:
        return await self.pending() == count

    async def done(self) -> bool:
        """Return whether every entry of the stream was delivered and acknowledged."""
        groups = {group["name"]: group for group in await self.redis.xinfo_groups(STREAM)}
        last = (await self.redis.xinfo_stream(STREAM))["last-generated-id"]
        group = groups.get(GROUP.encode())
        return group is not None and group["last-delivered-id"] == last and group["pending"] == 0

    async def dead_letters(self) -> list[dict[bytes, bytes]]:
        return [fields for _, fields in await self.redis.xrange(DEAD_LETTERS)]


@pytest.fixture
async def harness(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ConsumerHarness]:
    monkeypatch.setattr(consumers, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(consumers, "BLOCK_MS", 100)
    rows = await system.connect()
    await rows.execute(
        """
        create table orders.effects (n int, seq bigint generated always as identity);
        grant insert on orders.effects to gittix_orders
        """
    )
    async with open_resources(system.settings, "orders") as stores:
        yield ConsumerHarness(system, rows, stores.pool)


@asynccontextmanager
async def consuming(*members: Consumer) -> AsyncIterator[None]:
    async with running(*((f"consumer-{n}", member.run) for n, member in enumerate(members))):
        yield


async def test_events_of_its_types_are_handled_in_order_and_acknowledged(
    harness: ConsumerHarness,
) -> None:
    await harness.publish(1, 2)
    await harness.publish(3, type="user.registered")
    await harness.publish(4, type="order.updated")
    async with consuming(harness.consumer()):
        await until(harness.done)
    assert await harness.effects() == [1, 2, 4]


async def test_an_event_delivered_twice_takes_effect_once(harness: ConsumerHarness) -> None:
    await harness.publish(1, 2)
    entries = await harness.redis.xrange(STREAM)
    consumer = harness.consumer()
    await harness.redis.xgroup_create(STREAM, GROUP, id="0")
    assert await consumer.handle(entries) == 0
    assert await consumer.handle(entries) == 0
    assert await harness.effects() == [1, 2]


async def test_an_event_twice_in_one_batch_takes_effect_once(harness: ConsumerHarness) -> None:
    await harness.publish(1)
    entries = await harness.redis.xrange(STREAM)
    await harness.redis.xgroup_create(STREAM, GROUP, id="0")
    assert await harness.consumer().handle(entries * 2) == 0
    assert await harness.effects() == [1]


async def test_two_members_share_the_events_and_each_is_handled_once(
    harness: ConsumerHarness,
) -> None:
    await harness.publish(*range(50))
    async with consuming(harness.consumer("one"), harness.consumer("two")):
        await until(harness.done)
    assert sorted(await harness.effects()) == list(range(50))


async def test_a_crash_before_the_acknowledgement_repeats_nothing(
    harness: ConsumerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The effect commits first.

    The unacknowledged entry is delivered again, and the inbox discards it.
    """
    await harness.publish(1)
    with monkeypatch.context() as crash:

        async def dies(*_: object) -> int:
            raise SystemError("kill -9")

        crash.setattr(harness.redis, "xack", dies)
        with pytest.raises(SystemError):
            await harness.consumer().run()
    assert await harness.effects() == [1]
    assert await harness.pending() == 1
    async with consuming(harness.consumer()):
        await until(harness.done)
    assert await harness.effects() == [1]


async def test_an_effect_that_did_not_commit_is_not_acknowledged(harness: ConsumerHarness) -> None:
    await harness.publish(1)

    def cut(_: Event) -> None:
        raise asyncpg.ConnectionDoesNotExistError

    harness.failure = cut
    with pytest.raises(asyncpg.ConnectionDoesNotExistError):
        await harness.consumer().run()
    assert await harness.effects() == []
    assert await harness.pending() == 1


async def test_a_failing_event_is_dead_lettered_after_five_tries_and_blocks_no_other(
    harness: ConsumerHarness,
) -> None:
    def poisoned(event: Event) -> None:
        if event.envelope.version == 2:
            raise ValueError("poison")

    harness.failure = poisoned
    await harness.publish(1, 2, 3)
    async with consuming(harness.consumer()):
        await until(harness.done)
        await harness.publish(4)
        await until(lambda: harness.has(1, 3, 4))
    (letter,) = await harness.dead_letters()
    assert (letter[b"consumer"], letter[b"entry"]) == (GROUP.encode(), b"1-2")
    assert b"poison" in letter[b"reason"]
    assert letter[b"e"] == (await harness.redis.xrange(STREAM, "1-2", "1-2"))[0][1][b"e"]
    # One try with its batch, then the tries by itself.
    assert harness.tried.count(2) == 1 + consumers.MAX_TRIES
    assert await harness.redis.exists(TRIES) == 0


def poison(*numbers: int) -> Callable[[Event], None]:
    def fails(event: Event) -> None:
        if event.envelope.version in numbers:
            raise ValueError("poison")

    return fails


async def test_new_events_are_handled_while_a_failing_one_waits_for_its_retry(
    harness: ConsumerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "RETRY_SECONDS", 30.0)
    harness.failure = poison(2)
    await harness.publish(1, 2, 3)
    async with consuming(harness.consumer()):
        await until(lambda: harness.has(1, 3))
        await harness.publish(4)
        await until(lambda: harness.has(1, 3, 4))
        await harness.publish(5)
        await until(lambda: harness.has(1, 3, 4, 5))
        # All but the failing one are acknowledged after their effect.
        await until(lambda: harness.is_pending(1))
    assert await harness.dead_letters() == []


async def test_two_failing_events_are_dead_lettered_separately(harness: ConsumerHarness) -> None:
    harness.failure = poison(2, 4)
    await harness.publish(1, 2, 3)
    async with consuming(harness.consumer()):
        await until(lambda: harness.has(1, 3))
        await harness.publish(4, 5)
        await until(lambda: harness.has(1, 3, 5))
        await until(harness.done)
    assert sorted(letter[b"entry"] for letter in await harness.dead_letters()) == [b"1-2", b"1-4"]
    assert await harness.redis.exists(TRIES) == 0


async def test_tries_survive_a_crash_in_between(
    harness: ConsumerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Members die one after the other; together they try the event MAX_TRIES times."""
    monkeypatch.setattr(consumers, "RETRY_SECONDS", 30.0)
    monkeypatch.setattr(consumers, "CLAIM_IDLE_MS", 1)
    harness.failure = poison(1)
    await harness.publish(1)

    async def tried(times: int) -> bool:
        counted = await harness.redis.hget(TRIES, "1-1")  # type: ignore[misc]
        return bool(counted == str(times).encode())

    for life in range(1, consumers.MAX_TRIES):
        async with consuming(harness.consumer(f"member-{life}")):
            await until(partial(tried, life))
    assert await harness.dead_letters() == []
    async with consuming(harness.consumer("last")):
        await until(harness.done)
    assert len(await harness.dead_letters()) == 1
    assert await harness.redis.exists(TRIES) == 0


async def test_the_count_of_tries_is_deleted_when_an_event_succeeds_after_a_crash(
    harness: ConsumerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "RETRY_SECONDS", 30.0)
    harness.failure = poison(1)
    await harness.publish(1)
    async with consuming(harness.consumer()):
        await until(lambda: harness.redis.exists(TRIES))
    harness.failure = poison()
    async with consuming(harness.consumer()):
        await until(harness.done)
        await until(lambda: harness.has(1))

        async def forgotten() -> bool:
            return not await harness.redis.exists(TRIES)

        await until(forgotten)


async def test_a_handler_that_always_fails_pauses_new_events(
    harness: ConsumerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault is the handler's then, and the number of waiting events must be bounded."""
    monkeypatch.setattr(consumers, "RETRY_SECONDS", 0.3)
    monkeypatch.setattr(consumers, "MAX_RETRIES", 3)
    harness.failure = poison(*range(100))
    await harness.publish(1, 2, 3)
    async with consuming(harness.consumer()):

        async def waiting() -> bool:
            return int(await harness.redis.hlen(TRIES)) == 3  # type: ignore[misc]

        await until(waiting)
        await harness.publish(4)
        await asyncio.sleep(0.2)
        assert await harness.pending() == 3
        await until(harness.done)
    assert len(await harness.dead_letters()) == 4


async def test_a_malformed_entry_is_dead_lettered_at_once(harness: ConsumerHarness) -> None:
    await harness.publish(1)
    await harness.redis.xadd(STREAM, {"e": b"not json"})
    await harness.redis.xadd(STREAM, {"other": b"field"})
    async with consuming(harness.consumer()):
        await until(harness.done)
    assert [letter[b"reason"] for letter in await harness.dead_letters()] == [
        b"not an event",
        b"not an event",
    ]
    assert await harness.effects() == [1]


async def test_an_unavailable_database_does_not_count_as_a_try(harness: ConsumerHarness) -> None:
    faults = iter([TimeoutError, asyncpg.CannotConnectNowError, ConnectionError] * 4)

    def away(_: Event) -> None:
        failure = next(faults, None)
        if failure is not None:
            raise failure

    harness.failure = away
    await harness.publish(1)
    for _ in range(12):
        with pytest.raises((TimeoutError, asyncpg.CannotConnectNowError, ConnectionError)):
            await harness.consumer().run()
    assert await harness.redis.exists(TRIES) == 0
    async with consuming(harness.consumer()):
        await until(lambda: harness.has(1))
    assert await harness.dead_letters() == []


async def test_an_emptied_redis_is_consumed_from_the_start_without_repeating(
    harness: ConsumerHarness,
) -> None:
    await harness.publish(1, 2)
    async with consuming(harness.consumer()):
        await until(harness.done)
        await harness.redis.flushall()
        await harness.publish(3)
        await until(lambda: harness.has(1, 2, 3))
        await until(harness.done)
    assert await harness.effects() == [1, 2, 3]


async def test_lost_groups_are_created_again_from_the_start(harness: ConsumerHarness) -> None:
    await harness.publish(1, 2)
    async with consuming(harness.consumer()):
        await until(harness.done)
        for stream in (STREAM, REDRIVE_PREFIX + GROUP):
            await harness.redis.xgroup_destroy(stream, GROUP)
        await harness.publish(3)
        await until(lambda: harness.has(1, 2, 3))
        await until(harness.done)
    assert await harness.effects() == [1, 2, 3]


async def test_entries_of_a_dead_member_are_claimed(
    harness: ConsumerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "CLAIM_IDLE_MS", 20)
    monkeypatch.setattr(consumers, "BATCH", 2)
    await harness.publish(*range(7))
    await harness.redis.xgroup_create(STREAM, GROUP, id="0")
    await harness.redis.xreadgroup(GROUP, "dead", {STREAM: ">"}, count=7)
    await asyncio.sleep(0.03)
    async with consuming(harness.consumer("alive")):
        await until(harness.done)
    assert await harness.effects() == list(range(7))


async def test_an_entry_in_progress_is_not_claimed(harness: ConsumerHarness) -> None:
    await harness.publish(1)
    await harness.redis.xgroup_create(STREAM, GROUP, id="0")
    await harness.redis.xreadgroup(GROUP, "busy", {STREAM: ">"})
    async with consuming(harness.consumer("other")):
        await harness.publish(2)
        await until(lambda: harness.has(2))
    assert await harness.pending() == 1


@pytest.mark.parametrize("member", ["dead", "one"])
async def test_a_deleted_pending_entry_blocks_no_other(
    harness: ConsumerHarness, monkeypatch: pytest.MonkeyPatch, member: str
) -> None:
    monkeypatch.setattr(consumers, "CLAIM_IDLE_MS", 20)
    await harness.publish(1, 2)
    await harness.redis.xgroup_create(STREAM, GROUP, id="0")
    await harness.redis.xreadgroup(GROUP, member, {STREAM: ">"})
    await harness.redis.xdel(STREAM, "1-1")
    await asyncio.sleep(0.03)
    async with consuming(harness.consumer("one")):
        await until(harness.done)
    assert await harness.effects() == [2]


async def test_a_failing_handlers_writes_are_rolled_back(harness: ConsumerHarness) -> None:
    seen: list[UUID] = []

    async def half(connection: Connection, event: Event) -> None:
        await connection.execute("insert into orders.effects values (99)")
        seen.append(event.envelope.id)
        if len(seen) < 3:
            raise ValueError("halfway")

    await harness.publish(1)
    async with consuming(harness.consumer(handler=half)):
        await until(lambda: harness.has(99))
    assert await harness.effects() == [99]


async def test_a_consumer_stopped_during_a_batch_finishes_it(harness: ConsumerHarness) -> None:
    halfway = asyncio.Event()

    async def slow(connection: Connection, event: Event) -> None:
        await harness.handle(connection, event)
        halfway.set()
        await asyncio.sleep(0.2)

    async with consuming(harness.consumer(handler=slow)):
        await harness.publish(1, 2)
        await halfway.wait()
    assert await harness.effects() == [1, 2]
    assert await harness.pending() == 0
    assert await harness.redis.xinfo_consumers(STREAM, GROUP) == []


async def test_a_consumer_stopped_before_a_retry_leaves_the_event_to_other_members(
    harness: ConsumerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "RETRY_SECONDS", 60)

    def fail(_event: Event) -> None:
        raise RuntimeError("not now")

    harness.failure = fail
    async with consuming(harness.consumer()):
        await harness.publish(1)
        await until(lambda: harness.is_pending(1))
        await until(partial(_tried, harness))
    assert await harness.pending() == 1
    harness.failure = lambda event: None
    monkeypatch.setattr(consumers, "CLAIM_IDLE_MS", 1)
    async with consuming(harness.consumer("another")):
        await until(harness.done)
    assert await harness.effects() == [1]


async def _tried(harness: ConsumerHarness) -> bool:
    return bool(harness.tried)
