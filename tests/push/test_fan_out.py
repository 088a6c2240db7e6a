"""The frames of a channel's tick are joined once, in order; each socket gets its own of them."""

import asyncio
import time

import pytest

from backend.push import fan_out
from backend.push.channels import ChannelRegistry
from backend.push.push_log import Message
from backend.push.replay_state import Held
from backend.push.settings import SLICE_BYTES, GatewaySettings
from tests.push.servers import RunningGateway
from tests.push.test_channels import RecordingSocket, listener


async def subscribed(registry: ChannelRegistry, channel: str, *at: int) -> list[RecordingSocket]:
    """Sockets without the frames of their subscriptions."""
    sockets = []
    for number in at:
        subscriber, socket = listener(registry, f"1.{number}")
        registry.subscribe(subscriber, channel)
        sockets.append(socket)
    await asyncio.sleep(0)
    await registry.flusher.drained()
    for socket in sockets:
        socket.written.clear()
    return sockets


async def written(socket: RecordingSocket) -> None:
    while not socket.written:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def test_the_frames_of_a_tick_are_joined_once_for_all_sockets() -> None:
    registry = ChannelRegistry()
    sockets = await subscribed(registry, "private-a", *range(1_000))
    for frame in (b"a", b"b", b"c"):
        await registry.broadcast("private-a", frame)
        await asyncio.sleep(0)
    await registry.flusher.drained()
    assert all(len(socket.written) == 1 for socket in sockets)
    assert sockets[0].written == [b"abc"]
    assert all(socket.written[0] is sockets[0].written[0] for socket in sockets)


@pytest.mark.parametrize(("subscribers", "seconds"), [(1, 0), (500, 0.0045), (10_000, 0.052)])
async def test_a_tick_lasts_longer_for_more_subscribers(subscribers: int, seconds: float) -> None:
    registry = ChannelRegistry()
    (socket, *_) = await subscribed(registry, "private-a", *range(subscribers))
    waited = []
    for _ in range(5):
        began = time.perf_counter()
        await registry.broadcast("private-a", b"a")
        await written(socket)
        socket.written.clear()
        waited.append(time.perf_counter() - began)
        await registry.flusher.drained()
    # The loop's clock has milliseconds.
    assert min(waited) >= 0.8 * seconds
    assert seconds or min(waited) < fan_out.MIN_TICK_SECONDS


async def test_a_socket_that_subscribes_in_a_tick_gets_the_later_frames() -> None:
    registry = ChannelRegistry()
    (before, *_) = await subscribed(registry, "private-a", *range(300))
    await registry.broadcast("private-a", b"a")
    subscriber, late = listener(registry, "2.1")
    registry.subscribe(subscriber, "private-a")
    await registry.broadcast("private-a", b"b")
    await registry.flusher.drained()
    assert b"".join(before.written).startswith(b"ab")
    assert b"".join(late.written).endswith(b"}b")


async def test_a_socket_that_subscribes_again_in_a_tick_gets_no_frame_twice() -> None:
    registry = ChannelRegistry()
    await subscribed(registry, "private-a", *range(300))
    subscriber, socket = listener(registry, "2.1")
    registry.subscribe(subscriber, "private-a")
    await registry.flusher.drained()
    await registry.broadcast("private-a", b"<a>")
    registry.unsubscribe(subscriber, "private-a")
    await registry.broadcast("private-a", b"<b>")
    registry.subscribe(subscriber, "private-a")
    await registry.broadcast("private-a", b"<c>")
    await registry.flusher.drained()
    received = b"".join(socket.written)
    assert (received.count(b"<b>"), received.count(b"<c>")) == (0, 1)


async def test_the_sender_of_an_event_does_not_get_it_but_the_others_of_its_tick() -> None:
    registry = ChannelRegistry()
    sender, other, *_ = await subscribed(registry, "private-a", *range(300))
    for frame, exclude in ((b"a", None), (b"b", "1.0"), (b"c", "1.1"), (b"d", "1.0")):
        await registry.broadcast("private-a", frame, exclude)
    await registry.flusher.drained()
    assert b"".join(sender.written) == b"ac"
    assert b"".join(other.written) == b"abd"


async def test_frames_that_come_during_a_write_follow_it() -> None:
    registry = ChannelRegistry()
    sockets = await subscribed(registry, "private-a", *range(1_200))
    await registry.broadcast("private-a", b"a")
    await written(sockets[0])
    assert not sockets[-1].written
    await registry.broadcast("private-a", b"b")
    await registry.flusher.drained()
    assert {b"".join(socket.written) for socket in sockets} == {b"ab"}


async def test_a_small_channel_does_not_wait_for_a_large_one() -> None:
    registry = ChannelRegistry()
    large = await subscribed(registry, "private-a", *range(5_000))
    (small,) = await subscribed(registry, "private-b", 9_000)
    await registry.broadcast("private-a", b"a")
    await written(large[0])
    await registry.broadcast("private-b", b"b")
    await written(small)
    assert not large[-1].written


async def test_frames_wait_behind_those_of_the_socket_itself() -> None:
    registry = ChannelRegistry()
    subscriber, socket = listener(registry, "1.1")
    registry.subscribe(subscriber, "private-a")
    await registry.flusher.drained()
    socket.written.clear()
    subscriber.send(b"own")
    await registry.broadcast("private-a", b"a")
    await registry.flusher.drained()
    assert b"".join(socket.written) == b"owna"


async def test_a_socket_whose_frames_are_held_loses_and_repeats_none_of_a_tick() -> None:
    registry = ChannelRegistry()
    await subscribed(registry, "private-a", *range(300))
    subscriber, socket = listener(registry, "2.1")
    registry.subscribe(subscriber, "private-a")
    await registry.flusher.drained()
    socket.written.clear()
    channel = registry.channel("private-a")
    assert channel is not None
    await registry.broadcast("private-a", b"a")
    channel.hold(subscriber, Held(GatewaySettings(app_id="", key="", secret="", redis_url="")))
    await registry.broadcast("private-a", b"b")
    subscriber.send(b"replay", *channel.release(subscriber))
    await registry.broadcast("private-a", b"c")
    await registry.flusher.drained()
    assert b"".join(socket.written) == b"replayabc"


async def test_many_bytes_end_a_tick() -> None:
    registry = ChannelRegistry()
    (socket, *_) = await subscribed(registry, "private-a", *range(300))
    frame = b"x" * (SLICE_BYTES // 4)
    for _ in range(20):
        await registry.broadcast("private-a", frame)
    await registry.flusher.drained()
    assert sum(map(len, socket.written)) == 20 * len(frame)
    assert max(map(len, socket.written)) <= SLICE_BYTES + len(frame)
    assert registry.flusher.waiting_bytes == 0


async def test_a_channel_that_empties_leaves_nothing_behind() -> None:
    registry = ChannelRegistry()
    subscribers = [listener(registry, f"1.{at}")[0] for at in range(300)]
    for subscriber in subscribers:
        registry.subscribe(subscriber, "private-a")
    await registry.flusher.drained()
    await registry.broadcast("private-a", b"a")
    for subscriber in subscribers:
        registry.leave(subscriber)
    assert registry.flusher.waiting_bytes == 0
    assert not registry.flusher.ticks


async def test_messages_of_a_burst_arrive_once_and_in_order(gateway: RunningGateway) -> None:
    async with gateway.raw() as client:
        await client.established()
        await client.subscribe("show-1")
        for at in range(200):
            await gateway.gateway.publish(Message(("show-1",), "n", str(at)))
        found = [await client.data("n") for _ in range(200)]
    assert found == list(range(200))
