import asyncio
import json
from typing import Any

import msgspec

from backend.push.channels import ChannelRegistry, Member, Subscriber


class RecordingSocket:
    """Keeps the written objects themselves."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, frames: bytes, /) -> bool:
        self.written.append(frames)
        return True

    def close(self, code: int, reason: str = "", /) -> None:
        raise AssertionError("no test here closes a socket")


def listener(registry: ChannelRegistry, socket_id: str) -> tuple[Subscriber, RecordingSocket]:
    socket = RecordingSocket()
    return Subscriber(socket_id, socket, registry.flusher), socket


def member(user_id: str) -> Member:
    return Member(user_id, msgspec.Raw(b'{"name":"x"}'))


def events(socket: RecordingSocket) -> list[tuple[str, Any]]:
    """Return the event name and the data of each frame; lengths are of 7 or 16 bits."""
    found, stream = [], b"".join(socket.written)
    while stream:
        header, size = (
            (2, stream[1]) if stream[1] < 126 else (4, int.from_bytes(stream[2:4], "big"))
        )
        envelope = json.loads(stream[header : header + size])
        found.append((envelope["event"], json.loads(envelope["data"])))
        stream = stream[header + size :]
    return found


async def test_all_sockets_share_one_frame_object() -> None:
    registry = ChannelRegistry()
    sockets = []
    for at in range(2_500):
        subscriber, socket = listener(registry, f"1.{at}")
        registry.subscribe(subscriber, "private-show-1")
        sockets.append(socket)
    await asyncio.sleep(0.01)
    await registry.flusher.drained()
    for socket in sockets:
        socket.written.clear()

    frame = b"\x81\x02{}"
    assert await registry.broadcast("private-show-1", frame, exclude="1.7") == 2_500
    await registry.flusher.drained()
    assert sockets[7].written == []
    assert all(
        len(socket.written) == 1 and socket.written[0] is frame
        for socket in sockets
        if socket is not sockets[7]
    )


async def test_frames_of_one_loop_iteration_are_one_write() -> None:
    registry = ChannelRegistry()
    subscriber, socket = listener(registry, "1.1")
    registry.subscribe(subscriber, "presence-a", member("u"))
    await registry.flusher.drained()
    socket.written.clear()
    for frame in (b"a", b"b", b"c"):
        await registry.broadcast("presence-a", frame)
    await registry.flusher.drained()
    assert socket.written == [b"abc"]


async def test_a_user_joins_with_its_first_connection_and_leaves_with_its_last() -> None:
    registry = ChannelRegistry()
    watching, watched = listener(registry, "1.1")
    first, first_socket = listener(registry, "1.2")
    second, _ = listener(registry, "1.3")
    registry.subscribe(watching, "presence-a", member("w"))
    registry.subscribe(first, "presence-a", member("u"))
    registry.subscribe(second, "presence-a", member("u"))
    registry.leave(first)
    await registry.flusher.drained()
    assert [name for name, _ in events(watched)[1:]] == ["pusher_internal:member_added"]
    assert [name for name, _ in events(first_socket)] == ["pusher_internal:subscription_succeeded"]
    registry.leave(second)
    await registry.flusher.drained()
    assert events(watched)[-1] == ("pusher_internal:member_removed", {"user_id": "u"})


async def test_the_subscription_count_is_sent_on_change() -> None:
    registry = ChannelRegistry()
    first, socket = listener(registry, "1.1")
    second, _ = listener(registry, "1.2")
    registry.subscribe(first, "show-1")
    registry.subscribe(second, "show-1")
    await asyncio.sleep(0.01)
    registry.leave(second)
    await asyncio.sleep(0.01)
    counts = [
        data["subscription_count"]
        for name, data in events(socket)
        if name.endswith("subscription_count")
    ]
    assert counts == [2, 1]


async def test_a_large_channel_sends_its_count_at_most_once_per_interval() -> None:
    registry = ChannelRegistry()
    first, socket = listener(registry, "1.0")
    registry.subscribe(first, "show-1")
    for at in range(1, 120):
        registry.subscribe(listener(registry, f"1.{at}")[0], "show-1")
    await asyncio.sleep(0.01)
    registry.subscribe(listener(registry, "1.120")[0], "show-1")
    await asyncio.sleep(0.05)
    counts = [
        data["subscription_count"]
        for name, data in events(socket)
        if name.endswith("subscription_count")
    ]
    assert counts == [120]
    channel = registry.channel("show-1")
    assert channel is not None
    assert channel.count_timer is not None
    channel.count_timer.cancel()


async def test_an_empty_channel_is_removed() -> None:
    registry = ChannelRegistry()
    subscriber, _ = listener(registry, "1.1")
    registry.subscribe(subscriber, "show-1")
    registry.subscribe(subscriber, "show-1")
    registry.unsubscribe(subscriber, "show-1")
    registry.unsubscribe(subscriber, "show-1")
    assert list(registry.occupied()) == []
    assert subscriber.channels == set()
