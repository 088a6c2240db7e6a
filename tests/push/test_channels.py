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


async def joined(registry: ChannelRegistry, subscriber: Subscriber, user_id: str) -> bool:
    """Join presence-a without Redis, so that this gateway admits the user."""
    return await registry.join(subscriber, "presence-a", member(user_id), no_position, 0)


async def no_position(_name: str) -> None:
    """The channel had no message."""


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
    assert await joined(registry, subscriber, "u")
    await registry.flusher.drained()
    socket.written.clear()
    for frame in (b"a", b"b", b"c"):
        await registry.broadcast("presence-a", frame)
    await registry.flusher.drained()
    assert socket.written == [b"abc"]


async def test_a_user_joins_with_its_first_connection() -> None:
    registry = ChannelRegistry()
    watching, watched = listener(registry, "1.1")
    first, first_socket = listener(registry, "1.2")
    second, _ = listener(registry, "1.3")
    for subscriber, user_id in ((watching, "w"), (first, "u"), (second, "u")):
        assert await joined(registry, subscriber, user_id)
    await registry.flusher.drained()
    assert [name for name, _ in events(watched)[1:]] == ["pusher_internal:member_added"]
    assert [name for name, _ in events(first_socket)] == ["pusher_internal:subscription_succeeded"]


async def test_an_empty_channel_is_removed() -> None:
    registry = ChannelRegistry()
    subscriber, _ = listener(registry, "1.1")
    registry.subscribe(subscriber, "show-1")
    registry.subscribe(subscriber, "show-1")
    registry.unsubscribe(subscriber, "show-1")
    registry.unsubscribe(subscriber, "show-1")
    assert list(registry.occupied()) == []
    assert subscriber.channels == set()
