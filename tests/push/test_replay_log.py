"""The replay logs on a real Redis: what a client gets for a position, and the logs' bounds."""

import json
import random
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from redis.asyncio import Redis

from backend.push import push_log as pushlog
from backend.push.publisher import PositionedMessages, Publisher
from backend.push.push_log import SEQS_PREFIX, STATE, Message
from backend.push.replay_log import (
    LOG_PREFIX,
    LOGS,
    MAX_BYTES,
    MAX_ENTRIES,
    MAX_LOG_BYTES,
    MAX_STATE_ENTRIES,
    ORDER_PREFIX,
    READ,
)
from backend.push.replay_reader import ChannelLog, Logs, Position, arguments, read_logs
from tests import stores


@pytest.fixture
async def client(redis_socket: str) -> AsyncIterator[Redis]:
    async with pushlog.connect(redis_socket, timeout_seconds=5) as connected:
        await connected.flushall()
        yield connected


class Log:
    """Publishes messages at growing positions, and reads the replay logs."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.publisher = Publisher(redis)
        self.appended = self.epoch = 0
        self._position = 0

    async def publish(self, *messages: Message) -> None:
        """Publish messages in one call."""
        self._position += 1
        batch = [PositionedMessages(self._position, messages)]
        state = await self.publisher.publish(batch, expected_appended=self.appended)
        self.appended, self.epoch = state.appended, state.epoch

    async def read(
        self, requests: dict[str, Sequence[int]], *, max_bytes: int = 10 * MAX_BYTES
    ) -> Logs:
        script: Any = self.redis.register_script(READ)
        values = arguments(SEQS_PREFIX, requests, max_bytes=max_bytes)
        return read_logs(await script(keys=[STATE], args=values))

    async def channel(self, name: str, *seqs: int) -> ChannelLog:
        (found,) = (await self.read({name: seqs})).channels
        return found


@pytest.fixture
def log(client: Redis) -> Log:
    return Log(client)


def state(channel: str, key: str, version: int, size: int = 2) -> Message:
    data = json.dumps({"v": version, "x": "x" * size})
    return Message((channel,), "ticket.held", data, key, version)


def order(channel: str, number: int, size: int = 0) -> Message:
    return Message((channel,), "order.created", json.dumps({"n": number, "x": "x" * size}))


def versions(found: ChannelLog) -> list[tuple[int, str | None, int | None]]:
    return [(seq, message.key, message.version) for seq, message in found.messages]


async def test_a_log_without_messages_is_at_the_position_of_a_subscription(log: Log) -> None:
    assert (await log.read({"show-1": ()})).epoch == 0
    await log.publish(order("other", 1))
    before = await log.channel("show-1", 0)
    assert before == ChannelLog(Position(log.epoch, 0), 0, [])
    await log.publish(state("show-1", "t1", 1))
    after = await log.channel("show-1", before.top.seq)
    assert after.is_complete_from(before.top)
    assert versions(after) == [(1, "t1", 1)]


async def test_state_keeps_the_newest_message_of_each_key_by_number(log: Log) -> None:
    await log.publish(state("show-1", "t1", 1), state("show-1", "t2", 1), state("show-1", "t1", 2))
    await log.publish(state("show-1", "t3", 1), state("show-1", "t2", 2))
    found = await log.channel("show-1", 0)
    assert versions(found) == [(3, "t1", 2), (4, "t3", 1), (5, "t2", 2)]
    assert found.is_complete_from(Position(log.epoch, 0))
    assert versions(await log.channel("show-1", 4)) == [(5, "t2", 2)]
    # Nothing of the superseded messages is left: a message and a version for each key.
    assert await log.redis.hlen(LOG_PREFIX + "show-1") == 7  # type: ignore[misc]
    assert await log.redis.zcard(ORDER_PREFIX + "show-1") == 3


async def test_an_older_version_published_later_does_not_replace_a_newer_one(log: Log) -> None:
    """A redriven dead letter is published late."""
    await log.publish(state("show-1", "t1", 5))
    await log.publish(state("show-1", "t1", 4))
    found = await log.channel("show-1", 0)
    assert (found.top, versions(found)) == (Position(log.epoch, 2), [(1, "t1", 5)])
    await log.publish(state("show-1", "t2", 2), state("show-1", "t2", 1))
    assert versions(await log.channel("show-1", 2)) == [(3, "t2", 2)]


async def test_messages_without_a_key_are_all_kept_in_order(log: Log) -> None:
    await log.publish(*[order("private-user-1", number) for number in range(1, 6)])
    found = await log.channel("private-user-1", 2)
    assert [json.loads(message.data)["n"] for _, message in found.messages] == [3, 4, 5]


@pytest.mark.parametrize("size", [0, 2_000], ids=["by number", "by bytes"])
async def test_a_position_before_the_bound_of_a_log_is_not_complete(log: Log, size: int) -> None:
    for start in range(0, 2 * MAX_ENTRIES, 50):
        await log.publish(
            *[order("private-user-1", start + number, size) for number in range(1, 51)]
        )
    found = await log.channel("private-user-1", *range(0, 2 * MAX_ENTRIES, 7))
    numbers = [json.loads(message.data)["n"] for _, message in found.messages]
    kept = await log.channel("private-user-1", found.floor)
    assert len(kept.messages) == 2 * MAX_ENTRIES - found.floor
    assert numbers == list(range(numbers[0], 2 * MAX_ENTRIES + 1))
    assert kept.is_complete_from(Position(log.epoch, found.floor))
    assert not kept.is_complete_from(Position(log.epoch, found.floor - 1))
    stored = sum(len(message.data) for _, message in kept.messages)
    assert MAX_ENTRIES <= len(kept.messages) <= 1.1 * MAX_ENTRIES or (
        0.95 * 65_536 <= stored <= 1.1 * MAX_LOG_BYTES
    )


async def test_a_log_of_state_is_bounded_by_its_keys(log: Log) -> None:
    for start in range(0, MAX_STATE_ENTRIES + 200, 100):
        await log.publish(
            *[state("show-1", f"t{number}", 1) for number in range(start, start + 100)]
        )
    floor = (await log.channel("show-1", 0)).floor
    found = await log.channel("show-1", floor)
    assert len(found.messages) == MAX_STATE_ENTRIES + 200 - floor
    assert MAX_STATE_ENTRIES <= len(found.messages) <= 1.1 * MAX_STATE_ENTRIES
    assert not found.is_complete_from(Position(log.epoch, floor - 1))


async def test_positions_of_another_epoch_or_of_the_future_are_not_complete(log: Log) -> None:
    await log.publish(state("show-1", "t1", 1))
    found = await log.channel("show-1", 0)
    assert found.is_complete_from(Position(log.epoch, 1))
    for position in (
        Position(log.epoch - 1, 1),
        Position(log.epoch + 1, 1),
        Position(log.epoch, 2),
    ):
        assert not found.is_complete_from(position)


async def test_a_log_of_an_earlier_epoch_serves_nobody(log: Log) -> None:
    await log.publish(state("show-1", "t1", 1), state("show-1", "t2", 1))
    first = log.epoch
    log.appended += 1
    await log.publish(state("show-1", "t1", 2))
    found = await log.channel("show-1", 0, 1, 2, 3)
    assert log.epoch > first
    assert found.top == Position(log.epoch, 3)
    # The channel begins at the number of all messages before the epoch.
    assert (found.floor, versions(found)) == (2, [(3, "t1", 2)])


async def test_a_removed_log_begins_again_at_the_channels_top(log: Log) -> None:
    await log.publish(order("a", 1), order("a", 2))
    await log.redis.delete(LOG_PREFIX + "a", ORDER_PREFIX + "a")
    gone = await log.channel("a", 0, 1, 2)
    assert (gone.top.seq, gone.floor, gone.messages) == (2, 2, [])
    await log.publish(order("a", 3))
    found = await log.channel("a", 0, 1, 2)
    assert (found.floor, [seq for seq, _ in found.messages]) == (2, [3])
    assert not found.is_complete_from(Position(log.epoch, 1))


async def test_all_logs_together_are_bounded_and_the_least_recent_go_first(log: Log) -> None:
    """A client lists ten thousands of tickets, each with a channel."""
    before = (await log.redis.info("memory"))["used_memory"]
    await log.publish(order("private-user-1", 1))
    size, each = 3_000, 200
    for start in range(0, MAX_BYTES * 5 // 4 // size, each):
        messages = [state(f"ticket-{start + at}", "t", 1, size) for at in range(each)]
        await log.publish(*messages, state("show-1", "t1", start))
    used = (await log.redis.info("memory"))["used_memory"] - before
    stream = await log.redis.memory_usage("gittix:push", samples=0)
    assert used - stream < MAX_BYTES * 4 // 3
    assert int(await log.redis.hget(STATE, "logged_bytes")) <= MAX_BYTES  # type: ignore[misc]
    logs = await log.redis.keys(LOG_PREFIX + "*")
    assert len(logs) == await log.redis.zcard(LOGS)
    # The log that was written to last is complete, the oldest is gone.
    assert (await log.channel("show-1", 0)).is_complete_from(Position(log.epoch, 0))
    assert not (await log.channel("private-user-1", 0)).is_complete_from(Position(log.epoch, 0))


async def test_the_count_of_all_logs_bytes_is_that_of_the_logs(log: Log) -> None:
    source = random.Random(7)
    for _ in range(60):
        await log.publish(*[random_message(source) for _ in range(source.randint(1, 20))])
    # In another epoch.
    log.appended += 1
    await log.publish(*[random_message(source) for _ in range(50)])
    counted = 0
    for name in await log.redis.keys(LOG_PREFIX + "*"):
        counted += int((await log.redis.hget(name, "")).split()[-1])  # type: ignore[misc]
    assert int(await log.redis.hget(STATE, "logged_bytes")) == counted  # type: ignore[misc]


async def test_a_day_without_messages_removes_a_log(log: Log) -> None:
    await log.publish(order("a", 1), order("b", 1))
    await log.redis.zadd(LOGS, {"a": time.time() - 86_500})
    await log.publish(order("b", 2))
    assert await log.redis.zrange(LOGS, 0, -1) == [b"b"]
    assert not await log.redis.exists(LOG_PREFIX + "a", ORDER_PREFIX + "a")


async def test_a_read_is_bounded_by_bytes_and_says_how_many_channels_it_has(log: Log) -> None:
    await log.publish(*[order(f"c{number}", 1, 10_000) for number in range(5)])
    found = await log.read({f"c{number}": (0,) for number in range(5)}, max_bytes=25_000)
    assert [len(channel.messages) for channel in found.channels] == [1, 1, 1]


async def test_a_full_redis_still_records(log: Log) -> None:
    await log.publish(order("a", 1))
    async with stores.full(log.redis):
        await log.publish(order("a", 2))
    assert len((await log.channel("a", 0)).messages) == 2


def random_message(source: random.Random) -> Message:
    channels = tuple(source.sample(["a", "b", "c"], source.randint(1, 2)))
    if source.random() < 0.3:
        data = json.dumps({"order": source.random()})
        return Message(channels, "order.created", data)
    version = source.randint(1, 40)
    data = json.dumps({"version": version})
    return Message(channels, "ticket.held", data, f"t{source.randint(1, 9)}", version)


class Client:
    """The state that a client makes of a channel's messages."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.orders: list[str] = []

    def apply(self, message: Message) -> None:
        if message.key is None:
            self.orders.append(message.data)
        else:
            assert message.version is not None
            self.rows[message.key] = max(self.rows.get(message.key, 0), message.version)


@pytest.mark.parametrize("seed", range(8))
async def test_an_old_state_and_the_replay_are_the_state_of_a_client_that_missed_nothing(
    log: Log, seed: int
) -> None:
    source = random.Random(seed)
    history: dict[str, list[Message]] = {"a": [], "b": [], "c": []}
    for _ in range(source.randint(5, 40)):
        messages = [random_message(source) for _ in range(source.randint(1, 15))]
        await log.publish(*messages)
        for message in messages:
            for channel in message.channels:
                history[channel].append(message)
    for channel, sent in history.items():
        for seq in {0, len(sent), *source.sample(range(len(sent) + 1), min(len(sent), 20))}:
            found = await log.channel(channel, seq)
            assert found.top == Position(log.epoch, len(sent))
            complete = found.is_complete_from(Position(log.epoch, seq))
            orders = sum(message.key is None for message in sent)
            assert complete or orders > 20, "small logs keep everything"
            late, present = Client(), Client()
            for message in sent[:seq] + [message for _, message in found.messages]:
                late.apply(message)
            for message in sent:
                present.apply(message)
            assert not complete or vars(late) == vars(present)
