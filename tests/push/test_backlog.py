"""A client that reads too slowly gets every event and the newest state of each key, and no state
that a newer one replaced.
"""

import asyncio
import json
from typing import Any

import pytest
from redis.asyncio import Redis

from backend.push import push_log as pushlog
from backend.push.backlog import Backlog, State
from backend.push.channels import ChannelRegistry
from backend.push.push_log import Message
from backend.push.settings import SLICE_BYTES
from tests.push.servers import RedisServer, running_gateway, until
from tests.push.test_channels import listener
from tests.push.test_push_socket import lazy_subscriber
from tests.push.test_resume import Notifier, delivered

SMALL = {"send_buffer_limit_bytes": 2 * SLICE_BYTES}
MESSAGES, TICKETS, ORDER_EVERY = 600, 5, 60
PAD = "x" * 9_000


def state(key: str, version: int, seq: int, channel: str = "a", epoch: int = 1) -> State:
    return State(channel, key, version, epoch, seq)


def reports(frames: list[bytes]) -> list[Any]:
    """The data of each `gittix:skipped`."""
    return [
        json.loads(json.loads(frame[frame.index(b"{") :])["data"])
        for frame in frames
        if b"gittix:skipped" in frame
    ]


def test_the_newest_state_of_each_key_waits_in_order() -> None:
    backlog = Backlog(1_000)
    for frame, each in (
        (b"t1v1", state("t1", 1, 1)),
        (b"order", None),
        (b"t2v1", state("t2", 1, 3)),
        (b"t1v2", state("t1", 2, 4)),
        (b"t1v3", state("t1", 3, 5)),
    ):
        assert backlog.add(frame, each)
    report, *rest = backlog.take()
    assert reports([report]) == [{"channel": "a", "epoch": 1, "from": 1, "to": 4}]
    assert rest == [b"order", b"t2v1", b"t1v3"]


def test_an_older_version_that_comes_later_is_left_out() -> None:
    backlog = Backlog(1_000)
    backlog.add(b"v2", state("t", 2, 1))
    backlog.add(b"v1", state("t", 1, 2))
    report, *rest = backlog.take()
    assert reports([report]) == [{"channel": "a", "epoch": 1, "from": 2, "to": 2}]
    assert rest == [b"v2"]


def test_channels_have_reports_and_states_of_their_own() -> None:
    backlog = Backlog(1_000)
    for seq in (1, 2):
        for channel in ("a", "b"):
            backlog.add(f"{channel}{seq}".encode(), state("t", seq, seq, channel))
    frames = backlog.take()
    assert [report["channel"] for report in reports(frames)] == ["a", "b"]
    assert frames[2:] == [b"a2", b"b2"]


def test_without_a_state_that_was_replaced_there_is_no_report() -> None:
    backlog = Backlog(1_000)
    backlog.add(b"a", state("t", 1, 1))
    backlog.add(b"b")
    assert backlog.take() == [b"a", b"b"]


def test_the_bytes_of_what_waits_are_bounded() -> None:
    backlog = Backlog(10)
    assert all(backlog.add(b"12345678", state("t", version, version)) for version in range(100))
    assert not backlog.add(b"123")


async def test_frames_before_and_after_a_backlog_keep_their_order() -> None:
    registry = ChannelRegistry()
    subscriber, socket = listener(registry, "1.1")
    registry.subscribe(subscriber, "private-a")
    await registry.flusher.drained()
    socket.written.clear()
    subscriber.send(b"1")
    subscriber.lag(1_000)
    subscriber.send(b"2")
    await registry.broadcast("private-a", b"3")
    await registry.flusher.drained()
    assert b"".join(socket.written) == b"1"
    subscriber.catch_up()
    subscriber.send(b"4")
    await registry.broadcast("private-a", b"5")
    await registry.flusher.drained()
    assert b"".join(socket.written) == b"12345"


async def test_a_backlog_that_ends_at_once_loses_nothing() -> None:
    registry = ChannelRegistry()
    subscriber, socket = listener(registry, "1.1")
    subscriber.send(b"1")
    subscriber.lag(1_000)
    subscriber.send(b"2")
    subscriber.catch_up()
    await registry.flusher.drained()
    assert b"".join(socket.written) == b"12"


def message(at: int) -> Message:
    data = json.dumps({"at": at, "pad": PAD})
    if at % ORDER_EVERY == 0:
        return Message(("a",), "order", data)
    return Message(("a",), "ticket", data, f"t{at % TICKETS}", at)


@pytest.mark.parametrize("keys", [True, False])
async def test_a_slow_client_gets_all_orders_and_the_newest_tickets(
    redis_server: RedisServer, *, keys: bool
) -> None:
    """Without keys the same messages are too many for the socket, which is closed."""
    async with (
        running_gateway(redis_server.url, **SMALL) as gateway,
        pushlog.connect(redis_server.url, timeout_seconds=2) as redis,
        lazy_subscriber(gateway, "a") as (reader, _),
    ):
        await publish(redis, keys=keys)
        if not keys:
            await until(lambda: not gateway.gateway._connections)
            return
        await delivered(gateway, "a", MESSAGES)
        found = await read_until(reader, MESSAGES)
    seqs = [data["_seq"] for event, data in found if event != "gittix:skipped"]
    assert seqs == sorted(set(seqs))
    assert len(seqs) < MESSAGES
    orders = [data["at"] for event, data in found if event == "order"]
    assert orders == list(range(ORDER_EVERY, MESSAGES + 1, ORDER_EVERY))
    newest = {data["at"] % TICKETS: data["at"] for event, data in found if event == "ticket"}
    assert min(newest.values()) > MESSAGES - 2 * TICKETS
    # A client that applies the reports sees no gap.
    position, covered = 0, (0, 0)
    for event, data in found:
        if event == "gittix:skipped":
            covered = (data["from"], data["to"])
        elif data["_seq"] != position + 1:
            assert covered[0] <= position + 1
            assert data["_seq"] - 1 <= covered[1]
        position = data.get("_seq", position)


async def publish(redis: Redis, *, keys: bool) -> None:
    notifier = Notifier(redis)
    for first in range(1, MESSAGES + 1, 20):
        batch = [message(at) for at in range(first, first + 20)]
        if not keys:
            batch = [Message(each.channels, each.event, each.data) for each in batch]
        await notifier.publish(*batch)
        await asyncio.sleep(0.01)


async def read_until(reader: asyncio.StreamReader, last: int) -> list[tuple[str, Any]]:
    """The events and data of the channel's messages, up to this number."""
    found: list[tuple[str, Any]] = []
    async with asyncio.timeout(10):
        while not found or found[-1][1].get("_seq") != last:
            _, size = await reader.readexactly(2)
            if size == 126:
                size = int.from_bytes(await reader.readexactly(2), "big")
            envelope = json.loads(await reader.readexactly(size))
            if envelope["event"] in ("order", "ticket", "gittix:skipped"):
                found.append((envelope["event"], json.loads(envelope["data"])))
    return found
