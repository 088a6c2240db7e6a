"""The notifier publishes each event once, through restarts, takeovers and an emptied Redis."""

import asyncio
import itertools
import json
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from backend.events.dead_letters import all_dead_letters
from backend.events.stream import DEAD_LETTERS, EntryId
from backend.push import hosted_publisher
from backend.push.hosted_publisher import READ_AGAIN, HostedPublisher
from backend.push.push_log import STATE, STREAM, read_entry
from tests import factories
from tests.events.log import record_orders
from tests.push.hosted import HostedPusher, refusing
from tests.system import System, until
from tests.workers.notifying import (
    all_published,
    held,
    messages_of_type,
    notifying,
    published,
    redrive_by_id,
    redrive_stream_is_empty,
)
from workers.notifier import Notifier, entry_id_of, push_position_of

pytestmark = pytest.mark.usefixtures("short_waits")


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


async def test_hosted_pusher_gets_an_order_of_eight_long_titles(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their text has four bytes a character in Python: beside the emoji, the whole order does."""
    monkeypatch.setattr(hosted_publisher, "MAX_DATA_BYTES", 9_000)
    hosted_pusher = HostedPusher()
    publisher = HostedPublisher([hosted_pusher.client])
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
    publisher = HostedPublisher([hosted_pusher.client])

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
    publisher = HostedPublisher([hosted_pusher.client])

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


async def test_a_lost_tail_of_the_push_log_is_announced_without_a_new_event(
    system: System,
) -> None:
    """Clients may resume from the rest of the log, as if nothing was missing."""
    await system.start("api", "relay")
    redis = system.redis()

    async def state() -> tuple[int, int]:
        epoch, appended = await redis.hmget(STATE, ["epoch", "appended"])  # type: ignore[misc]
        return int(epoch), int(appended)

    async with notifying(system):
        await held(system)
        before = await all_published(system)
        epoch, appended = await state()
        await redis.hset(STATE, "appended", str(appended - 1))  # type: ignore[misc]

        async def has_begun() -> bool:
            return (await state())[0] > epoch

        await until(has_begun)
        assert await state() == ((await state())[0], appended)
        (_, fields), *_ = await redis.xrevrange(STREAM, count=1)
        entry = read_entry(b"1-1", fields)
        assert (entry.messages, entry.stamps) == ([], [(await state())[0]])
        assert await published(system) == before
