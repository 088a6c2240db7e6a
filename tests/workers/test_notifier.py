"""The notifier publishes each event once, through restarts, takeovers and an emptied Redis."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec
import pytest

import workers.notifier
from backend.events.catalogue import Event, decode_data
from backend.events.dead_letters import all_dead_letters, find_dead_letters, redrive
from backend.events.resources import open_resources
from backend.events.stream import DEAD_LETTERS, EntryId
from backend.kernel import lease as leases
from backend.kernel.supervisor import running
from backend.push import hosted_publisher
from backend.push import push_log as push
from backend.push.hosted_publisher import READ_AGAIN, HostedPublisher
from backend.push.publisher import MessagePublisher, Publisher
from tests import factories
from tests.events.log import record_orders
from tests.factories import Json
from tests.push.hosted import HostedPusher, refusing
from tests.system import System, until
from workers import push_messages
from workers.notifier import REDRIVE_STREAM, Notifier, entry_id_of, push_position_of
from workers.push_messages import EventMessages, UnknownEventType


class Published(NamedTuple):
    """A published message. `at` is the time of its entry in the push log, in seconds."""

    at: float
    channel: str
    event: str
    data: Json


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(workers.notifier, "BLOCK_MS", 100)


@asynccontextmanager
async def notifying(
    system: System, publisher: MessagePublisher | None = None
) -> AsyncIterator[Notifier]:
    log = push.connect(system.settings.redis_url, timeout_seconds=2)
    async with open_resources(system.settings, "tickets") as tickets:
        url = system.settings.role_database_url("push")
        notifier = Notifier(url, tickets.pool, tickets.redis, publisher or Publisher(log))
        async with running(("notifier", notifier.run)):
            yield notifier
    await log.aclose()


async def published(system: System) -> list[Published]:
    found = []
    for entry_id, fields in await system.redis().xrange(push.STREAM):
        entry = push.read_entry(entry_id, fields)
        for channel, message, seq in entry.deliveries():
            data = msgspec.json.decode(entry.numbered_data(message, seq))
            found.append(Published(entry.appended_ms / 1000, channel, message.event, data))
    return found


async def messages_of_type(system: System, event: str, *, times: int = 1) -> list[Published]:
    """Wait until at least `times` messages of this event are published, and return them."""

    async def enough() -> list[Published]:
        found = [message for message in await published(system) if message.event == event]
        return found if len(found) >= times else []

    found: list[Published] = await until(enough)
    return found


async def all_published(system: System) -> list[Published]:
    """Wait until no more messages are published, and return all."""
    before: list[Published] = []
    while before != (now := await published(system)) or not now:
        before = now
        await asyncio.sleep(0.7)
    return before


async def held(system: System, *, tickets: int = 1) -> Json:
    seller, buyer = system.person("seller"), system.person("buyer")
    show = await factories.show(seller)
    listed = [(await factories.ticket(seller, show["id"]))["id"] for _ in range(tickets)]
    return await factories.order(buyer, *listed)


async def test_each_event_is_published_once_and_in_order(system: System) -> None:
    await system.start("api", "relay")
    async with notifying(system):
        order = await held(system)
        show_id = order["tickets"][0]["show_id"]
        await messages_of_type(system, "show.availability")
        messages = await all_published(system)
    on_show = [message.event for message in messages if message.channel == f"show-{show_id}"]
    assert on_show == ["ticket.listed", "ticket.held"]
    private = [message.event for message in messages if message.channel.startswith("private-user-")]
    assert sorted(private) == ["order.created", "sale.held"]
    for channel in {message.channel for message in messages}:
        seqs = [message.data["_seq"] for message in messages if message.channel == channel]
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    assert len({message.data["_epoch"] for message in messages}) == 1


async def test_counts_are_published_at_most_twice_a_second_and_end_correct(system: System) -> None:
    await system.start("api", "relay")
    seller, buyer = system.person("seller"), system.person("buyer")
    show = await factories.show(seller)
    async with notifying(system):
        for number in range(12):
            ticket = await factories.ticket(seller, show["id"])
            if number % 4 == 0:
                await factories.order(buyer, ticket["id"])
            await asyncio.sleep(0.06)
        messages = await all_published(system)
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
        select 'show.created', id, 1,
               to_jsonb(made) - '{search,spellings,city_key}'::text[]
        from made
        """
    )
    await system.start("relay")
    async with notifying(system):
        counts = await messages_of_type(system, "show.availability", times=450)
    assert len({message.data["show"]["id"] for message in counts}) == 450


