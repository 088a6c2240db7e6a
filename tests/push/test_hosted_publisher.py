"""Hosted Pusher: a message that it refuses is replaced or skipped, and blocks no other message."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from zlib import crc32

import pusher
import pytest

from backend.push.hosted_publisher import LANES, MAX_DATA_BYTES, READ_AGAIN, HostedPublisher
from backend.push.publisher import PositionedMessages, PublishError
from backend.push.push_log import Message
from loadtests.ports import free_port
from tests.push.hosted import HostedPusher, positions, refusing
from tests.push.servers import APP_ID, HOST, KEY, SECRET, RunningGateway

# An emoji makes Python store each character of the text in four bytes.
LONG = json.dumps({"titles": ["🩷" + "long title" * 12] * 40}, ensure_ascii=False)
TOO_LONG = json.dumps({"title": "é" * (MAX_DATA_BYTES // 2)}, ensure_ascii=False)


@contextmanager
def publishing(*clients: Any) -> Iterator[HostedPublisher]:
    publisher = HostedPublisher(clients)
    try:
        yield publisher
    finally:
        publisher.close()


async def test_messages_are_sent_through_the_official_library(gateway: RunningGateway) -> None:
    data = [f'{{"at":{at}}}' for at in range(12)]
    messages = [Message(("show-1",), "ticket.held", text) for text in [*data, LONG, TOO_LONG]]
    async with gateway.watcher("show-1") as watcher:
        await watcher.subscribed("show-1")
        with publishing(gateway.pusher) as hosted:
            state = await hosted.publish([PositionedMessages(3, messages)], expected_appended=2)
        seen = [(await watcher.event("ticket.held")).data for _ in messages]
    assert (state.position, state.appended, state.refused) == (3, 16, ())
    assert seen == [*({"at": at} for at in range(12)), json.loads(LONG), {"_read_again": True}]


async def test_an_unreachable_pusher_raises() -> None:
    away = pusher.Pusher(
        app_id=APP_ID, key=KEY, secret=SECRET, host=HOST, port=free_port(), ssl=False
    )
    with publishing(away) as hosted, pytest.raises(PublishError):
        await hosted.publish(positions("{}"), expected_appended=0)


@pytest.mark.parametrize("size", [MAX_DATA_BYTES, MAX_DATA_BYTES + 1])
async def test_data_is_measured_in_bytes_of_utf_8(size: int) -> None:
    data = "é" * (size // 2) + "a" * (size % 2)
    hosted_pusher = HostedPusher()
    with publishing(hosted_pusher.client) as hosted:
        await hosted.publish(positions(data), expected_appended=0)
    assert [event["data"] for event in hosted_pusher.accepted] == [
        data if size <= MAX_DATA_BYTES else READ_AGAIN
    ]


@pytest.mark.parametrize("status", [400, 402, 413, 422])
async def test_a_refused_message_is_taken_out_of_its_request_and_replaced(status: int) -> None:
    hosted_pusher = HostedPusher(refusing(status, lambda event: "poison" in event["data"]))
    messages = [Message(("show-1",), "ticket.held", text) for text in ("1", "poison", "3")]
    with publishing(hosted_pusher.client) as hosted:
        state = await hosted.publish([PositionedMessages(2, messages)], expected_appended=0)
    assert [event["data"] for event in hosted_pusher.accepted] == ["1", READ_AGAIN, "3"]
    assert state.refused == ()
    assert hosted_pusher.requests == [3, 1, 1, 1, 1], "the replacement is a request as well"


async def test_a_channel_that_is_always_refused_is_reported_and_later_positions_are_sent() -> None:
    hosted_pusher = HostedPusher(refusing(400, lambda event: event["channel"] == "show-2"))
    with publishing(hosted_pusher.client) as hosted:
        state = await hosted.publish(positions("1", "2", "3"), expected_appended=0)
    assert [channel for channel, _ in hosted_pusher.received] == ["show-1", "show-3"]
    assert state.position == 6
    assert [(one.position, one.channel) for one in state.refused] == [(4, "show-2")]


@pytest.mark.parametrize("status", [401, 403, 404, 408, 429, 500, 503])
async def test_another_error_ends_the_batch_before_its_request(status: int) -> None:
    hosted_pusher = HostedPusher(refusing(status, lambda event: event["data"] == "12"))
    texts = [str(number) for number in range(1, 16)]
    batch = positions(*texts)
    with publishing(hosted_pusher.client) as hosted:
        state = await hosted.publish(batch, expected_appended=0)
        assert (state.position, state.appended, state.refused) == (batch[9].position, 10, ())
        with pytest.raises(PublishError):
            await hosted.publish(batch[10:], expected_appended=10)
        hosted_pusher.status_of = lambda _: 200
        state = await hosted.publish(batch[10:], expected_appended=10)
    assert [event["data"] for event in hosted_pusher.accepted] == texts
    assert (state.position, state.appended) == (batch[-1].position, 15)


async def test_requests_have_ten_messages_of_any_positions_and_lanes_share_them() -> None:
    lanes = [HostedPusher() for _ in range(LANES)]
    batch = [
        PositionedMessages(
            2 * at,
            [Message((f"show-{at % 50}", f"private-user-{at}"), "ticket.held", str(at))],
        )
        for at in range(1, 201)
    ]
    with publishing(*(lane.client for lane in lanes)) as hosted:
        state = await hosted.publish(batch, expected_appended=0)
    assert state.position == 400
    for lane in lanes:
        assert all(size == 10 for size in lane.requests[:-1])
        # 400 messages are 40 requests one after the other, without lanes.
        assert len(lane.requests) <= 15
        for channel in {event["channel"] for event in lane.accepted}:
            sent = [int(one["data"]) for one in lane.accepted if one["channel"] == channel]
            assert sent == sorted(sent)
    owners = [{event["channel"] for event in lane.accepted} for lane in lanes]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 250


async def test_a_lane_sends_nothing_twice_when_another_lane_fails() -> None:
    """The refusals of the positions that were ahead are reported once they are covered."""
    channels = [f"show-{number}" for number in range(100)]
    of_lane = [[name for name in channels if crc32(name.encode()) % 2 == lane] for lane in (0, 1)]
    names = [of_lane[at % 2][at // 2] for at in range(40)]
    batch = [
        PositionedMessages(2 + 2 * at, [Message((name,), "ticket.held", str(at))])
        for at, name in enumerate(names)
    ]
    lanes = [HostedPusher() for _ in range(2)]
    lanes[0].status_of = refusing(400, lambda event: event["channel"] == names[38])
    lanes[1].status_of = lambda _: 503
    with publishing(*(lane.client for lane in lanes)) as hosted:
        state = await hosted.publish(batch, expected_appended=0)
        assert (state.position, state.appended, state.refused) == (2, 1, ())
        lanes[1].status_of = lambda _: 200
        state = await hosted.publish(batch[1:], expected_appended=1)
    assert (state.position, state.appended) == (batch[-1].position, 40)
    assert [one.position for one in state.refused] == [batch[38].position]
    accepted = [event["data"] for lane in lanes for event in lane.accepted]
    assert len(accepted) == len(set(accepted)) == 39
