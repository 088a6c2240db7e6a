"""Dead letters: shown, and sent back to the one consumer that buried them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis
from typer.testing import CliRunner

from backend.cli import cli
from backend.events import consumer as consumers
from backend.events.catalogue import Event
from backend.events.consumer import Consumer
from backend.events.dead_letters import (
    DeadLetterError,
    all_dead_letters,
    dead_letters_of,
    find_dead_letters,
    redrive,
)
from backend.events.resources import Resources, open_resources
from backend.events.stream import REDRIVE_PREFIX, STREAM, EventStream, Position, add_dead_letter
from backend.kernel.database import Connection
from backend.kernel.supervisor import running
from tests.embedded.running import gittix
from tests.events.log import ids, publish, record
from tests.system import System, until

TYPES = frozenset({"order.created"})


class Shop:
    """Two consumers that write what they handle; one of them can be told to choke."""

    def __init__(self, system: System, stores: Resources, rows: Any) -> None:
        self.system = system
        self.redis: Redis = stores.redis
        self.rows = rows
        self._stores = stores
        self.poison: set[int] = set()
        self.handled: dict[str, list[int]] = {"first": [], "second": []}

    def consumer(self, name: str) -> Consumer:
        async def handle(_: Connection, event: Event) -> None:
            number = event.envelope.version
            if name == "first" and number in self.poison:
                raise ValueError(f"{number} is poison")
            self.handled[name].append(number)

        return Consumer(name, self.redis, self._stores.pool, "orders", handle, types=TYPES)

    @asynccontextmanager
    async def consuming(self, *names: str) -> AsyncIterator[None]:
        async with running(*((name, self.consumer(name).run) for name in names)):
            yield

    async def publish(self, *numbers: int) -> None:
        await record(self.rows, *numbers)
        await publish(self.system)

    async def letters(self, *, count: int) -> list[str]:
        """The ids of the letters, once there are as many."""

        async def enough() -> bool:
            return len([letter async for letter in all_dead_letters(self.redis)]) == count

        await until(enough)
        return [letter.id async for letter in all_dead_letters(self.redis)]

    async def bury(self, *numbers: int) -> list[str]:
        """Letters of the first consumer, for these events; the second handled them."""
        self.poison = set(numbers)
        await self.publish(*numbers)
        async with self.consuming("first", "second"):
            found = await self.letters(count=len(numbers))
            await until(lambda: self.has("second", *numbers))
        self.poison = set()
        return found

    async def has(self, name: str, *numbers: int) -> bool:
        return sorted(self.handled[name]) == sorted(numbers)

    async def waits(self, name: str) -> int:
        return int(await self.redis.xlen(REDRIVE_PREFIX + name))


@pytest.fixture
async def shop(system: System, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    monkeypatch.setattr(consumers, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(consumers, "BLOCK_MS", 100)
    async with open_resources(system.settings, "orders") as stores:
        yield Shop(system, stores, await system.connect())


async def test_a_letter_goes_back_to_the_one_that_buried_it_and_to_nobody_else(shop: Shop) -> None:
    await shop.bury(1, 2)
    before = await ids(shop.redis)
    await redrive(shop.redis, await dead_letters_of(shop.redis, None))
    async with shop.consuming("first", "second"):
        await until(lambda: shop.has("first", 1, 2))
        await shop.publish(3)
        await until(lambda: shop.has("second", 1, 2, 3))
        await until(lambda: shop.has("first", 1, 2, 3))
    assert await ids(shop.redis) == [*before, "1-3"]
    assert [letter async for letter in all_dead_letters(shop.redis)] == []
    assert await shop.waits("first") == 0


async def test_a_running_consumer_takes_a_letter_at_once(shop: Shop) -> None:
    (letter,) = await shop.bury(1)
    async with shop.consuming("first"):
        await redrive(shop.redis, await find_dead_letters(shop.redis, [letter]))
        await until(lambda: shop.has("first", 1))


async def test_one_that_fails_again_is_buried_again_after_five_tries(shop: Shop) -> None:
    (letter,) = await shop.bury(1)
    shop.poison = {1}
    async with shop.consuming("first"):
        await redrive(shop.redis, await dead_letters_of(shop.redis, "first"))

        async def another() -> bool:
            return [found.id async for found in all_dead_letters(shop.redis)] not in ([], [letter])

        await until(another)
    (again,) = await find_dead_letters(shop.redis, await shop.letters(count=1))
    assert (again.consumer, again.entry) == ("first", "1-1")
    assert "poison" in again.reason
    assert again.event is not None
    assert again.event.position == 1
    assert await shop.waits("first") == 0
    assert await shop.redis.exists("gittix:events:tries:first") == 0


async def test_an_effect_that_was_made_meanwhile_is_not_made_twice(shop: Shop) -> None:
    """A crash between the copy and its acknowledgement leaves two letters of one event."""
    await shop.bury(1)
    (entry,) = await shop.redis.xrange(STREAM)
    await add_dead_letter(shop.redis, "first", entry[0], entry[1], "the copy")
    await redrive(shop.redis, await dead_letters_of(shop.redis, None))
    async with shop.consuming("first"):
        await until(lambda: shop.has("first", 1))

        async def done() -> bool:
            return await shop.waits("first") == 0

        await until(done)
    assert shop.handled["first"] == [1]


async def test_a_letter_that_waits_outlives_its_consumer_and_the_streams_trim(shop: Shop) -> None:
    await shop.bury(1)
    await redrive(shop.redis, await dead_letters_of(shop.redis, None))
    await shop.redis.xtrim(STREAM, maxlen=0)
    # Delivered to a member that died before it handled it.
    assert await shop.redis.xreadgroup("first", "dead", {REDRIVE_PREFIX + "first": ">"})
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(consumers, "CLAIM_IDLE_MS", 1)
        async with shop.consuming("first"):
            await until(lambda: shop.has("first", 1))


async def test_two_who_send_back_the_same_letter_send_it_once(shop: Shop) -> None:
    await shop.bury(1)
    letters = await dead_letters_of(shop.redis, None)
    outcomes = await asyncio.gather(
        *(redrive(shop.redis, letters) for _ in range(5)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes].count(DeadLetterError) == 4
    assert await shop.waits("first") == 1


async def test_with_one_letter_unknown_none_is_sent(shop: Shop) -> None:
    known = await shop.bury(1)
    with pytest.raises(DeadLetterError, match="no dead letter 1-1"):
        await find_dead_letters(shop.redis, [*known, "1-1"])
    (letter,) = await dead_letters_of(shop.redis, None)
    with pytest.raises(DeadLetterError, match="no dead letter 7-7"):
        await redrive(shop.redis, [letter, letter._replace(id="7-7")])
    assert await shop.letters(count=1) == known
    assert await shop.waits("first") == 0


async def test_a_letter_of_a_consumer_that_is_no_more_stays(shop: Shop) -> None:
    await shop.bury(1)
    (entry,) = await shop.redis.xrange(STREAM)
    await add_dead_letter(shop.redis, "retired", entry[0], entry[1], "no reason")
    with pytest.raises(
        DeadLetterError, match=r"no consumer retired; the consumers are: first, second"
    ):
        await redrive(shop.redis, await dead_letters_of(shop.redis, None))
    assert len(await shop.letters(count=2)) == 2


async def test_the_letters_of_more_than_a_page_all_go_back_in_order(shop: Shop) -> None:
    await shop.publish(*range(250))
    await shop.redis.xgroup_create(STREAM, "first", id="$")
    for entry_id, fields in await shop.redis.xrange(STREAM):
        await add_dead_letter(shop.redis, "first", entry_id, fields, "by hand")
    await redrive(shop.redis, await dead_letters_of(shop.redis, None))
    async with shop.consuming("first"):
        await until(lambda: shop.has("first", *range(250)))
    assert shop.handled["first"] == list(range(250))


async def test_the_commands_show_count_and_send_back(shop: Shop) -> None:
    letter, other = await shop.bury(1, 2)
    environment = shop.system.environment
    assert await gittix("events", "dead", "--count", **environment) == (0, "2\n")
    status, shown = await gittix("events", "dead", **environment)
    assert status == 0
    first, second = shown.splitlines()
    assert first.split()[:4] == [letter, "first", "1-1", "order.created"]
    assert "ValueError('1 is poison')" in first
    assert second.split()[0] == other
    assert await gittix("events", "redrive", letter, **environment) == (
        0,
        "1 dead letter redriven: 1 to first\n",
    )
    status, said = await gittix("events", "redrive", letter, **environment)
    assert (status, said) == (
        1,
        f"gittix: there is no dead letter {letter}; it may have been redriven already\n",
    )
    assert await shop.letters(count=1) == [other]


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--all"], 0, "no dead letters to redrive\n"),
        (
            ["--all", "--consumer", "nobody"],
            1,
            "gittix: there is no consumer nobody; the consumers are: payments\n",
        ),
        (
            ["1"],
            1,
            "gittix: '1' is not the id of a dead letter; `gittix events dead` lists the ids\n",
        ),
    ],
    ids=["all of none", "unknown consumer", "no id"],
)
async def test_what_cannot_be_sent_back_is_a_sentence(
    system: System, arguments: list[str], status: int, says: str
) -> None:
    await system.redis().xgroup_create(STREAM, "payments", mkstream=True)
    assert await gittix("events", "redrive", *arguments, **system.environment) == (status, says)


@pytest.mark.parametrize("arguments", [[], ["--all", "1-1"], ["1-1", "--consumer", "payments"]])
def test_a_command_that_says_too_little_or_too_much_is_refused(arguments: list[str]) -> None:
    refused = CliRunner().invoke(cli, ["events", "redrive", *arguments])
    assert refused.exit_code == 2
    assert "Usage" in refused.output


async def test_trimming_leaves_what_was_sent_back(shop: Shop) -> None:
    await shop.bury(1)
    await redrive(shop.redis, await dead_letters_of(shop.redis, None))
    events = EventStream(shop.redis)
    await events.report_progress("notifier", Position(1, 1))
    await events.trim(0)
    assert await shop.waits("first") == 1
