"""The broadcaster backend of a gateway process: it appends messages to the push log and reads the
log in batches.

Broadcaster's own Redis backends stop delivering after a Redis restart (see decision 23). This
backend keeps the id of the last entry it read, so an outage delays entries and loses none that the
log still has; entries that were trimmed before they were read are reported as `Batch.gap`. At most
`MAX_BATCHES` batches wait for the subscriber, which calls `Batch.done` after each.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, cast

import structlog
from broadcaster import BroadcastBackend, Event
from redis.exceptions import RedisError

from backend.kernel.supervisor import heartbeat
from backend.push import push_log as pushlog
from backend.push.group_commit import GroupCommit
from backend.push.log_connection import LogConnection, Script
from backend.push.metrics import MALFORMED
from backend.push.protocol import CLIENT_EVENT_PREFIX, is_cache_channel
from backend.push.push_log import STATE, STREAM, Entry, Message

TASK: Final = "push-log-reader"
CHANNEL: Final = "push-log"
# An entry may have hundreds of messages. After an outage, handling one read must occupy the
# event loop for only a few milliseconds.
BATCH: Final = 16
BLOCK_MS: Final = 1_000
READ_TIMEOUT_SECONDS: Final = 3.0
MAX_BATCHES: Final = 4
STALE_SECONDS: Final = 5.0
HEARTBEAT_SECONDS: Final = 1.0

log = structlog.get_logger()


class PushLogUnavailable(OSError):
    """Redis does not answer. An append may or may not have happened."""


class Batch(Event):
    """The entries of one read, as broadcaster's event; `message` is the id of the last entry.

    Broadcaster passes events to its subscribers by reference, so the decoded entries reach them
    unchanged.
    """

    def __init__(
        self, last_id: str, entries: Sequence[Entry], *, gap: bool, done: Callable[[], None]
    ) -> None:
        super().__init__(CHANNEL, last_id)
        self.entries = entries
        # Whether entries before these were trimmed before they were read.
        self.gap = gap
        self.done = done


@dataclass
class ReadPosition:
    """The last entry's id, the last message's number, and the log's creation time (`born`)."""

    id: str
    number: int
    born: bytes


