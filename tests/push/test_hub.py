import asyncio
import json
from typing import Any

import msgspec

from backend.push.hub import Hub, Member, Subscriber


class RecordingSocket:
    """Keeps what is written: the very objects."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, frames: bytes, /) -> bool:
        self.written.append(frames)
        return True

    def close(self, code: int, reason: str = "", /) -> None:
        raise AssertionError("nothing here closes")


def listener(hub: Hub, socket_id: str) -> tuple[Subscriber, RecordingSocket]:
    socket = RecordingSocket()
    return Subscriber(socket_id, socket, hub.flusher), socket


def member(user_id: str) -> Member:
    return Member(user_id, msgspec.Raw(b'{"name":"x"}'))


def events(socket: RecordingSocket) -> list[tuple[str, Any]]:
    """The (name, data) of every frame; these frames have short or 16-bit lengths."""
    found, stream = [], b"".join(socket.written)
    while stream:
        header, size = (
            (2, stream[1]) if stream[1] < 126 else (4, int.from_bytes(stream[2:4], "big"))
        )
        envelope = json.loads(stream[header : header + size])
        found.append((envelope["event"], json.loads(envelope["data"])))
        stream = stream[header + size :]
    return found


async def test_one_frame_is_built_and_every_socket_gets_that_object() -> None:
    hub = Hub()
    sockets = []
    for at in range(2_500):
        subscriber, socket = listener(hub, f"1.{at}")
        hub.subscribe(subscriber, "private-show-1")
        sockets.append(socket)
    await asyncio.sleep(0.01)
    await hub.flusher.drained()
    for socket in sockets:
        socket.written.clear()

    frame = b"\x81\x02{}"
    assert await hub.broadcast("private-show-1", frame, exclude="1.7") == 2_500
    await hub.flusher.drained()
    assert sockets[7].written == []
    assert all(
        len(socket.written) == 1 and socket.written[0] is frame
        for socket in sockets
        if socket is not sockets[7]
    )


async def test_the_frames_of_a_tick_are_one_write() -> None:
    hub = Hub()
    subscriber, socket = listener(hub, "1.1")
    hub.subscribe(subscriber, "presence-a", member("u"))
    await hub.flusher.drained()
    socket.written.clear()
    for frame in (b"a", b"b", b"c"):
        await hub.broadcast("presence-a", frame)
    await hub.flusher.drained()
    assert socket.written == [b"abc"]


async def test_a_user_joins_with_its_first_connection_and_leaves_with_its_last() -> None:
    hub = Hub()
    watching, watched = listener(hub, "1.1")
    first, first_socket = listener(hub, "1.2")
    second, _ = listener(hub, "1.3")
    hub.subscribe(watching, "presence-a", member("w"))
    hub.subscribe(first, "presence-a", member("u"))
    hub.subscribe(second, "presence-a", member("u"))
    hub.leave(first)
    await hub.flusher.drained()
    assert [name for name, _ in events(watched)[1:]] == ["pusher_internal:member_added"]
    assert [name for name, _ in events(first_socket)] == ["pusher_internal:subscription_succeeded"]
    hub.leave(second)
    await hub.flusher.drained()
    assert events(watched)[-1] == ("pusher_internal:member_removed", {"user_id": "u"})


async def test_the_subscription_count_is_told_on_change() -> None:
    hub = Hub()
    first, socket = listener(hub, "1.1")
    second, _ = listener(hub, "1.2")
    hub.subscribe(first, "show-1")
    hub.subscribe(second, "show-1")
    await asyncio.sleep(0.01)
    hub.leave(second)
    await asyncio.sleep(0.01)
    counts = [
        data["subscription_count"]
        for name, data in events(socket)
        if name.endswith("subscription_count")
    ]
    assert counts == [2, 1]


async def test_a_large_channel_tells_its_count_at_most_every_interval() -> None:
    hub = Hub()
    first, socket = listener(hub, "1.0")
    hub.subscribe(first, "show-1")
    for at in range(1, 120):
        hub.subscribe(listener(hub, f"1.{at}")[0], "show-1")
    await asyncio.sleep(0.01)
    hub.subscribe(listener(hub, "1.120")[0], "show-1")
    await asyncio.sleep(0.05)
    counts = [
        data["subscription_count"]
        for name, data in events(socket)
        if name.endswith("subscription_count")
    ]
    assert counts == [120]
    channel = hub.channel("show-1")
    assert channel is not None
    assert channel.count_timer is not None
    channel.count_timer.cancel()


async def test_an_empty_channel_is_forgotten() -> None:
    hub = Hub()
    subscriber, _ = listener(hub, "1.1")
    hub.subscribe(subscriber, "show-1")
    hub.subscribe(subscriber, "show-1")
    hub.unsubscribe(subscriber, "show-1")
    hub.unsubscribe(subscriber, "show-1")
    assert list(hub.occupied()) == []
    assert subscriber.channels == set()
