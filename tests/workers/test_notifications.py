"""The notifier: every event's messages once and in order, through restarts, takeovers and an emptied Redis."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec
import pytest

import workers.notifications
from backend.events.catalogue import Event, decode_data
from backend.events.dead_letters import all_dead_letters, find_dead_letters, redrive
from backend.events.resources import open_resources
from backend.events.stream import DEAD_LETTERS, Position
from backend.kernel import lease as leases
from backend.kernel.supervisor import running
from backend.push import push_log as push
from backend.push.publisher import Publisher
from tests import factories
from tests.events.log import record_orders
from tests.factories import Json
from tests.system import System, until
from workers import messages
from workers.messages import Told, UnknownEvent
from workers.notifications import REDRIVE_STREAM, Notifier, position_of, told_at


class Heard(NamedTuple):
    """A message as it went out. `at` is its second in the push log."""

    at: float
    channel: str
    event: str
    data: Json


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(workers.notifications, "BLOCK_MS", 100)


@asynccontextmanager
async def notifying(system: System) -> AsyncIterator[Notifier]:
    log = push.connect(system.settings.redis_url, timeout_seconds=2)
    async with open_resources(system.settings, "tickets") as tickets:
        url = system.settings.noun_database_url("push")
        notifier = Notifier(url, tickets.pool, tickets.redis, Publisher(log))
        async with running(("notifier", notifier.run)):
            yield notifier
    await log.aclose()


async def heard(system: System) -> list[Heard]:
    found = []
    for entry_id, fields in await system.redis().xrange(push.STREAM):
        entry = push.read_entry(entry_id, fields)
        for channel, message, seq in entry.told():
            data = msgspec.json.decode(entry.data_of(message, seq))
            found.append(Heard(entry.appended_ms / 1000, channel, message.event, data))
    return found


async def heard_as(system: System, event: str, *, times: int = 1) -> list[Heard]:
    """All messages of this event, once there are as many."""

    async def enough() -> list[Heard]:
        found = [message for message in await heard(system) if message.event == event]
        return found if len(found) >= times else []

    found: list[Heard] = await until(enough)
    return found


async def quiet(system: System) -> list[Heard]:
    """What was heard, once nothing more comes."""
    before: list[Heard] = []
    while before != (now := await heard(system)) or not now:
        before = now
        await asyncio.sleep(0.7)
    return before


async def held(system: System, *, tickets: int = 1) -> Json:
    seller, buyer = system.person("seller"), system.person("buyer")
    show = await factories.show(seller)
    listed = [(await factories.ticket(seller, show["id"]))["id"] for _ in range(tickets)]
    return await factories.order(buyer, *listed)


async def test_each_event_is_told_once_and_in_order(system: System) -> None:
    await system.start("api", "relay")
    async with notifying(system):
        order = await held(system)
        show_id = order["tickets"][0]["show_id"]
        await heard_as(system, "show.availability")
        messages = await quiet(system)
    on_show = [message.event for message in messages if message.channel == f"show-{show_id}"]
    assert on_show == ["ticket.listed", "ticket.held"]
    private = [message.event for message in messages if message.channel.startswith("private-user-")]
    assert sorted(private) == ["order.created", "sale.held"]
    for channel in {message.channel for message in messages}:
        seqs = [message.data["_seq"] for message in messages if message.channel == channel]
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    assert len({message.data["_epoch"] for message in messages}) == 1


async def test_counts_come_at_most_twice_a_second_and_end_right(system: System) -> None:
    await system.start("api", "relay")
    seller, buyer = system.person("seller"), system.person("buyer")
    show = await factories.show(seller)
    async with notifying(system):
        for number in range(12):
            ticket = await factories.ticket(seller, show["id"])
            if number % 4 == 0:
                await factories.order(buyer, ticket["id"])
            await asyncio.sleep(0.06)
        messages = await quiet(system)
    counts = [message for message in messages if message.event == "show.availability"]
    assert {message.channel for message in counts} == {"shows"}
    assert 2 <= len(counts) <= 5
    gaps = [later.at - earlier.at for earlier, later in itertools.pairwise(counts)]
    assert min(gaps) > 0.4
    fresh = (await seller.get(f"/api/shows/{show['id']}")).json()
    shown = counts[-1].data["show"]
    assert shown["next_free_at"] is not None
    assert shown == {name: fresh[name] for name in shown}
    assert (shown["available"], shown["held"], shown["sold"], shown["from_price"]) == (
        9,
        3,
        0,
        4500,
    )


async def test_many_shows_that_change_together_are_all_counted(system: System) -> None:
    rows = await system.connect()
    await rows.execute(
        """
        with made as (
            insert into tickets.shows (owner_id, title, venue, city, starts_at, timezone, category)
            select gen_random_uuid(), 'Show ' || n, 'Hall', 'Rotterdam', now(), 'UTC', 'other'
            from generate_series(1, 450) n returning *
        )
        insert into events.outbox (type, subject, version, data)
        select 'show.created', id, 1, to_jsonb(made) - 'search' from made
        """
    )
    await system.start("relay")
    async with notifying(system):
        counts = await heard_as(system, "show.availability", times=450)
    assert len({message.data["show"]["id"] for message in counts}) == 450


async def test_a_restart_repeats_nothing(system: System) -> None:
    await system.start("api", "relay")
    async with notifying(system):
        await held(system)
        await heard_as(system, "show.availability")
        before = await quiet(system)
    async with notifying(system):
        await asyncio.sleep(0.7)
        assert await heard(system) == before


async def test_a_crash_before_the_position_is_recorded_repeats_nothing(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(*_: Any) -> None:
        raise SystemError("kill -9")

    await system.start("api", "relay")
    with monkeypatch.context() as crash:
        crash.setattr(Notifier, "_record", dies)
        async with notifying(system):
            await held(system)
            await heard_as(system, "sale.held")
    async with notifying(system):
        messages = await quiet(system)
    assert [message.event for message in messages].count("sale.held") == 1
    assert [message.event for message in messages].count("order.created") == 1


async def test_counts_that_died_with_a_notifier_are_told_by_the_next(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(*_: Any) -> None:
        return

    await system.start("api", "relay")
    with monkeypatch.context() as crash:
        crash.setattr(Notifier, "_tell_availability", dies)
        async with notifying(system):
            await held(system)
            await heard_as(system, "sale.held")
    async with notifying(system):
        (count,) = await heard_as(system, "show.availability")
    assert (count.data["show"]["available"], count.data["show"]["held"]) == (0, 1)


@pytest.mark.parametrize("notifier_is_down", [False, True])
async def test_an_emptied_redis_repeats_nothing_to_users(
    system: System, notifier_is_down: bool
) -> None:
    await system.start("api", "relay")
    redis = system.redis()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(notifying(system))
        first = await held(system)
        await heard_as(system, "show.availability")
        before = await quiet(system)
        if notifier_is_down:
            await stack.aclose()
        await redis.flushall()
        if notifier_is_down:
            await stack.enter_async_context(notifying(system))
        second = await held(system)
        await heard_as(system, "sale.held")
        messages = await quiet(system)
    text = msgspec.json.encode([message.data for message in messages]).decode()
    assert first["id"] not in text
    assert second["id"] in text
    epochs = [{message.data["_epoch"] for message in told} for told in (before, messages)]
    assert max(epochs[0]) < min(epochs[1])


async def test_an_event_that_cannot_be_told_is_buried_and_the_next_is_told(system: System) -> None:
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
        await heard_as(system, "sale.held")
    letters = [fields for _, fields in await system.redis().xrange(DEAD_LETTERS)]
    assert [letter[b"entry"] for letter in letters] == [b"1-1", b"1-2"]
    assert b"ticket.eaten" in letters[0][b"reason"]
    assert {letter[b"consumer"] for letter in letters} == {b"notifier"}


async def test_what_was_buried_last_is_not_buried_again_by_the_next_notifier(
    system: System,
) -> None:
    rows = await system.connect()
    await rows.execute(
        "insert into events.outbox (type, subject, version, data) values ('ticket.eaten', $1, 1, '{}')",
        uuid4(),
    )
    await system.start("relay")
    for _ in range(2):
        async with notifying(system):
            await until(lambda: system.redis().xlen(DEAD_LETTERS))
            await asyncio.sleep(0.3)
    assert await system.redis().xlen(DEAD_LETTERS) == 1


@pytest.fixture
async def buried(system: System, monkeypatch: pytest.MonkeyPatch) -> str:
    """A letter: an order that the notifier could not tell when it came, and could tell now. Later ones were told."""
    rows = await system.connect()
    await system.start("relay")
    with monkeypatch.context() as broken:
        broken.setattr(workers.notifications, "told_of", _choking(1))
        async with notifying(system):
            await record_orders(rows, 1, 2)
            await heard_as(system, "order.created")
    assert await totals(system) == [2]
    (letter,) = [letter async for letter in all_dead_letters(system.redis())]
    return letter.id


def _choking(total: int) -> Any:
    def told_of(event: Event) -> Told:
        if decode_data(event).get("total") == total:
            raise UnknownEvent("a version that nobody knows yet")
        return messages.told_of(event)

    return told_of


async def totals(system: System) -> list[int]:
    """The orders that were told, in the order of telling."""
    return [
        told.data["order"]["total"] for told in await heard(system) if told.event == "order.created"
    ]


async def send_back(system: System, *letters: str) -> None:
    await redrive(system.redis(), await find_dead_letters(system.redis(), letters))


async def forgotten(system: System) -> bool:
    return int(await system.redis().xlen(REDRIVE_STREAM)) == 0


async def test_an_event_that_was_sent_back_is_told_once_and_at_once(
    system: System, buried: str
) -> None:
    async with notifying(system):
        await send_back(system, buried)
        await until(lambda: forgotten(system))
        assert await totals(system) == [2, 1]
        seqs = [told.data["_seq"] for told in await heard(system) if told.event == "order.created"]
        assert len(seqs) == 2
        await record_orders(await system.connect(), 3)
        await heard_as(system, "order.created", times=3)
    assert await totals(system) == [2, 1, 3]
    assert len({told.data["_epoch"] for told in await heard(system)}) == 1


async def test_an_event_that_still_cannot_be_told_is_buried_again(
    system: System, buried: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers.notifications, "told_of", _choking(1))
    async with notifying(system):
        await send_back(system, buried)
        await until(lambda: forgotten(system))
        (letter,) = [letter async for letter in all_dead_letters(system.redis())]
        assert (letter.consumer, letter.entry) == ("notifier", "1-1")
        assert letter.id != buried
        monkeypatch.undo()
        await send_back(system, letter.id)
        await until(lambda: forgotten(system))
    assert await totals(system) == [2, 1]


async def test_a_notifier_that_dies_before_it_forgets_what_it_told_again_repeats_nothing(
    system: System, buried: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(*_: Any) -> None:
        raise SystemError("kill -9")

    with monkeypatch.context() as crash:
        crash.setattr(Notifier, "_record", dies)
        async with notifying(system):
            await send_back(system, buried)
            await heard_as(system, "order.created", times=2)
            assert not await forgotten(system)
    async with notifying(system):
        await until(lambda: forgotten(system))
    assert await totals(system) == [2, 1]


async def test_two_letters_of_one_event_are_told_once(system: System, buried: str) -> None:
    redis = system.redis()
    ((_, fields),) = await redis.xrange(DEAD_LETTERS)
    copy = (await redis.xadd(DEAD_LETTERS, fields)).decode()
    async with notifying(system):
        await send_back(system, buried, copy)
        await until(lambda: forgotten(system))
    assert await totals(system) == [2, 1]


async def test_what_a_lost_tail_makes_doubtful_goes_to_the_dead_letters(
    system: System, buried: str
) -> None:
    """Redis comes back as it was after the sending back and before the telling: Postgres knows that more was told."""
    redis = system.redis()
    await send_back(system, buried)
    before = {name: await redis.dump(name) for name in await redis.keys("*")}
    async with notifying(system):
        await until(lambda: forgotten(system))
    assert await totals(system) == [2, 1]
    await redis.flushall()
    for name, content in before.items():
        await redis.restore(name, 0, content)
    async with notifying(system):
        await until(lambda: forgotten(system))
        await record_orders(await system.connect(), 3)
        await until(lambda: _told(system, 3))
    assert await totals(system) == [2, 3]
    (letter,) = [letter async for letter in all_dead_letters(redis)]
    assert "may have been told" in letter.reason


async def _told(system: System, total: int) -> bool:
    return total in await totals(system)


async def test_one_of_two_notifiers_tells_and_the_other_takes_over(system: System) -> None:
    await system.start("api", "relay")
    async with notifying(system):
        await held(system)
        await heard_as(system, "sale.held")
        second = notifying(system)
        await second.__aenter__()
        await held(system)
        await heard_as(system, "sale.held", times=2)
    try:
        await held(system)
        messages = await heard_as(system, "sale.held", times=3)
        assert len(messages) == 3
    finally:
        await second.__aexit__(None, None, None)


async def test_its_progress_is_told_to_the_trim(system: System) -> None:
    await system.start("api", "relay")
    async with notifying(system):
        await held(system)
        redis = system.redis()

        async def reported() -> bool:
            last = await redis.xrevrange("gittix:events", count=1)
            readers: dict[bytes, bytes] = await redis.hgetall("gittix:events:readers")  # type: ignore[misc]
            return bool(last) and readers.get(b"notifier") == last[0][0]

        await until(reported)


def test_what_was_told_grows_with_epoch_and_position_and_leaves_a_place_for_counts() -> None:
    log = [Position(1, 1), Position(1, 2), Position(2, 1), Position(3, 9)]
    told = [told_at(position) for position in log]
    assert told == sorted(told)
    assert all(later - earlier >= 2 for earlier, later in itertools.pairwise(told))
    assert [position_of(place) for place in told] == log
    assert [position_of(place | 1) for place in told] == log
    # Lua counts in doubles.
    assert told_at(Position(4000, 1 << 39)) < 2**53