class PushLogBackend(BroadcastBackend):
    def __init__(
        self, url: str, *, timeout_seconds: float = 2.0, cache_seconds: float = 1_800
    ) -> None:
        """`cache_seconds` is the lifetime of the events of cache channels."""
        self._timeout = timeout_seconds
        self._cache_seconds = cache_seconds
        # For short calls; the reader's connection waits for entries.
        self.writer = pushlog.connect(url, timeout_seconds=timeout_seconds)
        self._reader = LogConnection(self.writer, timeout_seconds=READ_TIMEOUT_SECONDS)
        self._appender = LogConnection(self.writer, timeout_seconds=timeout_seconds)
        self._append = Script(self._appender, pushlog.APPEND)
        self._appends = GroupCommit(self._append_together)
        self._end = self.writer.register_script(pushlog.END)
        self._batches: asyncio.Queue[Batch] = asyncio.Queue()
        self._room = asyncio.BoundedSemaphore(MAX_BATCHES)
        self._position: ReadPosition | None = None
        self._read_at = self._heartbeat_at = float("-inf")

    @property
    def has_position(self) -> bool:
        """Whether reading can start.

        Before that, a client could miss messages that are published now.
        """
        return self._position is not None

    @property
    def number(self) -> int:
        """The number of the last message that was read."""
        return self._position.number if self._position is not None else 0

    @property
    def is_current(self) -> bool:
        """Whether the log was read in the last seconds.

        It is not while the reader waits for a slow subscriber.
        """
        return asyncio.get_running_loop().time() - self._read_at < STALE_SECONDS

    async def reachable(self) -> bool:
        with suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(self._timeout):
                return bool(await cast(Awaitable[bool], self.writer.ping()))
        return False

    async def append(self, *messages: Message) -> None:
        """Append all messages or none. Raises PushLogUnavailable."""
        await self._appends.add(messages)

    async def _append_together(self, messages: Sequence[Message]) -> None:
        try:
            arguments = [
                len(messages),
                pushlog.pack(messages),
                *stored_events(messages, self._cache_seconds),
            ]
            await self._append([STREAM, STATE], arguments)
        except (RedisError, OSError, TimeoutError) as error:
            raise PushLogUnavailable(str(error)) from error

    # The interface of a broadcaster backend.

    async def connect(self) -> None:
        # One try before the first client connects. When Redis is unreachable, `read` finds the
        # position later.
        with suppress(RedisError, OSError, TimeoutError):
            self._position = await self._find_position()

    async def disconnect(self) -> None:
        await self._reader.close()
        await self._appender.close()
        await self.writer.aclose()

    async def subscribe(self, group: str) -> None:
        assert group == CHANNEL, "the channel registry routes messages to Pusher channels"

    async def unsubscribe(self, group: str) -> None:
        """Do nothing: the reader runs as long as the process."""

    async def publish(self, channel: str, message: Sequence[Message]) -> None:
        """Append all messages or none. Raises PushLogUnavailable."""
        assert channel == CHANNEL
        await self.append(*message)

    async def next_published(self) -> Batch:
        # Not a message: one pass of a batch through broadcaster's queue serves hundreds of them.
        return await self._batches.get()

    # The reader.

    async def read(self) -> None:
        """Read the log forever.

        Raises PushLogUnavailable; the next call continues at the same position.
        """
        try:
            while True:
                await self._read_once()
        except (RedisError, OSError, TimeoutError) as error:
            raise PushLogUnavailable(repr(error)) from error

    async def _read_once(self) -> None:
        if self._position is None:
            self._position = await self._find_position()
        reply = await self._reader.call(
            "XREAD", "COUNT", BATCH, "BLOCK", BLOCK_MS, "STREAMS", STREAM, self._position.id
        )
        now = asyncio.get_running_loop().time()
        if now - self._heartbeat_at >= HEARTBEAT_SECONDS:
            self._heartbeat_at = now
            heartbeat(TASK)
        self._read_at = now
        if reply:
            ((_, entries),) = reply
            await self._queue_batch(self._position, entries)
        else:
            await self._check_for_rewind(self._position)

    async def _queue_batch(
        self, position: ReadPosition, raw: Sequence[tuple[bytes, Sequence[bytes]]]
    ) -> None:
        entries = [
            entry for entry_id, fields in raw if (entry := _entry(entry_id, fields)) is not None
        ]
        gap = False
        for entry in entries:
            # A smaller number means that the log lost its tail or began anew, not that it was
            # trimmed.
            gap = gap or entry.number - len(entry.messages) > position.number
            position.number = entry.number
        await self._room.acquire()
        position.id = raw[-1][0].decode()
        self._batches.put_nowait(Batch(position.id, entries, gap=gap, done=self._room.release))

    async def _check_for_rewind(self, position: ReadPosition) -> None:
        """Reset the position when the log now ends before it; otherwise XREAD would wait forever.

        After FLUSHALL the log is a new one and is read from its start. A log that lost its tail has
        only entries that were read already.
        """
        found = await self._find_position()
        if pushlog.is_before(found.id, position.id):
            log.warning(
                "push log rewound",
                expected=position.id,
                found=found.id,
                same_log=found.born == position.born,
            )
            position.id = found.id if found.born == position.born else "0-0"
            position.number = found.number if found.born == position.born else 0
        position.born = found.born

    async def _find_position(self) -> ReadPosition:
        """Return the end of the log."""
        async with asyncio.timeout(self._timeout):
            last, number, born = await self._end(keys=[STREAM, STATE])
        return ReadPosition(last.decode(), int(number), born)


def stored_events(messages: Sequence[Message], seconds: float) -> list[int | str | bytes]:
    """Return the arguments of an append's `store` for the events of cache channels."""
    stored = [
        argument
        for index, message in enumerate(messages, 1)
        if not message.event.startswith(CLIENT_EVENT_PREFIX)
        for channel in message.channels
        if is_cache_channel(channel)
        for argument in (index, channel, pushlog.pack((message.event, message.data)))
    ]
    return [int(seconds * 1_000), *stored] if stored else []


def _entry(id: bytes, fields: Sequence[bytes]) -> Entry | None:
    """The entry of an id and its fields, names and values in turn."""
    try:
        return pushlog.read_entry(id, dict(zip(fields[::2], fields[1::2], strict=True)))
    except ValueError:
        # Skip it: a retry would read the same bytes.
        MALFORMED.inc()
        log.exception("push log entry malformed", entry=id.decode())
        return None
