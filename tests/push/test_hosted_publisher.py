"""Hosted Pusher: a message that it refuses is replaced or skipped, and blocks no other message."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pusher
import pytest

from backend.push.hosted_publisher import MAX_DATA_BYTES, READ_AGAIN, HostedPublisher
from backend.push.publisher import PositionedMessages, PublishError
from backend.push.push_log import Message
from loadtests.ports import free_port
from tests.push.hosted import HostedPusher, positions, refusing
from tests.push.servers import APP_ID, HOST, KEY, SECRET, RunningGateway

# An emoji makes Python store each character of the text in four bytes.
LONG = json.dumps({"titles": ["🩷" + "long title" * 12] * 40}, ensure_ascii=False)
TOO_LONG = json.dumps({"title": "é" * (MAX_DATA_BYTES // 2)}, ensure_ascii=False)


@contextmanager
def publishing(client: Any) -> Iterator[HostedPublisher]:
    publisher = HostedPublisher(client)
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


@pytest.mark.parametrize("status", [400, 413])
async def test_a_refused_message_is_taken_out_of_its_request_and_replaced(status: int) -> None:
    hosted_pusher = HostedPusher(refusing(status, lambda event: "poison" in event["data"]))
    messages = [Message(("show-1",), "ticket.held", text) for text in ("1", "poison", "3")]
    with publishing(hosted_pusher.client) as hosted:
        state = await hosted.publish([PositionedMessages(2, messages)], expected_appended=0)
    assert [event["data"] for event in hosted_pusher.accepted] == ["1", READ_AGAIN, "3"]
    assert state.refused == ()
    assert hosted_pusher.requests == [3, 1, 1, 1, 1]


async def test_a_channel_that_is_always_refused_is_reported_and_later_positions_are_sent() -> None:
    hosted_pusher = HostedPusher(refusing(400, lambda event: event["channel"] == "show-2"))
    with publishing(hosted_pusher.client) as hosted:
        state = await hosted.publish(positions("1", "2", "3"), expected_appended=0)
    assert [channel for channel, _ in hosted_pusher.received] == ["show-1", "show-3"]
    assert state.position == 6
    assert [(one.position, one.channel) for one in state.refused] == [(4, "show-2")]


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
async def test_another_error_ends_the_batch_after_the_positions_that_were_sent(status: int) -> None:
    hosted_pusher = HostedPusher(refusing(status, lambda event: event["data"] == "2"))
    batch = positions("1", "2", "3")
    with publishing(hosted_pusher.client) as hosted:
        state = await hosted.publish(batch, expected_appended=0)
        assert (state.position, state.appended, state.refused) == (2, 1, ())
        with pytest.raises(PublishError):
            await hosted.publish(batch[1:], expected_appended=1)
        hosted_pusher.status_of = lambda _: 200
        state = await hosted.publish(batch[1:], expected_appended=1)
    assert [event["data"] for event in hosted_pusher.accepted] == ["1", "2", "3"]
    assert (state.position, state.appended) == (6, 3)
