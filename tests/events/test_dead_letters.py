"""Dead letters are listed, and redriven only to the consumer that failed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from click.testing import CliRunner
from redis.asyncio import Redis

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
from backend.events.stream import REDRIVE_PREFIX, STREAM, EntryId, EventStream, add_dead_letter
from backend.kernel.database import Connection
from backend.kernel.supervisor import running
from tests.embedded.running import gittix
from tests.events.log import ids, publish, record
from tests.system import System, until

TYPES = frozenset({"order.created"})


class TwoConsumers:
    """Two consumers that record their events; the first fails on the numbers in `poison`."""

    def __init__(self, system: System, resources: Resources, rows: Any) -> None:
        self.system = system
        self.redis: Redis = resources.redis
        self.rows = rows
        self._resources = resources
        self.poison: set[int] = set()
        self.handled: dict[str, list[int]] = {"first": [], "second": []}

    def consumer(self, name: str) -> Consumer:
        async def handle(_: Connection, event: Event) -> None:
            number = event.envelope.version
            if name == "first" and number in self.poison:
                raise ValueError(f"{number} is poison")
            self.handled[name].append(number)

        return Consumer(name, self.redis, self._resources.pool, "orders", handle, types=TYPES)

    @asynccontextmanager
    async def consuming(self, *names: str) -> AsyncIterator[None]:
        async with running(*((name, self.consumer(name).run) for name in names)):
            yield

    async def publish(self, *numbers: int) -> None:
        await record(self.rows, *numbers)
        await publish(self.system)

    async def dead_letters(self, *, count: int) -> list[str]:
        """Wait until there are `count` dead letters, and return their ids."""

        async def enough() -> bool:
            return len([dead_letter async for dead_letter in all_dead_letters(self.redis)]) == count

        await until(enough)
        return [dead_letter.id async for dead_letter in all_dead_letters(self.redis)]

    async def fail_on(self, *numbers: int) -> list[str]:
        """Make the first consumer fail on these events; the second handles them.

        Returns the dead letters' ids.
        """
        self.poison = set(numbers)
        await self.publish(*numbers)
        async with self.consuming("first", "second"):
            found = await self.dead_letters(count=len(numbers))
            await until(lambda: self.has("second", *numbers))
        self.poison = set()
        return found

    async def has(self, name: str, *numbers: int) -> bool:
        return sorted(self.handled[name]) == sorted(numbers)

    async def redriven_count(self, name: str) -> int:
        return int(await self.redis.xlen(REDRIVE_PREFIX + name))


@pytest.fixture
async def pair(system: System, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TwoConsumers]:
    monkeypatch.setattr(consumers, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(consumers, "BLOCK_MS", 100)
    async with open_resources(system.settings, "orders") as resources:
        yield TwoConsumers(system, resources, await system.connect())


async def test_a_dead_letter_is_redriven_only_to_its_own_consumer(pair: TwoConsumers) -> None:
    await pair.fail_on(1, 2)
    before = await ids(pair.redis)
    await redrive(pair.redis, await dead_letters_of(pair.redis, None))
    async with pair.consuming("first", "second"):
        await until(lambda: pair.has("first", 1, 2))
        await pair.publish(3)
        await until(lambda: pair.has("second", 1, 2, 3))
        await until(lambda: pair.has("first", 1, 2, 3))
    assert await ids(pair.redis) == [*before, "1-3"]
    assert [dead_letter async for dead_letter in all_dead_letters(pair.redis)] == []
    assert await pair.redriven_count("first") == 0


async def test_a_running_consumer_handles_a_redriven_event_at_once(pair: TwoConsumers) -> None:
    (dead_letter,) = await pair.fail_on(1)
    async with pair.consuming("first"):
        await redrive(pair.redis, await find_dead_letters(pair.redis, [dead_letter]))
        await until(lambda: pair.has("first", 1))


async def test_a_redriven_event_that_fails_is_dead_lettered_after_five_tries(
    pair: TwoConsumers,
) -> None:
    (dead_letter,) = await pair.fail_on(1)
    pair.poison = {1}
    async with pair.consuming("first"):
        await redrive(pair.redis, await dead_letters_of(pair.redis, "first"))

        async def another() -> bool:
            return [found.id async for found in all_dead_letters(pair.redis)] not in (
                [],
                [dead_letter],
            )

        await until(another)
    (again,) = await find_dead_letters(pair.redis, await pair.dead_letters(count=1))
    assert (again.consumer, again.entry) == ("first", "1-1")
    assert "poison" in again.reason
    assert again.event is not None
    assert again.event.position == 1
    assert await pair.redriven_count("first") == 0
    assert await pair.redis.exists("gittix:events:tries:first") == 0


async def test_a_second_dead_letter_of_an_event_takes_no_effect(pair: TwoConsumers) -> None:
    """A crash between the copy and the acknowledgement leaves two dead letters of one event."""
    await pair.fail_on(1)
    (entry,) = await pair.redis.xrange(STREAM)
    await add_dead_letter(pair.redis, "first", entry[0], entry[1], "the copy")
    await redrive(pair.redis, await dead_letters_of(pair.redis, None))
    async with pair.consuming("first"):
        await until(lambda: pair.has("first", 1))

        async def done() -> bool:
            return await pair.redriven_count("first") == 0

        await until(done)
    assert pair.handled["first"] == [1]


async def test_a_redriven_event_survives_a_dead_consumer_and_trimming(pair: TwoConsumers) -> None:
    await pair.fail_on(1)
    await redrive(pair.redis, await dead_letters_of(pair.redis, None))
    await pair.redis.xtrim(STREAM, maxlen=0)
    # Deliver it to a member that dies before it handles it.
    assert await pair.redis.xreadgroup("first", "dead", {REDRIVE_PREFIX + "first": ">"})
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(consumers, "CLAIM_IDLE_MS", 1)
        async with pair.consuming("first"):
            await until(lambda: pair.has("first", 1))


async def test_concurrent_redrives_move_a_dead_letter_once(pair: TwoConsumers) -> None:
    await pair.fail_on(1)
    dead_letters = await dead_letters_of(pair.redis, None)
    outcomes = await asyncio.gather(
        *(redrive(pair.redis, dead_letters) for _ in range(5)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes].count(DeadLetterError) == 4
    assert await pair.redriven_count("first") == 1


async def test_an_unknown_id_redrives_no_dead_letter(pair: TwoConsumers) -> None:
    known = await pair.fail_on(1)
    with pytest.raises(DeadLetterError, match="no dead letter 1-1"):
        await find_dead_letters(pair.redis, [*known, "1-1"])
    (dead_letter,) = await dead_letters_of(pair.redis, None)
    with pytest.raises(DeadLetterError, match="no dead letter 7-7"):
        await redrive(pair.redis, [dead_letter, dead_letter._replace(id="7-7")])
    assert await pair.dead_letters(count=1) == known
    assert await pair.redriven_count("first") == 0


async def test_a_dead_letter_of_a_removed_consumer_stays(pair: TwoConsumers) -> None:
    await pair.fail_on(1)
    (entry,) = await pair.redis.xrange(STREAM)
    await add_dead_letter(pair.redis, "retired", entry[0], entry[1], "no reason")
    with pytest.raises(
        DeadLetterError, match=r"no consumer retired; the consumers are: first, second"
    ):
        await redrive(pair.redis, await dead_letters_of(pair.redis, None))
    assert len(await pair.dead_letters(count=2)) == 2


async def test_more_than_a_page_of_dead_letters_is_redriven_in_order(pair: TwoConsumers) -> None:
    await pair.publish(*range(250))
    await pair.redis.xgroup_create(STREAM, "first", id="$")
    for entry_id, fields in await pair.redis.xrange(STREAM):
        await add_dead_letter(pair.redis, "first", entry_id, fields, "by hand")
    await redrive(pair.redis, await dead_letters_of(pair.redis, None))
    async with pair.consuming("first"):
        await until(lambda: pair.has("first", *range(250)))
    assert pair.handled["first"] == list(range(250))


async def test_the_commands_list_count_and_redrive(pair: TwoConsumers) -> None:
    dead_letter, other = await pair.fail_on(1, 2)
    environment = pair.system.environment
    assert await gittix("events", "dead", "--count", **environment) == (0, "2\n")
    status, shown = await gittix("events", "dead", **environment)
    assert status == 0
    first, second = shown.splitlines()
    assert first.split()[:4] == [dead_letter, "first", "1-1", "order.created"]
    assert "ValueError('1 is poison')" in first
    assert second.split()[0] == other
    assert await gittix("events", "redrive", dead_letter, **environment) == (
        0,
        "1 dead letter redriven: 1 to first\n",
    )
    status, output = await gittix("events", "redrive", dead_letter, **environment)
    assert (status, output) == (
        1,
        f"gittix: there is no dead letter {dead_letter}; it may have been redriven already\n",
    )
    assert await pair.dead_letters(count=1) == [other]


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
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
async def test_a_failed_redrive_prints_a_sentence(
    system: System, arguments: list[str], status: int, expected: str
) -> None:
    await system.redis().xgroup_create(STREAM, "payments", mkstream=True)
    assert await gittix("events", "redrive", *arguments, **system.environment) == (status, expected)


@pytest.mark.parametrize("arguments", [[], ["--all", "1-1"], ["1-1", "--consumer", "payments"]])
def test_missing_or_conflicting_arguments_are_refused(arguments: list[str]) -> None:
    refused = CliRunner().invoke(cli, ["events", "redrive", *arguments])
    assert refused.exit_code == 2
    assert "Usage" in refused.output


async def test_trimming_keeps_redriven_events(pair: TwoConsumers) -> None:
    await pair.fail_on(1)
    await redrive(pair.redis, await dead_letters_of(pair.redis, None))
    events = EventStream(pair.redis)
    await events.report_progress("notifier", EntryId(1, 1))
    await events.trim(0)
    assert await pair.redriven_count("first") == 1
