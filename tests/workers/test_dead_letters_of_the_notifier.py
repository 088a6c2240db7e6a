"""Events that the notifier cannot publish: dead-lettered, and published once when redriven."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

import workers.notifier
from backend.events.catalogue import Event, decode_data
from backend.events.dead_letters import all_dead_letters
from backend.events.stream import DEAD_LETTERS
from tests.events.log import record_orders
from tests.system import System, until
from tests.workers.notifying import (
    held,
    messages_of_type,
    notifying,
    position_is_saved,
    published,
    redrive_by_id,
    redrive_stream_is_empty,
    totals,
)
from workers import push_messages
from workers.notifier import Notifier
from workers.push_messages import EventMessages, UnknownEventType

pytestmark = pytest.mark.usefixtures("short_waits")

UNKNOWN = UnknownEventType("an unknown version")


async def test_an_event_without_valid_messages_is_dead_lettered_and_the_next_is_published(
    system: System,
) -> None:
    rows = await system.connect()
    for name in ("ticket.eaten", "ticket.held"):
        await rows.execute(
            "insert into events.outbox (type, subject, version, data) values ($1, $2, 1, '{}')",
            name,
            uuid4(),
        )
    await system.start("api", "relay")
    async with notifying(system):
        await held(system)
        await messages_of_type(system, "sale.held")
    dead_letters = [fields for _, fields in await system.redis().xrange(DEAD_LETTERS)]
    assert [dead_letter[b"entry"] for dead_letter in dead_letters] == [b"1-1", b"1-2"]
    assert b"ticket.eaten" in dead_letters[0][b"reason"]
    assert {dead_letter[b"consumer"] for dead_letter in dead_letters} == {b"notifier"}


async def test_data_that_no_message_can_be_made_of_is_dead_lettered(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = await system.connect()
    await system.start("relay")
    monkeypatch.setattr(
        workers.notifier, "messages_of", _failing_for(1, TypeError("a time without a zone"))
    )
    async with notifying(system):
        await record_orders(rows, 1, 2)
        await messages_of_type(system, "order.created")
    assert await totals(system) == [2]
    assert await system.redis().xlen(DEAD_LETTERS) == 1


async def test_the_next_notifier_does_not_dead_letter_an_event_again(
    system: System,
) -> None:
    rows = await system.connect()
    await rows.execute(
        """
        insert into events.outbox (type, subject, version, data)
        values ('ticket.eaten', $1, 1, '{}')
        """,
        uuid4(),
    )
    await system.start("relay")
    for _ in range(2):
        async with notifying(system):
            await until(lambda: system.redis().xlen(DEAD_LETTERS))
            await asyncio.sleep(0.3)
    assert await system.redis().xlen(DEAD_LETTERS) == 1


@pytest.fixture
async def dead_letter_id(system: System, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of a dead letter. The notifier published a later order and can publish this one."""
    rows = await system.connect()
    await system.start("relay")
    with monkeypatch.context() as broken:
        broken.setattr(workers.notifier, "messages_of", _failing_for(1, UNKNOWN))
        async with notifying(system):
            await record_orders(rows, 1, 2)
            await messages_of_type(system, "order.created")
            # The next notifier has a position to save otherwise.
            await until(lambda: position_is_saved(system))
    assert await totals(system) == [2]
    (dead_letter,) = [dead_letter async for dead_letter in all_dead_letters(system.redis())]
    return dead_letter.id


def _failing_for(total: int, error: Exception) -> Any:
    def messages_of(event: Event) -> EventMessages:
        if decode_data(event).get("total") == total:
            raise error
        return push_messages.messages_of(event)

    return messages_of


async def test_a_redriven_event_is_published_once_and_at_once(
    system: System, dead_letter_id: str
) -> None:
    async with notifying(system):
        await redrive_by_id(system, dead_letter_id)
        await until(lambda: redrive_stream_is_empty(system))
        assert await totals(system) == [2, 1]
        seqs = [
            message.data["_seq"]
            for message in await published(system)
            if message.event == "order.created"
        ]
        assert len(seqs) == 2
        await record_orders(await system.connect(), 3)
        await messages_of_type(system, "order.created", times=3)
    assert await totals(system) == [2, 1, 3]
    assert len({message.data["_epoch"] for message in await published(system)}) == 1


async def test_a_redriven_event_that_fails_again_is_dead_lettered_again(
    system: System, dead_letter_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers.notifier, "messages_of", _failing_for(1, UNKNOWN))
    async with notifying(system):
        await redrive_by_id(system, dead_letter_id)
        await until(lambda: redrive_stream_is_empty(system))
        (dead_letter,) = [dead_letter async for dead_letter in all_dead_letters(system.redis())]
        assert (dead_letter.consumer, dead_letter.entry) == ("notifier", "1-1")
        assert dead_letter.id != dead_letter_id
        monkeypatch.undo()
        await redrive_by_id(system, dead_letter.id)
        await until(lambda: redrive_stream_is_empty(system))
    assert await totals(system) == [2, 1]


async def test_a_crash_before_a_redriven_entry_is_deleted_repeats_nothing(
    system: System, dead_letter_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(*_: Any) -> None:
        raise SystemError("kill -9")

    with monkeypatch.context() as crash:
        crash.setattr(Notifier, "_save_position", dies)
        async with notifying(system):
            await redrive_by_id(system, dead_letter_id)
            await messages_of_type(system, "order.created", times=2)
            assert not await redrive_stream_is_empty(system)
    async with notifying(system):
        await until(lambda: redrive_stream_is_empty(system))
    assert await totals(system) == [2, 1]


async def test_two_dead_letters_of_one_event_are_published_once(
    system: System, dead_letter_id: str
) -> None:
    redis = system.redis()
    ((_, fields),) = await redis.xrange(DEAD_LETTERS)
    copy = (await redis.xadd(DEAD_LETTERS, fields)).decode()
    async with notifying(system):
        await redrive_by_id(system, dead_letter_id, copy)
        await until(lambda: redrive_stream_is_empty(system))
    assert await totals(system) == [2, 1]


async def test_redriven_events_return_to_the_dead_letters_when_redis_lost_its_tail(
    system: System, dead_letter_id: str
) -> None:
    """Redis is restored to before the publication, which Postgres recorded."""
    redis = system.redis()
    await redrive_by_id(system, dead_letter_id)
    before = {name: await redis.dump(name) for name in await redis.keys("*")}
    async with notifying(system):
        await until(lambda: redrive_stream_is_empty(system))
    assert await totals(system) == [2, 1]
    await redis.flushall()
    for name, content in before.items():
        await redis.restore(name, 0, content)
    async with notifying(system):
        await until(lambda: redrive_stream_is_empty(system))
        await record_orders(await system.connect(), 3)
        await until(lambda: _is_published(system, 3))
    assert await totals(system) == [2, 3]
    (dead_letter,) = [dead_letter async for dead_letter in all_dead_letters(redis)]
    assert "may have been published" in dead_letter.reason


async def _is_published(system: System, total: int) -> bool:
    return total in await totals(system)