async def test_a_restart_repeats_nothing(system: System) -> None:
    await system.start("api", "relay")
    async with notifying(system):
        await held(system)
        await messages_of_type(system, "show.availability")
        before = await all_published(system)
    async with notifying(system):
        await asyncio.sleep(0.7)
        assert await published(system) == before


async def test_a_crash_before_the_position_is_recorded_repeats_nothing(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(*_: Any) -> None:
        raise SystemError("kill -9")

    await system.start("api", "relay")
    with monkeypatch.context() as crash:
        crash.setattr(Notifier, "_save_position", dies)
        async with notifying(system):
            await held(system)
            await messages_of_type(system, "sale.held")
    async with notifying(system):
        messages = await all_published(system)
    assert [message.event for message in messages].count("sale.held") == 1
    assert [message.event for message in messages].count("order.created") == 1


async def test_counts_lost_with_a_notifier_are_published_by_the_next(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(*_: Any) -> None:
        return

    await system.start("api", "relay")
    with monkeypatch.context() as crash:
        crash.setattr(Notifier, "_publish_availability", dies)
        async with notifying(system):
            await held(system)
            await messages_of_type(system, "sale.held")
    async with notifying(system):
        (count,) = await messages_of_type(system, "show.availability")
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
        await messages_of_type(system, "show.availability")
        before = await all_published(system)
        if notifier_is_down:
            await stack.aclose()
        await redis.flushall()
        if notifier_is_down:
            await stack.enter_async_context(notifying(system))
        second = await held(system)
        await messages_of_type(system, "sale.held")
        messages = await all_published(system)
    text = msgspec.json.encode([message.data for message in messages]).decode()
    assert first["id"] not in text
    assert second["id"] in text
    epochs = [{message.data["_epoch"] for message in each} for each in (before, messages)]
    assert max(epochs[0]) < min(epochs[1])


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
    monkeypatch.setattr(workers.notifier, "messages_of", _raising_for(1))
    async with notifying(system):
        await record_orders(rows, 1, 2)
        await messages_of_type(system, "order.created")
    assert await totals(system) == [2]
    assert await system.redis().xlen(DEAD_LETTERS) == 1


def _raising_for(total: int) -> Any:
    def messages_of(event: Event) -> EventMessages:
        if decode_data(event).get("total") == total:
            raise TypeError("a time without a zone")
        return push_messages.messages_of(event)

    return messages_of


async def test_hosted_pusher_gets_an_order_of_eight_long_titles(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their text has four bytes a character in Python: beside the emoji, the whole order does."""
    monkeypatch.setattr(hosted_publisher, "MAX_DATA_BYTES", 9_000)
    hosted_pusher = HostedPusher()
    publisher = HostedPublisher(hosted_pusher.client)
    await system.start("api", "relay")
    seller = system.person("seller")
    show = await factories.show(seller)
    seats = itertools.count()
    for titles in (["🩷 " + "long title " * 10] * 8, ["🩷" * 119 + '"'] * 8, ["Short"]):
        listed = [
            await factories.ticket(
                seller,
                show["id"],
                title=title,
                section="🩷" * 40,
                row="🩷" * 40,
                seat=f"{next(seats):02}" + "🩷" * 38,
            )
            for title in titles
        ]
        await factories.order(system.person("buyer"), *(ticket["id"] for ticket in listed))

    async def orders() -> list[str]:
        found = [one["data"] for one in hosted_pusher.accepted if one["name"] == "order.created"]
        return found if len(found) == 3 else []

    async with notifying(system, publisher):
        large, too_large, small = await until(orders)
    publisher.close()
    assert "🩷 long title" in large
    assert len(large.encode()) < 9_000
    assert 4 * len(large) > 10_240
    assert too_large == READ_AGAIN
    assert "Short" in small


async def test_a_message_that_hosted_pusher_refuses_is_dead_lettered_and_blocks_no_other(
    system: System,
) -> None:
    rows = await system.connect()
    await system.start("relay")
    await record_orders(rows, 1, 2, 3)
    buyers = [row["data"]["buyer_id"] for row in await rows.fetch("select data from events.outbox")]
    refused = f"private-user-{buyers[1]}"
    hosted_pusher = HostedPusher(refusing(400, lambda event: event["channel"] == refused))
    publisher = HostedPublisher(hosted_pusher.client)

    async def published() -> bool:
        return len(hosted_pusher.accepted) == 2

    async with notifying(system, publisher):
        await until(published)
        await until(lambda: system.redis().xlen(DEAD_LETTERS))
        (dead_letter,) = [one async for one in all_dead_letters(system.redis())]
        assert (dead_letter.entry, refused in dead_letter.reason) == ("1-2", True)
        await redrive_by_id(system, dead_letter.id)
        await until(lambda: redrive_stream_is_empty(system))
        (again,) = [one async for one in all_dead_letters(system.redis())]
        assert (again.entry, again.id == dead_letter.id) == ("1-2", False)
        hosted_pusher.status_of = lambda _: 200
        await redrive_by_id(system, again.id)
        await until(lambda: redrive_stream_is_empty(system))
    publisher.close()
    assert [json.loads(one["data"])["order"]["total"] for one in hosted_pusher.accepted] == [
        1,
        3,
        2,
    ]


async def test_an_outage_of_hosted_pusher_repeats_no_message_that_was_sent(system: System) -> None:
    rows = await system.connect()
    await system.start("relay")
    await record_orders(rows, 1, 2, 3)
    hosted_pusher = HostedPusher(refusing(503, lambda event: '"total":2' in event["data"]))
    publisher = HostedPublisher(hosted_pusher.client)

    async def refused_twice() -> bool:
        return len(hosted_pusher.requests) >= 3

    async def published() -> bool:
        return len(hosted_pusher.accepted) == 3

    async with notifying(system, publisher):
        await until(refused_twice)
        hosted_pusher.status_of = lambda _: 200
        await until(published)
    publisher.close()
    assert [json.loads(one["data"])["order"]["total"] for one in hosted_pusher.accepted] == [
        1,
        2,
        3,
    ]


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
        broken.setattr(workers.notifier, "messages_of", _failing_for(1))
        async with notifying(system):
            await record_orders(rows, 1, 2)
            await messages_of_type(system, "order.created")
    assert await totals(system) == [2]
    (dead_letter,) = [dead_letter async for dead_letter in all_dead_letters(system.redis())]
    return dead_letter.id


def _failing_for(total: int) -> Any:
    def messages_of(event: Event) -> EventMessages:
        if decode_data(event).get("total") == total:
            raise UnknownEventType("an unknown version")
        return push_messages.messages_of(event)

    return messages_of


async def totals(system: System) -> list[int]:
    """Return the totals of the published orders, in order."""
    return [
        message.data["order"]["total"]
        for message in await published(system)
        if message.event == "order.created"
    ]


async def redrive_by_id(system: System, *dead_letters: str) -> None:
    await redrive(system.redis(), await find_dead_letters(system.redis(), dead_letters))


async def redrive_stream_is_empty(system: System) -> bool:
    return int(await system.redis().xlen(REDRIVE_STREAM)) == 0


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
    monkeypatch.setattr(workers.notifier, "messages_of", _failing_for(1))
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


async def test_one_of_two_notifiers_publishes_and_the_other_takes_over(system: System) -> None:
    await system.start("api", "relay")
    async with notifying(system):
        await held(system)
        await messages_of_type(system, "sale.held")
        second = notifying(system)
        await second.__aenter__()
        await held(system)
        await messages_of_type(system, "sale.held", times=2)
    try:
        await held(system)
        messages = await messages_of_type(system, "sale.held", times=3)
        assert len(messages) == 3
    finally:
        await second.__aexit__(None, None, None)


async def test_the_notifier_records_its_progress_for_trimming(system: System) -> None:
    await system.start("api", "relay")
    async with notifying(system):
        await held(system)
        redis = system.redis()

        async def reported() -> bool:
            last = await redis.xrevrange("gittix:events", count=1)
            readers = await redis.hgetall("gittix:events:readers")  # type: ignore[misc]
            return bool(last) and readers.get(b"notifier") == last[0][0]

        await until(reported)


def test_push_positions_grow_with_epoch_and_position_and_leave_one_free_for_counts() -> None:
    log = [EntryId(1, 1), EntryId(1, 2), EntryId(2, 1), EntryId(3, 9)]
    positions = [push_position_of(position) for position in log]
    assert positions == sorted(positions)
    assert all(later - earlier >= 2 for earlier, later in itertools.pairwise(positions))
    assert [entry_id_of(position) for position in positions] == log
    assert [entry_id_of(position | 1) for position in positions] == log
    # Lua numbers are doubles, so a push position must stay below 2**53.
    assert push_position_of(EntryId(4000, 1 << 39)) < 2**53
