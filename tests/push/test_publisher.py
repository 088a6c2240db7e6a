import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from backend.push import publisher as publishing
from backend.push import push_log as pushlog
from backend.push.publisher import (
    PositionedMessages,
    Publisher,
    PublishError,
    PublisherState,
)
from backend.push.push_log import DAY_SECONDS, MAX_LENGTH, ONCE, STATE, Message
from loadtests.ports import free_port
from tests.push.servers import HOST, RedisServer, RunningGateway, entries


@pytest.fixture
async def client(redis_server: RedisServer) -> AsyncIterator[Redis]:
    async with pushlog.connect(redis_server.url, timeout_seconds=2) as connected:
        yield connected


def held(*channels: str, **data: Any) -> Message:
    return Message(channels or ("show-1",), "ticket.held", json.dumps(data), key="t1", version=3)


def published(redis_server: RedisServer, channel: str | None = None) -> list[Any]:
    """Return the published data of one channel, or of all."""
    return [
        json.loads(entry.numbered_data(message, seq))
        for entry in entries(redis_server.url)
        for name, message, seq in entry.deliveries()
        if channel in (None, name)
    ]


async def test_messages_are_numbered_in_their_channels(
    redis_server: RedisServer, client: Redis
) -> None:
    publisher = Publisher(client)
    assert await publisher.state() == PublisherState(0, 0, 0)
    state = await publisher.publish(
        [PositionedMessages(7, [held(a="ü"), held("show-2"), held(a={"_": 1})])],
        expected_appended=0,
    )
    assert (state.appended, state.position) == (3, 7)
    assert abs(state.epoch / 1_000 - time.time()) < 5
    assert published(redis_server) == [
        {"_epoch": state.epoch, "_seq": 1, "a": "ü"},
        {"_epoch": state.epoch, "_seq": 1},
        {"_epoch": state.epoch, "_seq": 2, "a": {"_": 1}},
    ]
    (entry,) = entries(redis_server.url)
    assert entry.number == len(entry.messages) == 3
    assert entry.messages[0] == held(a="ü")


async def test_a_message_is_numbered_in_each_of_its_channels(
    redis_server: RedisServer, client: Redis
) -> None:
    publisher = Publisher(client)
    messages = [held("show-1"), held("show-1", "ticket-1", n=1), held("ticket-1")]
    state = await publisher.publish([PositionedMessages(1, messages)], expected_appended=0)
    assert state.appended == 3
    assert [message["_seq"] for message in published(redis_server, "show-1")] == [1, 2]
    assert published(redis_server, "ticket-1") == [
        {"_epoch": state.epoch, "_seq": 1, "n": 1},
        {"_epoch": state.epoch, "_seq": 2},
    ]


async def test_a_position_is_published_once(redis_server: RedisServer, client: Redis) -> None:
    publisher = Publisher(client)
    state = await publisher.publish([PositionedMessages(7, [held()])], expected_appended=0)
    assert await publisher.publish([PositionedMessages(7, [held()])], expected_appended=1) == state
    assert await publisher.publish([PositionedMessages(6, [held()])], expected_appended=0) == state
    assert await publisher.state() == state
    after = await publisher.publish([PositionedMessages(8, [])], expected_appended=1)
    assert after == PublisherState(state.epoch, 1, 8)
    assert len(published(redis_server)) == 1


async def test_many_positions_in_one_call_are_each_published_once(
    redis_server: RedisServer, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "CALL_MESSAGES", 3)
    publisher = Publisher(client)
    batch = [
        PositionedMessages(position, [held(n=n) for n in range(position)])
        for position in range(1, 5)
    ]
    half = await publisher.publish(batch[:2], expected_appended=0)
    assert half == PublisherState(half.epoch, 3, 2)
    assert await publisher.publish(batch, expected_appended=half.appended) == PublisherState(
        half.epoch, 10, 4
    )
    assert await publisher.state() == PublisherState(half.epoch, 10, 4)
    messages = published(redis_server)
    assert [message["n"] for message in messages] == [0, 0, 1, 0, 1, 2, 0, 1, 2, 3]
    assert [message["_seq"] for message in messages] == list(range(1, 11))
    assert [entry.number for entry in entries(redis_server.url)] == [3, 6, 10]


async def test_only_unpublished_positions_of_a_batch_are_appended(
    redis_server: RedisServer, client: Redis
) -> None:
    publisher = Publisher(client)
    batch = [PositionedMessages(position, [held(n=position)]) for position in range(1, 6)]
    state = await publisher.publish(batch[:3], expected_appended=0)
    # After a call that seemed to fail, the next publisher knows neither the appended count nor the
    # epoch.
    after = await Publisher(client).publish(batch, expected_appended=0)
    assert after == PublisherState(state.epoch, 5, 5)
    assert [message["n"] for message in published(redis_server)] == [1, 2, 3, 4, 5]
    assert [entry.number for entry in entries(redis_server.url)] == [3, 5]


