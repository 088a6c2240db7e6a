"""Publishes the notifier's messages through hosted Pusher, or a server with the same HTTP API.

Requests have up to ten messages of any positions. Several lanes send at the same time, each with a
connection of its own; all messages of a channel go through one lane, which keeps their order.

Hosted Pusher keeps no state: after a crash, positions that were sent are sent again, and messages
have no numbers, so clients read the API after a reconnect.

A message that Pusher refuses for its content (status 400, 413 or any other 4xx that a repetition
does not change) is taken out of its request, replaced by a short one that makes clients read the
API, and reported as refused if Pusher refuses that one as well. Any other error is a failure of the
request: the caller repeats the positions from there with backoff. Among these are 401, 403 and 404,
with which Pusher refuses every message alike until an operator mends the settings or the plan.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple
from zlib import crc32

import structlog
from prometheus_client import Counter
from pusher.errors import PusherBadRequest, PusherBadStatus

from backend.push.client import CALL_SECONDS
from backend.push.publisher import PositionedMessages, PublishError, PublisherState, Refusal
from backend.push.push_log import Message

log = structlog.get_logger()

LANES: Final = 8
BATCH_EVENTS: Final = 10
# A lane begins no request after this; the positions that it has not sent follow in the next call.
PUBLISH_SECONDS: Final = 10.0
# Pusher counts the bytes of `data` in UTF-8, before its escapes in the request's JSON.
MAX_DATA_BYTES: Final = 10_240
# A client that receives this reads the API again (frontend/assets/src/shared/push.ts).
READ_AGAIN: Final = '{"_read_again":true}'
# Statuses that concern the app, the time or the rate, and not the content of the request.
NOT_OF_CONTENT: Final = ("401", "403", "404", "408", "425", "429")

REFUSED = Counter(
    "gittix_hosted_push_refused",
    "Messages that hosted Pusher refuses: `replaced` by one that makes clients read the API, or "
    "`dropped`",
    ["outcome"],
)
FAILED = Counter(
    "gittix_hosted_push_failed", "Requests to hosted Pusher that fail and are repeated"
)

HostedEvent = dict[str, str]
Refusals = dict[int, list[Refusal]]


class PositionedEvent(NamedTuple):
    position: int
    event: HostedEvent


class LaneResult(NamedTuple):
    """The refusals of each position that is sent; the first that is not, and the reason."""

    refusals: Refusals
    failed_position: int | None = None
    reason: str = ""


class HostedPublisher:
    """See the module."""

    def __init__(self, clients: Sequence[Any], *, timeout_seconds: float = PUBLISH_SECONDS) -> None:
        """`clients` are instances of `pusher.Pusher`, one for each lane.

        Their timeout limits each request; `timeout_seconds` limits a call of `publish`.
        """
        self._lanes = [_Lane(client, timeout_seconds) for client in clients]
        self._timeout = timeout_seconds + 2 * CALL_SECONDS

    async def state(self) -> PublisherState:
        return PublisherState(epoch=0, appended=0, position=0)

    async def publish(
        self, batch: Sequence[PositionedMessages], *, expected_appended: int
    ) -> PublisherState:
        """Send the messages of these positions, up to the first position that fails. Raises
        PublishError when that is the first one.
        """
        results = await self._send(batch)
        failed = {
            result.failed_position: result.reason
            for result in results
            if result.failed_position is not None
        }
        first_failed = min(failed, default=None)
        sent = [item for item in batch if first_failed is None or item.position < first_failed]
        if first_failed is not None:
            if not sent:
                raise PublishError(failed[first_failed])
            log.warning(
                "hosted push interrupted",
                position=sent[-1].position,
                error=failed[first_failed],
            )
        return PublisherState(
            epoch=0,
            appended=expected_appended + sum(len(item.messages) for item in sent),
            position=sent[-1].position if sent else 0,
            refused=tuple(
                refusal
                for item in sent
                for result in results
                for refusal in result.refusals.get(item.position, ())
            ),
        )

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

    async def detect_loss(self, *, expected_appended: int) -> PublisherState:
        return PublisherState(epoch=0, appended=expected_appended, position=0)

    def close(self) -> None:
        for lane in self._lanes:
            lane.thread.shutdown(wait=False, cancel_futures=True)

    async def _send(self, batch: Sequence[PositionedMessages]) -> list[LaneResult]:
        events: list[list[PositionedEvent]] = [[] for _ in self._lanes]
        for item in batch:
            for message in item.messages:
                for channel in message.channels:
                    lane = crc32(channel.encode()) % len(events)
                    events[lane].append(PositionedEvent(item.position, _hosted(message, channel)))
        loop = asyncio.get_running_loop()
        first = batch[0].position if batch else 0
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.gather(
                    *(
                        loop.run_in_executor(lane.thread, lane.send, first, own)
                        for lane, own in zip(self._lanes, events, strict=True)
                    )
                )
        except TimeoutError as error:
            raise PublishError("hosted Pusher does not reply in time") from error


class _Lane:
    """Sends the messages of some channels in order. Its thread has all of its state."""

    def __init__(self, client: Any, seconds: float) -> None:
        self._client = client
        self._seconds = seconds
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hosted-push")
        # The sent positions of the last call with their refusals. When another lane fails, the
        # caller repeats them, and this lane must not send them twice.
        self._ahead: Refusals = {}

    def send(self, first: int, events: Sequence[PositionedEvent]) -> LaneResult:
        """Send these events, of ascending positions from `first` on."""
        if not first:
            # Messages with a mark have no position.
            return self._send_due(events)
        self._ahead = {at: found for at, found in self._ahead.items() if at >= first}
        result = self._send_due([one for one in events if one.position not in self._ahead])
        self._ahead |= result.refusals
        return result._replace(refusals=dict(self._ahead))

    def _send_due(self, events: Sequence[PositionedEvent]) -> LaneResult:
        refusals: Refusals = {one.position: [] for one in events}
        stops_at = time.monotonic() + self._seconds
        for start in range(0, len(events), BATCH_EVENTS):
            request = events[start : start + BATCH_EVENTS]
            if time.monotonic() >= stops_at:
                return _failed(refusals, request[0].position, "hosted Pusher replies too slowly")
            try:
                for position, refusal in self._send_request(request):
                    refusals[position].append(refusal)
            except Exception as error:
                # The library raises exceptions of `requests`, its own PusherErrors and ValueErrors;
                # Pusher may have delivered the request by then.
                FAILED.inc()
                return _failed(refusals, request[0].position, repr(error))
        return LaneResult(refusals)

    def _send_request(self, events: Sequence[PositionedEvent]) -> Iterator[tuple[int, Refusal]]:
        if self._trigger([one.event for one in events]) is None:
            return
        for position, event in events:
            if (reason := self._send_alone(event)) is not None:
                yield position, Refusal(position, event["channel"], event["name"], reason)

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
            status = str(error)[:3]
            if not status.startswith("4") or status in NOT_OF_CONTENT:
                raise
            return str(error)
        return None


def _failed(refusals: Refusals, position: int, reason: str) -> LaneResult:
    return LaneResult(
        {at: found for at, found in refusals.items() if at < position}, position, reason
    )


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
