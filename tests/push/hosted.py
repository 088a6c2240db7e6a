"""Hosted Pusher in tests: the official library with a transport that imitates the server."""

import json
from collections.abc import Callable
from typing import Any

import pusher
from pusher.http import process_response

from backend.push.publisher import PositionedMessages
from backend.push.push_log import Message
from tests.push.servers import APP_ID, KEY, SECRET

Event = dict[str, str]


class HostedPusher:
    """Records the events of accepted requests. `status_of` is the reply to a request's events."""

    def __init__(self, status_of: Callable[[list[Event]], int] = lambda _: 200) -> None:
        self.status_of = status_of
        self.accepted: list[Event] = []
        self.requests: list[int] = []
        self.client = pusher.Pusher(
            app_id=APP_ID, key=KEY, secret=SECRET, backend=lambda _client: self
        )

    def send_request(self, request: Any) -> Any:
        events: list[Event] = json.loads(request.body)["batch"]
        self.requests.append(len(events))
        status = self.status_of(events)
        if status == 200:
            self.accepted += events
        return process_response(status, "{}")

    @property
    def received(self) -> list[tuple[str, str]]:
        return [(event["channel"], event["name"]) for event in self.accepted]


def refusing(status: int, refuses: Callable[[Event], bool]) -> Callable[[list[Event]], int]:
    """Refuses a request with any such event."""
    return lambda events: status if any(refuses(event) for event in events) else 200


def positions(*data: str, first: int = 2) -> list[PositionedMessages]:
    """One message for each position, on the channels `show-1`, `show-2`, …"""
    return [
        PositionedMessages(
            first + 2 * number, [Message((f"show-{number + 1}",), "ticket.held", text)]
        )
        for number, text in enumerate(data)
    ]