async def test_a_lost_tail_with_a_published_position_begins_a_new_epoch(
    redis_server: RedisServer, client: Redis
) -> None:
    publisher = Publisher(client)
    state = await publisher.publish([PositionedMessages(1, [held()])], expected_appended=0)
    lost = await publisher.publish(
        [PositionedMessages(1, [held()]), PositionedMessages(2, [held()])], expected_appended=5
    )
    assert lost.epoch > state.epoch
    assert (lost.appended, lost.position) == (6, 2)


async def test_under_load_the_log_is_trimmed_by_message_count(
    redis_server: RedisServer, client: Redis
) -> None:
    publisher = Publisher(client)
    flood = [
        PositionedMessages(position, [held(n=n) for n in range(500)]) for position in range(1, 261)
    ]
    await publisher.publish(flood, expected_appended=0)
    kept = entries(redis_server.url)
    first = kept[0].number - len(kept[0].messages)
    assert kept[-1].number == 130_000
    assert MAX_LENGTH * 9 // 10 <= kept[-1].number - first <= MAX_LENGTH
    # The kept entries have no gaps.
    assert sum(len(entry.messages) for entry in kept) == kept[-1].number - first


async def test_entries_older_than_a_minute_are_trimmed(
    redis_server: RedisServer, client: Redis
) -> None:
    # Redis trims whole nodes of a stream, so this entry fills a node.
    old = held(text="x" * 5_000)
    await client.xadd("gittix:push", {"n": 1, "m": pushlog.pack([old])}, id="1-1")
    await client.hset("gittix:push:state", "n", "1")  # type: ignore[misc]
    await Publisher(client).publish([PositionedMessages(1, [held(), held()])], expected_appended=0)
    assert [(entry.number, len(entry.messages)) for entry in entries(redis_server.url)] == [(3, 2)]


async def test_a_mark_is_published_once_and_moves_no_position(
    redis_server: RedisServer, client: Redis
) -> None:
    publisher = Publisher(client)
    state = await publisher.publish([PositionedMessages(7, [held()])], expected_appended=0)
    once = await publisher.publish_once("late", [held(late=True)], expected_appended=1)
    assert once == PublisherState(state.epoch, 2, 7)
    assert await publisher.publish_once("late", [held(late=True)], expected_appended=2) == once
    assert [message["_seq"] for message in published(redis_server)] == [1, 2]
    assert await client.zrange(ONCE, 0, -1) == [b"late"]
    assert await publisher.publish(
        [PositionedMessages(8, [])], expected_appended=2
    ) == PublisherState(state.epoch, 2, 8)


async def test_a_mark_is_not_published_when_redis_lost_its_tail(
    redis_server: RedisServer, client: Redis
) -> None:
    publisher = Publisher(client)
    await publisher.publish([PositionedMessages(7, [held()])], expected_appended=0)
    assert await publisher.publish_once("late", [held(late=True)], expected_appended=5) is None
    assert len(published(redis_server)) == 1
    assert not await client.exists(ONCE)


async def test_a_lost_tail_begins_a_new_epoch(redis_server: RedisServer, client: Redis) -> None:
    publisher = Publisher(client)
    state = await publisher.publish([PositionedMessages(1, [held()])], expected_appended=0)
    lost = await publisher.publish([PositionedMessages(2, [held()])], expected_appended=5)
    assert lost.epoch > state.epoch
    assert lost.appended == 6
    assert published(redis_server)[-1] == {"_epoch": lost.epoch, "_seq": 2}
    assert (
        await publisher.publish([PositionedMessages(3, [held()])], expected_appended=6)
    ).epoch == lost.epoch
    assert published(redis_server)[-1]["_seq"] == 3


async def test_a_channel_with_an_expired_number_repeats_none(
    redis_server: RedisServer, client: Redis
) -> None:
    publisher = Publisher(client)
    batch = [PositionedMessages(position, [held(), held("show-2")]) for position in range(1, 4)]
    state = await publisher.publish(batch, expected_appended=0)
    [today] = await client.keys("gittix:push:seqs:*")
    assert DAY_SECONDS < await client.ttl(today) <= 2 * DAY_SECONDS
    # Two days later.
    await client.delete(today)
    await client.hincrby(STATE, "generation_day", -2)  # type: ignore[misc]
    await publisher.publish(
        [PositionedMessages(4, [held(), held()])], expected_appended=state.appended
    )
    # The channel continues at the log's number.
    assert [message["_seq"] for message in published(redis_server, "show-1")] == [1, 2, 3, 7, 8]
    assert len({message["_epoch"] for message in published(redis_server)}) == 1


