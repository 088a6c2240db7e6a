"""Publishes the notifier's messages through hosted Pusher, or a server with the same HTTP API.

Hosted Pusher keeps no state: a position or mark that is published again is sent again, and messages
have no numbers, so clients read the API after a reconnect.

A message that Pusher refuses for its content (status 400 or 413) is refused at every try. It is
taken out of its request, replaced by a short one that makes clients read the API, and reported as
refused if Pusher refuses that one as well. Any other error is a failure of the request: it is
raised, and the caller repeats it with backoff.
"""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import structlog
from prometheus_client import Counter
from pusher.errors import PusherBadRequest, PusherBadStatus

from backend.push.publisher import PositionedMessages, PublishError, PublisherState, Refusal
from backend.push.push_log import Message

log = structlog.get_logger()

BATCH_EVENTS: Final = 10
# Pusher counts the bytes of `data` in UTF-8, before its escapes in the request's JSON.
MAX_DATA_BYTES: Final = 10_240
# A client that receives this reads the API again (frontend/assets/src/shared/push.ts).
READ_AGAIN: Final = '{"_read_again":true}'
CONTENT_REFUSED: Final = ("413",)

REFUSED = Counter(
    "gittix_hosted_push_refused",
    "Messages that hosted Pusher refuses: `replaced` by one that makes clients read the API, or "
    "`dropped`",
    ["outcome"],
)

HostedEvent = dict[str, str]


class HostedPublisher:
    """See the module."""

    def __init__(self, client: Any, *, timeout_seconds: float = 15.0) -> None:
        """`client` is a `pusher.Pusher`.

        Its timeout limits each request; `timeout_seconds` limits one position.
        """
        self._client = client
        self._timeout = timeout_seconds
        # One thread, so that the messages of a channel keep their order, also after a timeout.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hosted-push")

    async def state(self) -> PublisherState:
        return PublisherState(epoch=0, appended=0, position=0)

    async def publish(
        self, batch: Sequence[PositionedMessages], *, expected_appended: int
    ) -> PublisherState:
        """Send the messages of these positions, up to the first position that fails. Raises
        PublishError when that is the first one.
        """
        appended = expected_appended
        position = 0
        refused: list[Refusal] = []
        for item in batch:
            try:
                refused += await self._send_position(item)
            except PublishError as error:
                if not position:
                    raise
                log.warning("hosted push interrupted", position=position, error=repr(error))
                break
            position = item.position
            appended += len(item.messages)
        return PublisherState(epoch=0, appended=appended, position=position, refused=tuple(refused))

    async def publish_once(
        self,
        mark: str,  # noqa: ARG002 - hosted Pusher cannot store it
        messages: Sequence[Message],
        *,
        expected_appended: int,
    ) -> PublisherState | None:
        return await self.publish(
            [PositionedMessages(0, messages)], expected_appended=expected_appended
        )

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _send_position(self, item: PositionedMessages) -> list[Refusal]:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                return await loop.run_in_executor(self._thread, self._send, item)
        except Exception as error:
            # The library raises exceptions of `requests`, its own PusherErrors and ValueErrors;
            # some messages may be delivered by then.
            raise PublishError(repr(error)) from error

    def _send(self, item: PositionedMessages) -> list[Refusal]:
        refused: list[Refusal] = []
        for events in _batches(item.messages):
            if self._trigger(events) is not None:
                refused += [
                    Refusal(item.position, event["channel"], event["name"], reason)
                    for event in events
                    if (reason := self._send_alone(event)) is not None
                ]
        return refused

    def _send_alone(self, event: HostedEvent) -> str | None:
        """Send one event of a refused request. Returns the reason if it is refused for good."""
        reason = self._trigger([event])
        if reason is None:
            return None
        reason = self._trigger([_read_again(event, reason)]) if _is_content(event) else reason
        if reason is not None:
            REFUSED.labels("dropped").inc()
            log.error(
                "push message refused",
                channel=event["channel"],
                push_event=event["name"],
                reason=reason,
            )
        return reason

    def _trigger(self, events: list[HostedEvent]) -> str | None:
        """Send one request. Returns the reason if Pusher refuses its content.

        The events are already strings. The library's own check estimates their size by the memory
        that Python needs, which is four bytes a character beside one emoji; it would refuse events
        that Pusher takes.
        """
        try:
            self._client.trigger_batch(events, already_encoded=True)
        except PusherBadRequest as error:
            return str(error)
        except PusherBadStatus as error:
            if not str(error).startswith(CONTENT_REFUSED):
                raise
            return str(error)
        return None


def _batches(messages: Sequence[Message]) -> Iterator[list[HostedEvent]]:
    events = [_hosted(message, channel) for message in messages for channel in message.channels]
    for start in range(0, len(events), BATCH_EVENTS):
        yield events[start : start + BATCH_EVENTS]


def _hosted(message: Message, channel: str) -> HostedEvent:
    event = {"channel": channel, "name": message.event, "data": message.data}
    size = len(message.data.encode())
    if size <= MAX_DATA_BYTES:
        return event
    return _read_again(event, f"{size} bytes of data")


def _read_again(event: HostedEvent, reason: str) -> HostedEvent:
    REFUSED.labels("replaced").inc()
    log.warning(
        "push message replaced", channel=event["channel"], push_event=event["name"], reason=reason
    )
    return event | {"data": READ_AGAIN}


def _is_content(event: HostedEvent) -> bool:
    return event["data"] != READ_AGAIN
