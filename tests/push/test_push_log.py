"""The bounds of the push log and of what belongs to it, on a real Redis."""

import json
import math
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from redis.asyncio import Redis

from backend.push import push_log as pushlog
from backend.push.publisher import PositionedMessages, Publisher
from backend.push.push_log import (
    ENTRY_BYTES,
    MAX_BYTES,
    MAX_CHANNELS,
    MAX_MARKS,
    ONCE,
    ONCE_SECONDS,
    SEGMENTS,
    STATE,
    STREAM,
    Message,
)
from backend.push.push_log_backend import PushLogBackend, PushLogUnavailable
from tests import stores
from tests.push.servers import entries

LARGE = Message(("private-a",), "client-flood", "x" * 10_000)


@pytest.fixture
async def url(redis_socket: str) -> str:
    """The URL of an empty Redis that writes nothing to disk."""
    async with pushlog.connect(redis_socket, timeout_seconds=2) as connected:
        await connected.flushall()
    return redis_socket


@pytest.fixture
async def client(url: str) -> AsyncIterator[Redis]:
    async with pushlog.connect(url, timeout_seconds=2) as connected:
        yield connected


@pytest.fixture
async def backend(url: str) -> AsyncIterator[PushLogBackend]:
    opened = PushLogBackend(url)
    await opened.connect()
    yield opened
    await opened.disconnect()


async def flood(backend: PushLogBackend, size: int) -> int:
    """Append at least `size` bytes, as batches of ten messages of 10 KB. Returns their number."""
    batches = math.ceil(size / (10 * len(LARGE.data)))
    for _ in range(batches):
        await backend.append(*[LARGE] * 10)
    return batches