async def test_a_day_after_its_last_message_a_channel_is_forgotten_and_repeats_no_number(
    redis_server: RedisServer, client: Redis
) -> None:
    publisher = Publisher(client)
    state = await publisher.publish(
        [PositionedMessages(1, [held(), held("show-2"), held("show-2")])], expected_appended=0
    )
    for position in (2, 3):
        await client.hincrby(STATE, "generation_day", -1)  # type: ignore[misc]
        state = await publisher.publish(
            [PositionedMessages(position, [held("show-2"), held("show-3")])],
            expected_appended=state.appended,
        )
    await publisher.publish(
        [PositionedMessages(4, [held(), held("show-4")])], expected_appended=state.appended
    )
    numbers = {
        channel: [message["_seq"] for message in published(redis_server, channel)]
        for channel in ("show-1", "show-2", "show-3", "show-4")
    }
    # On the third day show-1 is unknown, and begins above all numbers of the first.
    assert numbers == {"show-1": [1, 4], "show-2": [1, 2, 3, 4], "show-3": [1, 2], "show-4": [4]}


async def test_a_channel_continues_yesterdays_numbers(
    redis_server: RedisServer, client: Redis
) -> None:
    publisher = Publisher(client)
    state = await publisher.publish(
        [PositionedMessages(1, [held(), held(), held("show-2")])], expected_appended=0
    )
    await client.hincrby(STATE, "generation_day", -1)  # type: ignore[misc]
    state = await publisher.publish(
        [PositionedMessages(2, [held()])], expected_appended=state.appended
    )
    assert published(redis_server)[-1]["_seq"] == 3
    await publisher.publish(
        [PositionedMessages(3, [held(), held("show-2")])], expected_appended=state.appended
    )
    assert [message["_seq"] for message in published(redis_server)[-2:]] == [4, 2]


async def test_an_emptied_redis_begins_a_higher_epoch(
    redis_server: RedisServer, client: Redis
) -> None:
    publisher = Publisher(client)
    state = await publisher.publish([PositionedMessages(1, [held()])], expected_appended=0)
    await client.hset("gittix:push:state", "epoch", str(state.epoch + 10**9))  # type: ignore[misc]
    ahead = await publisher.publish([PositionedMessages(2, [held()])], expected_appended=1)
    redis_server.flush()
    emptied = await publisher.publish(
        [PositionedMessages(3, [held()])], expected_appended=ahead.appended
    )
    assert emptied.epoch == ahead.epoch + 1
    assert emptied.appended == ahead.appended + 1


async def test_http_triggers_do_not_change_the_notifiers_state(
    gateway: RunningGateway, client: Redis
) -> None:
    await gateway.call("trigger", "show-1", "n", "as it is")
    assert await Publisher(client).state() == PublisherState(0, 0, 0)


async def test_published_messages_reach_pusher_js(gateway: RunningGateway, client: Redis) -> None:
    async with gateway.watcher("show-1") as watcher:
        await watcher.subscribed("show-1")
        state = await Publisher(client).publish(
            [PositionedMessages(1, [held(ticket={"id": "t1"})])], expected_appended=0
        )
        seen = await watcher.event("ticket.held", "show-1")
        assert seen.data == {"_epoch": state.epoch, "_seq": 1, "ticket": {"id": "t1"}}


async def test_each_channel_of_a_message_gets_its_own_number(
    gateway: RunningGateway, client: Redis
) -> None:
    async with gateway.watcher("show-1", "ticket-1") as watcher:
        await watcher.subscribed("ticket-1")
        both = held("show-1", "ticket-1", ticket={"id": "t1"})
        await Publisher(client).publish(
            [PositionedMessages(1, [held("ticket-1"), both])], expected_appended=0
        )
        on_show = await watcher.event("ticket.held", "show-1")
        assert (on_show.data["_seq"], on_show.data["ticket"]) == (1, {"id": "t1"})
        assert [
            (await watcher.event("ticket.held", "ticket-1")).data["_seq"] for _ in range(2)
        ] == [1, 2]


async def test_an_unreachable_redis_raises_within_the_timeout() -> None:
    async with pushlog.connect(f"redis://{HOST}:{free_port()}/0", timeout_seconds=0.5) as nowhere:
        with pytest.raises(PublishError):
            await Publisher(nowhere).publish([PositionedMessages(1, [held()])], expected_appended=0)
