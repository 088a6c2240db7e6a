"""What the notifier calls: messages go out in the order of the event log, each position once.

One Lua script appends a position's messages, numbers them in their channels and records the position, so a crash
between any two of these can't happen. Positions at or below the recorded one append nothing: a caller that fell back
behind it (a restored database) must publish under new, higher positions.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol, cast

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from backend.push.log import CHANNEL_PREFIX, PUBLISH, STATE, STREAM

HOSTED_BATCH: Final = 10
# Lua's unpack and Redis's argument parsing both like it short; a position carries a handful.
MAX_MESSAGES: Final = 1_000


class Message(msgspec.Struct, frozen=True):
    """One event for one channel. With a key it is state: the highest version of the key replaces the others."""

    channel: str
    event: str
    data: dict[str, Any]
    key: str | None = None
    version: int | None = None


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
        self, position: int, messages: Sequence[Message], *, expected_appended: int
    ) -> PublisherState: ...


class Publisher:
    """Publishes through our own gateways, over the push log."""

    def __init__(self, redis: Redis, *, timeout_seconds: float = 2.0) -> None:
        self._redis = redis
        self._timeout = timeout_seconds
        self._script = redis.register_script(PUBLISH)
        # A Redis that forgot everything must still not repeat an epoch that this process has seen.
        self._highest_epoch = 0

    async def state(self) -> PublisherState:
        try:
            async with asyncio.timeout(self._timeout):
                found = await cast(
                    Awaitable[list[Any]], self._redis.hmget(STATE, ["epoch", "appended", "position"])
                )
        except (RedisError, OSError, TimeoutError) as fault:
            raise PublishError(str(fault)) from fault
        return self._noted([int(value or 0) for value in found])

    async def publish(
        self, position: int, messages: Sequence[Message], *, expected_appended: int
    ) -> PublisherState:
        """Append the messages of one position of the event log, unless it is published already.

        `expected_appended` is the count the caller last saw; when Redis knows fewer, a new epoch begins.
        """
        assert len(messages) <= MAX_MESSAGES, "one position can't carry that many messages"
        keys = [STREAM, STATE, *(CHANNEL_PREFIX + message.channel for message in messages)]
        arguments: list[str | int | bytes] = [position, expected_appended, self._highest_epoch]
        for message in messages:
            arguments += _arguments(message)
        try:
            async with asyncio.timeout(self._timeout):
                return self._noted(await self._script(keys=keys, args=arguments))
        except (RedisError, OSError, TimeoutError) as fault:
            raise PublishError(str(fault)) from fault

    def _noted(self, reply: Sequence[int]) -> PublisherState:
        state = PublisherState(*reply)
        self._highest_epoch = max(self._highest_epoch, state.epoch)
        return state


class HostedPublisher:
    """Publishes through hosted Pusher, or anything that speaks its HTTP API.

    It keeps no state there: a position that is published again is sent again, and nothing is numbered, so clients read
    the API after a reconnect.
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
        self, position: int, messages: Sequence[Message], *, expected_appended: int
    ) -> PublisherState:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                await loop.run_in_executor(self._thread, self._send, messages)
        except Exception as fault:
            # The library raises bare requests and six exceptions of its own; all mean that it isn't known to be out.
            raise PublishError(repr(fault)) from fault
        return PublisherState(epoch=0, appended=expected_appended + len(messages), position=position)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _send(self, messages: Sequence[Message]) -> None:
        for start in range(0, len(messages), HOSTED_BATCH):
            self._client.trigger_batch(
                [_hosted(message) for message in messages[start : start + HOSTED_BATCH]]
            )


def _arguments(message: Message) -> list[str | int | bytes]:
    assert not {"_epoch", "_seq"} & message.data.keys(), "the publisher stamps these"
    version = "" if message.version is None else message.version
    return [message.channel, message.event, msgspec.json.encode(message.data), message.key or "", version]


def _hosted(message: Message) -> dict[str, str]:
    return {
        "channel": message.channel,
        "name": message.event,
        "data": msgspec.json.encode(message.data).decode(),
    }
