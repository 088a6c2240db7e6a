"""Consumers: an event's effect once, whatever is delivered twice, poisoned, lost or left by the dead."""

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
TYPES = frozenset({"order.created", "order.updated"})


class Desk:
    """A consumer whose effects are rows of `orders.effects`, beside what a test needs to see and break."""

    def __init__(self, system: System, rows: Any, pool: Any) -> None:
        self.system = system
        self.rows = rows
        self.redis = system.redis()
        self._pool = pool
        self.fault: Callable[[Event], None] = lambda event: None
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
        self.fault(event)

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
        """Everything on the stream was delivered and acknowledged."""
        groups = {group["name"]: group for group in await self.redis.xinfo_groups(STREAM)}
        last = (await self.redis.xinfo_stream(STREAM))["last-generated-id"]
        group = groups.get(GROUP.encode())
        return group is not None and group["last-delivered-id"] == last and group["pending"] == 0

    async def dead(self) -> list[dict[bytes, bytes]]:
        return [fields for _, fields in await self.redis.xrange(DEAD_LETTERS)]


@pytest.fixture
async def desk(system: System, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setattr(consumers, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(consumers, "BLOCK_MS", 100)
    rows = await system.connect()
    await rows.execute(
        "create table orders.effects (n int, seq bigint generated always as identity)"
    )
    async with open_resources(system.settings, "orders") as stores:
        yield Desk(system, rows, stores.pool)


@asynccontextmanager
async def consuming(*members: Consumer) -> AsyncIterator[None]:
    async with running(*((f"consumer-{n}", member.run) for n, member in enumerate(members))):
        yield


async def test_events_of_its_types_are_handled_in_order_and_acknowledged(desk: Desk) -> None:
    await desk.publish(1, 2)
    await desk.publish(3, type="user.registered")
    await desk.publish(4, type="order.updated")
    async with consuming(desk.consumer()):
        await until(desk.done)
    assert await desk.effects() == [1, 2, 4]


async def test_an_event_that_is_delivered_twice_has_its_effect_once(desk: Desk) -> None:
    await desk.publish(1, 2)
    entries = await desk.redis.xrange(STREAM)
    consumer = desk.consumer()
    await desk.redis.xgroup_create(STREAM, GROUP, id="0")
    assert await consumer.handle(entries) == 0
    assert await consumer.handle(entries) == 0
    assert await desk.effects() == [1, 2]


async def test_an_event_twice_in_one_batch_has_its_effect_once(desk: Desk) -> None:
    await desk.publish(1)
    entries = await desk.redis.xrange(STREAM)
    await desk.redis.xgroup_create(STREAM, GROUP, id="0")
    assert await desk.consumer().handle(entries * 2) == 0
    assert await desk.effects() == [1]


async def test_two_members_share_the_events_and_each_is_handled_once(desk: Desk) -> None:
    await desk.publish(*range(50))
    async with consuming(desk.consumer("one"), desk.consumer("two")):
        await until(desk.done)
    assert sorted(await desk.effects()) == list(range(50))


async def test_a_crash_before_the_acknowledgement_repeats_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The effect is committed first: an entry that was never acknowledged comes again, and the inbox turns it away."""
    await desk.publish(1)
    with monkeypatch.context() as crash:

        async def dies(*_: object) -> int:
            raise SystemError("kill -9")

        crash.setattr(desk.redis, "xack", dies)
        with pytest.raises(SystemError):
            await desk.consumer().run()
    assert await desk.effects() == [1]
    assert await desk.pending() == 1
    async with consuming(desk.consumer()):
        await until(desk.done)
    assert await desk.effects() == [1]


async def test_an_effect_that_did_not_commit_is_not_acknowledged(desk: Desk) -> None:
    await desk.publish(1)

    def cut(_: Event) -> None:
        raise asyncpg.ConnectionDoesNotExistError

    desk.fault = cut
    with pytest.raises(asyncpg.ConnectionDoesNotExistError):
        await desk.consumer().run()
    assert await desk.effects() == []
    assert await desk.pending() == 1


async def test_a_poisoned_event_is_buried_after_five_tries_and_its_neighbours_flow(
    desk: Desk,
) -> None:
    def poisoned(event: Event) -> None:
        if event.envelope.version == 2:
            raise ValueError("poison")

    desk.fault = poisoned
    await desk.publish(1, 2, 3)
    async with consuming(desk.consumer()):
        await until(desk.done)
        await desk.publish(4)
        await until(lambda: desk.has(1, 3, 4))
    (letter,) = await desk.dead()
    assert (letter[b"consumer"], letter[b"entry"]) == (GROUP.encode(), b"1-2")
    assert b"poison" in letter[b"reason"]
    assert letter[b"e"] == (await desk.redis.xrange(STREAM, "1-2", "1-2"))[0][1][b"e"]
    # Together with its batch, and then alone.
    assert desk.tried.count(2) == 1 + consumers.MAX_TRIES
    assert await desk.redis.exists("gittix:events:tries:" + GROUP) == 0


def poison(*numbers: int) -> Callable[[Event], None]:
    def fails(event: Event) -> None:
        if event.envelope.version in numbers:
            raise ValueError("poison")

    return fails


async def test_new_events_are_handled_while_a_poisoned_one_waits_for_its_next_try(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "RETRY_SECONDS", 30.0)
    desk.fault = poison(2)
    await desk.publish(1, 2, 3)
    async with consuming(desk.consumer()):
        await until(lambda: desk.has(1, 3))
        await desk.publish(4)
        await until(lambda: desk.has(1, 3, 4))
        await desk.publish(5)
        await until(lambda: desk.has(1, 3, 4, 5))
        # Acknowledged after the effect, but for the one that waits.
        await until(lambda: desk.is_pending(1))
    assert await desk.dead() == []


async def test_two_poisoned_events_are_buried_each_by_itself(desk: Desk) -> None:
    desk.fault = poison(2, 4)
    await desk.publish(1, 2, 3)
    async with consuming(desk.consumer()):
        await until(lambda: desk.has(1, 3))
        await desk.publish(4, 5)
        await until(lambda: desk.has(1, 3, 5))
        await until(desk.done)
    assert sorted(letter[b"entry"] for letter in await desk.dead()) == [b"1-2", b"1-4"]
    assert await desk.redis.exists("gittix:events:tries:" + GROUP) == 0


async def test_tries_survive_a_crash_in_between(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three members die one after the other, each after it saw the event fail; together they try it five times."""
    monkeypatch.setattr(consumers, "RETRY_SECONDS", 30.0)
    monkeypatch.setattr(consumers, "CLAIM_IDLE_MS", 1)
    desk.fault = poison(1)
    await desk.publish(1)

    async def tried(times: int) -> bool:
        counted = await desk.redis.hget("gittix:events:tries:" + GROUP, "1-1")  # type: ignore[misc]
        return bool(counted == str(times).encode())

    for life in range(1, consumers.MAX_TRIES):
        async with consuming(desk.consumer(f"member-{life}")):
            await until(partial(tried, life))
    assert await desk.dead() == []
    async with consuming(desk.consumer("last")):
        await until(desk.done)
    assert len(await desk.dead()) == 1
    assert await desk.redis.exists("gittix:events:tries:" + GROUP) == 0


async def test_an_event_that_recovers_after_a_crash_leaves_no_count_of_its_tries(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "RETRY_SECONDS", 30.0)
    desk.fault = poison(1)
    await desk.publish(1)
    async with consuming(desk.consumer()):
        await until(lambda: desk.redis.exists("gittix:events:tries:" + GROUP))
    desk.fault = poison()
    async with consuming(desk.consumer()):
        await until(desk.done)
        await until(lambda: desk.has(1))

        async def forgotten() -> bool:
            return not await desk.redis.exists("gittix:events:tries:" + GROUP)

        await until(forgotten)


async def test_a_handler_that_always_fails_holds_new_events_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no poison then, and what waits must have a bound."""
    monkeypatch.setattr(consumers, "RETRY_SECONDS", 0.3)
    monkeypatch.setattr(consumers, "MAX_RETRIES", 3)
    desk.fault = poison(*range(100))
    await desk.publish(1, 2, 3)
    async with consuming(desk.consumer()):

        async def waiting() -> bool:
            return int(await desk.redis.hlen("gittix:events:tries:" + GROUP)) == 3  # type: ignore[misc]

        await until(waiting)
        await desk.publish(4)
        await asyncio.sleep(0.2)
        assert await desk.pending() == 3
        await until(desk.done)
    assert len(await desk.dead()) == 4


async def test_what_is_not_an_event_is_buried_at_once(desk: Desk) -> None:
    await desk.publish(1)
    await desk.redis.xadd(STREAM, {"e": b"not json"})
    await desk.redis.xadd(STREAM, {"other": b"field"})
    async with consuming(desk.consumer()):
        await until(desk.done)
    assert [letter[b"reason"] for letter in await desk.dead()] == [b"not an event", b"not an event"]
    assert await desk.effects() == [1]


async def test_an_unavailable_database_counts_as_no_try(desk: Desk) -> None:
    faults = iter([TimeoutError, asyncpg.CannotConnectNowError, ConnectionError] * 4)

    def away(_: Event) -> None:
        fault = next(faults, None)
        if fault is not None:
            raise fault

    desk.fault = away
    await desk.publish(1)
    for _ in range(12):
        with pytest.raises((TimeoutError, asyncpg.CannotConnectNowError, ConnectionError)):
            await desk.consumer().run()
    assert await desk.redis.exists("gittix:events:tries:" + GROUP) == 0
    async with consuming(desk.consumer()):
        await until(lambda: desk.has(1))
    assert await desk.dead() == []


async def test_an_emptied_redis_is_consumed_from_the_start_without_repeating(desk: Desk) -> None:
    await desk.publish(1, 2)
    async with consuming(desk.consumer()):
        await until(desk.done)
        await desk.redis.flushall()
        await desk.publish(3)
        await until(lambda: desk.has(1, 2, 3))
        await until(desk.done)
    assert await desk.effects() == [1, 2, 3]


async def test_groups_that_vanish_are_made_again_from_the_start(desk: Desk) -> None:
    await desk.publish(1, 2)
    async with consuming(desk.consumer()):
        await until(desk.done)
        for stream in (STREAM, REDRIVE_PREFIX + GROUP):
            await desk.redis.xgroup_destroy(stream, GROUP)
        await desk.publish(3)
        await until(lambda: desk.has(1, 2, 3))
        await until(desk.done)
    assert await desk.effects() == [1, 2, 3]


async def test_entries_of_a_dead_member_are_taken_over(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "CLAIM_IDLE_MS", 20)
    monkeypatch.setattr(consumers, "BATCH", 2)
    await desk.publish(*range(7))
    await desk.redis.xgroup_create(STREAM, GROUP, id="0")
    await desk.redis.xreadgroup(GROUP, "dead", {STREAM: ">"}, count=7)
    await asyncio.sleep(0.03)
    async with consuming(desk.consumer("alive")):
        await until(desk.done)
    assert await desk.effects() == list(range(7))


async def test_an_entry_that_is_being_worked_on_is_not_taken_over(desk: Desk) -> None:
    await desk.publish(1)
    await desk.redis.xgroup_create(STREAM, GROUP, id="0")
    await desk.redis.xreadgroup(GROUP, "busy", {STREAM: ">"})
    async with consuming(desk.consumer("other")):
        await desk.publish(2)
        await until(lambda: desk.has(2))
    assert await desk.pending() == 1


@pytest.mark.parametrize("member", ["dead", "one"])
async def test_a_pending_entry_that_was_deleted_stalls_nobody(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, member: str
) -> None:
    monkeypatch.setattr(consumers, "CLAIM_IDLE_MS", 20)
    await desk.publish(1, 2)
    await desk.redis.xgroup_create(STREAM, GROUP, id="0")
    await desk.redis.xreadgroup(GROUP, member, {STREAM: ">"})
    await desk.redis.xdel(STREAM, "1-1")
    await asyncio.sleep(0.03)
    async with consuming(desk.consumer("one")):
        await until(desk.done)
    assert await desk.effects() == [2]


async def test_a_handlers_own_writes_roll_back_with_it(desk: Desk) -> None:
    seen: list[UUID] = []

    async def half(connection: Connection, event: Event) -> None:
        await connection.execute("insert into orders.effects values (99)")
        seen.append(event.envelope.id)
        if len(seen) < 3:
            raise ValueError("halfway")

    await desk.publish(1)
    async with consuming(desk.consumer(handler=half)):
        await until(lambda: desk.has(99))
    assert await desk.effects() == [99]


async def test_one_that_is_stopped_halfway_leaves_nothing_undone(desk: Desk) -> None:
    halfway = asyncio.Event()

    async def slow(connection: Connection, event: Event) -> None:
        await desk.handle(connection, event)
        halfway.set()
        await asyncio.sleep(0.2)

    async with consuming(desk.consumer(handler=slow)):
        await desk.publish(1, 2)
        await halfway.wait()
    assert await desk.effects() == [1, 2]
    assert await desk.pending() == 0
    assert await desk.redis.xinfo_consumers(STREAM, GROUP) == []


async def test_one_that_is_stopped_while_an_event_waits_for_its_next_try_leaves_it_to_the_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "RETRY_SECONDS", 60)

    def fail(_event: Event) -> None:
        raise RuntimeError("not now")

    desk.fault = fail
    async with consuming(desk.consumer()):
        await desk.publish(1)
        await until(lambda: desk.is_pending(1))
        await until(partial(_tried, desk))
    assert await desk.pending() == 1
    desk.fault = lambda event: None
    monkeypatch.setattr(consumers, "CLAIM_IDLE_MS", 1)
    async with consuming(desk.consumer("another")):
        await until(desk.done)
    assert await desk.effects() == [1]


async def _tried(desk: Desk) -> bool:
    return bool(desk.tried)
