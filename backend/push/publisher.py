"""What the notifier calls: messages go out in the order of the event log, each position once.

One Lua script appends the messages of many positions as one entry, numbers them in their channels and records the last
position, so a crash between any two of these can't happen. Positions at or below the recorded one append nothing: a
caller that fell back behind it (a restored database) must publish under new, higher positions.

What is told late, after later positions, has no position left. It goes out once by a mark of its own, in one step with
the mark; where a lost tail makes that doubtful it does not go out, and the caller is told so.
"""

import asyncio
from collections.abc import Awaitable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple, Protocol, cast

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from backend.push.push_log import (
    ONCE_PREFIX,
    ONCE_SECONDS,
    PUBLISH,
    PUBLISH_ONCE,
    STATE,
    STREAM,
    Message,
    pack,
)

HOSTED_BATCH: Final = 10
# Redis does nothing else while a script runs, 3 µs for each message: a position carries a handful, and a call not many
# more than these.
MAX_MESSAGES: Final = 1_000
CALL_MESSAGES: Final = 500


class PositionedMessages(NamedTuple):
    """A position of the event log and the messages that it becomes."""

    position: int
    messages: Sequence[Message]


class PublisherState(msgspec.Struct, frozen=True):
    """The epoch of new messages, how many were ever appended, and the last position published."""

    epoch: int
    appended: int
    position: int


class PublishError(Exception):
    """The messages may or may not be out; publishing the same position again is safe."""


class MessagePublisher(Protocol):
    async def state(self) -> PublisherState: ...

    async def publish(
        self, places: Sequence[PositionedMessages], *, expected_appended: int
    ) -> PublisherState: ...

    async def publish_once(
        self, mark: str, messages: Sequence[Message], *, expected_appended: int
    ) -> PublisherState | None: ...


class Publisher:
    """Publishes through our own gateways, over the push log."""

    def __init__(self, redis: Redis, *, timeout_seconds: float = 2.0) -> None:
        self._redis = redis
        self._timeout = timeout_seconds
        self._publish = redis.register_script(PUBLISH)
        self._publish_once = redis.register_script(PUBLISH_ONCE)
        # A Redis that forgot everything must still not repeat an epoch that this process has seen.
        self._highest_epoch = 0

    async def state(self) -> PublisherState:
        try:
            async with asyncio.timeout(self._timeout):
                found = await cast(
                    Awaitable[list[Any]],
                    self._redis.hmget(STATE, ["epoch", "appended", "position"]),
                )
        except (RedisError, OSError, TimeoutError) as fault:
            raise PublishError(str(fault)) from fault
        return self._noted([int(value or 0) for value in found])

    async def publish(
        self, places: Sequence[PositionedMessages], *, expected_appended: int
    ) -> PublisherState:
        """Append the messages of these positions, ascending, but for those that are published already.

        `expected_appended` is the count the caller last saw; when Redis knows fewer, a new epoch begins.
        """
        state = PublisherState(self._highest_epoch, expected_appended, 0)
        for call in _calls(places):
            untold = call
            while untold:
                messages = [message for place in untold for message in place.messages]
                positions = [untold[0].position, untold[-1].position]
                arguments = [
                    *self._arguments(max(expected_appended, state.appended), messages),
                    *positions,
                ]
                state = self._noted(await self._call(self._publish, [STREAM, STATE], arguments))
                # Nothing is appended beside a place that an earlier call published, which seemed to fail.
                untold = [place for place in untold if place.position > state.position]
        return state

    async def publish_once(
        self, mark: str, messages: Sequence[Message], *, expected_appended: int
    ) -> PublisherState | None:
        """Append messages that have no position, unless it was done under this mark.

        None, and nothing appended, when Redis lost its tail: it may have been done, and nobody can know.
        """
        assert len(messages) <= MAX_MESSAGES, "one mark can't carry that many messages"
        keys = [STREAM, STATE, ONCE_PREFIX + mark]
        arguments = [*self._arguments(expected_appended, messages), ONCE_SECONDS]
        *state, known = await self._call(self._publish_once, keys, arguments)
        return self._noted(state) if known else None

    def _arguments(self, expected_appended: int, messages: Sequence[Message]) -> list[int | bytes]:
        channels = [channel for message in messages for channel in message.channels]
        return [
            expected_appended,
            self._highest_epoch,
            len(messages),
            pack(channels),
            pack(messages),
        ]

    async def _call(
        self, script: Any, keys: Sequence[str], arguments: Sequence[int | bytes]
    ) -> list[int]:
        try:
            async with asyncio.timeout(self._timeout):
                reply: list[int] = await script(keys=keys, args=arguments)
        except (RedisError, OSError, TimeoutError) as fault:
            raise PublishError(str(fault)) from fault
        return reply

    def _noted(self, reply: Sequence[int]) -> PublisherState:
        state = PublisherState(*reply)
        self._highest_epoch = max(self._highest_epoch, state.epoch)
        return state


class HostedPublisher:
    """Publishes through hosted Pusher, or anything that speaks its HTTP API.

    It keeps no state there: a position or a mark that is published again is sent again, and nothing is numbered, so
    clients read the API after a reconnect.
    """

    def __init__(self, client: Any, *, timeout_seconds: float = 15.0) -> None:
        """`client` is a `pusher.Pusher`; its own timeout bounds each request, ours all requests of a position."""
        self._client = client
        self._timeout = timeout_seconds
        # One thread: messages of a channel must not overtake each other, also not after a timeout.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hosted-push")

    async def state(self) -> PublisherState:
        return PublisherState(epoch=0, appended=0, position=0)

    async def publish(
        self, places: Sequence[PositionedMessages], *, expected_appended: int
    ) -> PublisherState:
        appended = expected_appended
        for place in places:
            await self._post(place.messages)
            appended += len(place.messages)
        return PublisherState(
            epoch=0, appended=appended, position=places[-1].position if places else 0
        )

    async def publish_once(
        self,
        mark: str,  # noqa: ARG002 - nothing there could know it
        messages: Sequence[Message],
        *,
        expected_appended: int,
    ) -> PublisherState | None:
        return await self.publish(
            [PositionedMessages(0, messages)], expected_appended=expected_appended
        )

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _post(self, messages: Sequence[Message]) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                await loop.run_in_executor(self._thread, self._send, messages)
        except Exception as fault:
            # The library raises bare requests and six exceptions of its own; all mean that it isn't known to be out.
            raise PublishError(repr(fault)) from fault

    def _send(self, messages: Sequence[Message]) -> None:
        batch = [_hosted(message, channel) for message in messages for channel in message.channels]
        for start in range(0, len(batch), HOSTED_BATCH):
            self._client.trigger_batch(batch[start : start + HOSTED_BATCH])


def _calls(places: Sequence[PositionedMessages]) -> Iterator[list[PositionedMessages]]:
    """Places in order, as many in a call as Redis should do at once; a place is never split."""
    call: list[PositionedMessages] = []
    messages = 0
    for place in places:
        assert len(place.messages) <= MAX_MESSAGES, "one position can't carry that many messages"
        if call and (messages + len(place.messages) > CALL_MESSAGES or len(call) >= CALL_MESSAGES):
            yield call
            call, messages = [], 0
        call.append(place)
        messages += len(place.messages)
    if call:
        yield call


def _hosted(message: Message, channel: str) -> dict[str, str]:
    return {
        "channel": channel,
        "name": message.event,
        "data": message.data,
    }