async def test_the_log_is_bounded_by_bytes(
    url: str, client: Redis, backend: PushLogBackend
) -> None:
    before = (await client.info("memory"))["used_memory"]
    batches = await flood(backend, MAX_BYTES * 3 // 2)
    used = (await client.info("memory"))["used_memory"] - before
    kept = entries(url)
    size = sum(len(pushlog.pack(entry.messages)) + ENTRY_BYTES for entry in kept)
    # The first segment was dropped, and each other ends with an entry's space left.
    assert MAX_BYTES * 9 // 10 - SEGMENTS * 102_400 <= size <= MAX_BYTES
    assert used <= MAX_BYTES * 4 // 3
    # The kept entries are the newest, without a gap.
    numbers = [entry.number for entry in kept]
    assert numbers == list(range(numbers[0], 10 * batches + 1, 10))
    assert await client.hlen(STATE) <= 8 + SEGMENTS  # type: ignore[misc]


async def test_a_flood_leaves_memory_for_everything_else(
    client: Redis, backend: PushLogBackend
) -> None:
    """Twice the log's bound of client events in a Redis that has room for one and a half."""
    used = (await client.info("memory"))["used_memory"]
    async with stores.full(client, limit_bytes=used + MAX_BYTES * 3 // 2):
        with suppress(PushLogUnavailable):
            await flood(backend, 2 * MAX_BYTES)
        # The first refusal leaves some bytes, so a single write proves nothing.
        for number in range(100):
            assert await client.set(f"other-{number}", "x" * 100_000)


async def test_one_message_larger_than_a_segment_is_kept(url: str, backend: PushLogBackend) -> None:
    whole = Message(("a",), "n", "x" * (MAX_BYTES // SEGMENTS + 1))
    for _ in range(SEGMENTS + 2):
        await backend.append(whole)
    kept = entries(url)
    assert [entry.number for entry in kept] == list(range(3, SEGMENTS + 3))


async def test_a_reader_detects_that_unread_entries_were_trimmed_by_bytes(
    url: str, backend: PushLogBackend
) -> None:
    slow = PushLogBackend(url)
    await slow.connect()
    try:
        await flood(backend, MAX_BYTES + MAX_BYTES // SEGMENTS)
        await slow._read_once()
        batch = await slow.next_published()
        assert batch.gap
        await slow._read_once()
        assert not (await slow.next_published()).gap
    finally:
        await slow.disconnect()


async def test_the_numbers_of_channels_are_bounded_and_never_repeat(
    url: str, client: Redis
) -> None:
    """Clients create a channel with each ticket that they list."""
    publisher = Publisher(client)
    state = await publisher.publish(
        [PositionedMessages(1, [Message(("show-1",), "n", "{}")])], expected_appended=0
    )
    position, each = 2, 2_000
    for start in range(0, MAX_CHANNELS * 5 // 2, each):
        names = tuple(f"ticket-{number:036}" for number in range(start, start + each))
        # The show of these tickets has a message each time, unlike each of the tickets.
        messages = [Message((*names, "show-2"), "n", "{}")]
        state = await publisher.publish(
            [PositionedMessages(position, messages)], expected_appended=state.appended
        )
        position += 1
    hashes = await client.keys(pushlog.SEQS_PREFIX + "*")
    numbered = [await client.hlen(name) for name in hashes]  # type: ignore[misc]
    assert MAX_CHANNELS < sum(numbered) <= 2 * (MAX_CHANNELS + each + 1)
    assert sum([await client.memory_usage(name) for name in hashes]) <= 32 * 1_048_576
    # A channel with messages keeps its numbers; one that was dropped begins above its old ones.
    again = [Message(("show-1",), "n", "{}"), Message(("show-2",), "n", "{}")]
    await publisher.publish([PositionedMessages(position, again)], expected_appended=state.appended)
    last = entries(url)[-1]
    by_channel = {
        channel: json.loads(last.numbered_data(message, seq))["_seq"]
        for channel, message, seq in last.deliveries()
    }
    assert by_channel["show-1"] > 1
    assert by_channel["show-2"] == position - 1
    assert len({entry.stamps[0] for entry in entries(url)}) == 1


async def test_marks_are_bounded_and_expire(url: str, client: Redis) -> None:
    now = int(time.time())
    await client.zadd(ONCE, {f"m{n}": now - MAX_MARKS + n for n in range(MAX_MARKS)})
    publisher = Publisher(client)
    message = Message(("show-1",), "n", "{}")
    for mark in ("late", "m1", "m0"):
        await publisher.publish_once(mark, [message], expected_appended=0)
    # The oldest was dropped for the new one; m1 is known.
    assert await client.zcard(ONCE) == MAX_MARKS
    assert len(entries(url)) == 2
    await client.zadd(ONCE, {"late": now - ONCE_SECONDS - 1})
    await publisher.publish_once("late", [message], expected_appended=0)
    assert len(entries(url)) == 3


async def test_a_full_redis_still_publishes_and_trims(
    url: str, client: Redis, backend: PushLogBackend
) -> None:
    publisher = Publisher(client)
    state = await publisher.publish([PositionedMessages(1, [LARGE])], expected_appended=0)
    async with stores.full(client):
        await backend.append(LARGE)
        state = await publisher.publish(
            [PositionedMessages(2, [LARGE])], expected_appended=state.appended
        )
        assert await publisher.publish_once("m", [LARGE], expected_appended=state.appended)
        assert len(entries(url)) == 4
        # The bound holds as well.
        await flood(backend, MAX_BYTES + MAX_BYTES // SEGMENTS)
        stored = await client.memory_usage(STREAM, samples=0)
    assert stored <= MAX_BYTES * 4 // 3


async def test_a_reader_finds_its_position_and_reads_while_redis_is_full(
    url: str, client: Redis, backend: PushLogBackend
) -> None:
    await backend.append(LARGE)
    async with stores.full(client):
        other = PushLogBackend(url)
        await other.connect()
        await other.disconnect()
        assert other.has_position
        await backend._read_once()
        assert len((await backend.next_published()).entries) == 1
        await backend._read_once()
        assert backend.is_current
