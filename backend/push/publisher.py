"""Publishes the notifier's messages in the order of the event log, each position once.

One Lua script appends the messages of many positions as one entry, numbers them within their
channels and records the last position, so no crash can separate these steps. Positions at or below
the recorded one append nothing: a caller that fell behind it (after a database restore) must
publish under new, higher positions.

A redriven event has no position left, since later positions are published. `publish_once` appends
its messages once, under a mark that is set in the same step. When Redis lost its tail, the mark may
be lost as well; then `publish_once` appends nothing and returns None.
"""

import asyncio
from collections.abc import Awaitable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol, cast

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from backend.push.push_log import (
    BEGIN_EPOCH_AFTER_LOSS,
    ONCE,
    PUBLISH,
    PUBLISH_ONCE,
    STATE,
    STREAM,
    Message,
    pack,
)

# Redis runs one script at a time, some 25 µs for each message. A position has a handful of
# messages; a call has at most CALL_MESSAGES, or the messages of one position.
MAX_MESSAGES: Final = 1_000
CALL_MESSAGES: Final = 200


class PositionedMessages(NamedTuple):
    """The messages of one push position."""

    position: int
    messages: Sequence[Message]


class Refusal(NamedTuple):
    """A message that can never be published, of one position."""

    position: int
    channel: str
    event: str
    reason: str


class PublisherState(msgspec.Struct, frozen=True):
    """The epoch of new messages, the number ever appended, and the last published position.
    `refused` are those of this call.
    """

    epoch: int
    appended: int
    position: int
    refused: tuple[Refusal, ...] = ()


class PublishError(Exception):
    """The messages may or may not be published. Publishing the same position again is safe."""


class MessagePublisher(Protocol):
    async def state(self) -> PublisherState: ...

    async def publish(
        self, batch: Sequence[PositionedMessages], *, expected_appended: int
    ) -> PublisherState:
        """Publish the messages of these ascending positions, or of those up to the state's
        `position`, which then is one of them.
        """
        ...

    async def publish_once(
        self, mark: str, messages: Sequence[Message], *, expected_appended: int
    ) -> PublisherState | None: ...

    async def detect_loss(self, *, expected_appended: int) -> PublisherState: ...


class Publisher:
    """Publishes through our own gateways, by the push log."""

    def __init__(self, redis: Redis, *, timeout_seconds: float = 2.0) -> None:
        self._redis = redis
        self._timeout = timeout_seconds
        self._publish = redis.register_script(PUBLISH)
        self._publish_once = redis.register_script(PUBLISH_ONCE)
        self._begin_epoch_after_loss = redis.register_script(BEGIN_EPOCH_AFTER_LOSS)
        # After Redis lost all data, the new epoch must still be above every epoch that this process
        # saw.
        self._highest_epoch = 0

    async def state(self) -> PublisherState:
        try:
            async with asyncio.timeout(self._timeout):
                found = await cast(
                    Awaitable[list[Any]],
                    self._redis.hmget(STATE, ["epoch", "appended", "position"]),
                )
        except (RedisError, OSError, TimeoutError) as error:
            raise PublishError(str(error)) from error
        return self._remember_epoch([int(value or 0) for value in found])

    async def publish(
        self, batch: Sequence[PositionedMessages], *, expected_appended: int
    ) -> PublisherState:
        """Append the messages of these ascending positions, except already published ones.

        `expected_appended` is the count that the caller last saw. When Redis has fewer, a new epoch
        begins.
        """
        state = PublisherState(self._highest_epoch, expected_appended, 0)
        for call in _split_into_calls(batch):
            remaining = call
            while remaining:
                messages = [message for item in remaining for message in item.messages]
                arguments = self._arguments(
                    max(expected_appended, state.appended),
                    messages,
                    remaining[0].position,
                    remaining[-1].position,
                )
                state = self._remember_epoch(
                    await self._call(self._publish, [STREAM, STATE], arguments)
                )
                # The script appends nothing when its first position is published already, by an
                # earlier call that seemed to fail. Repeat it without the published positions.
                remaining = [item for item in remaining if item.position > state.position]
        return state

    async def publish_once(
        self, mark: str, messages: Sequence[Message], *, expected_appended: int
    ) -> PublisherState | None:
        """Append messages without a position, unless this mark was published before.

        Returns None and appends nothing when Redis lost its tail, since the mark may have been lost
        with it.
        """
        assert len(messages) <= MAX_MESSAGES, "one mark can't have that many messages"
        keys = [STREAM, STATE, ONCE]
        arguments = self._arguments(expected_appended, messages, mark)
        *state, known = await self._call(self._publish_once, keys, arguments)
        return self._remember_epoch(state) if known else None

    async def detect_loss(self, *, expected_appended: int) -> PublisherState:
        """Begin a new epoch when Redis lost its tail, and announce it to the gateways.

        Clients may have resumed from the rest of their logs, as if nothing was missing.
        """
        reply = await self._call(
            self._begin_epoch_after_loss,
            [STREAM, STATE],
            [expected_appended, self._highest_epoch],
        )
        return self._remember_epoch(reply)

    def _arguments(
        self, expected_appended: int, messages: Sequence[Message], *own: int | str
    ) -> list[int | bytes | str]:
        """Return a script's arguments, with its own ones before the messages."""
        described = [
            (message.channels, message.key or "", message.version or 0) for message in messages
        ]
        packed = [pack(message) for message in messages]
        return [expected_appended, self._highest_epoch, pack(described), *own, *packed]

    async def _call(
        self, script: Any, keys: Sequence[str], arguments: Sequence[int | bytes | str]
    ) -> list[int]:
        try:
            async with asyncio.timeout(self._timeout):
                reply: list[int] = await script(keys=keys, args=arguments)
        except (RedisError, OSError, TimeoutError) as error:
            raise PublishError(str(error)) from error
        return reply

    def _remember_epoch(self, reply: Sequence[int]) -> PublisherState:
        epoch, appended, position = reply
        state = PublisherState(epoch, appended, position)
        self._highest_epoch = max(self._highest_epoch, state.epoch)
        return state


def _split_into_calls(batch: Sequence[PositionedMessages]) -> Iterator[list[PositionedMessages]]:
    """Split a batch into calls of at most CALL_MESSAGES messages, in order.

    A position is never split.
    """
    call: list[PositionedMessages] = []
    messages = 0
    for item in batch:
        assert len(item.messages) <= MAX_MESSAGES, "one position can't have that many messages"
        if call and (messages + len(item.messages) > CALL_MESSAGES or len(call) >= CALL_MESSAGES):
            yield call
            call, messages = [], 0
        call.append(item)
        messages += len(item.messages)
    if call:
        yield call
