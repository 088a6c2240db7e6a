"""The broadcaster backend of a gateway process: it appends messages to the push log and reads the log in batches.

Broadcaster's own Redis backends stop delivering after a Redis restart (see decision 23). This reader keeps its last
id, so an outage delays entries and loses none that the log still holds; entries that were trimmed unread are reported
as `Batch.gap`. At most `MAX_BATCHES` batches wait for the subscriber, which calls `Batch.done` after each.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, cast

import structlog
from broadcaster import BroadcastBackend, Event
from redis.exceptions import RedisError, ResponseError

from backend.kernel.supervisor import heartbeat
from backend.push import push_log as pushlog
from backend.push.metrics import MALFORMED
from backend.push.push_log import STATE, STREAM, Entry, Message

TASK: Final = "push log_reader"
CHANNEL: Final = "push-log"
# An entry may be hundreds of messages: what a gateway that was away reads at once should keep its loop for milliseconds.
BATCH: Final = 16
BLOCK_MS: Final = 1_000
READ_TIMEOUT_SECONDS: Final = 3.0
MAX_BATCHES: Final = 4
STALE_SECONDS: Final = 5.0

log = structlog.get_logger()


class PushLogUnavailable(OSError):
    """Redis does not answer; whether an append happened is unknown."""


class Batch(Event):
    """The entries of one read, as an event of broadcaster; its `message` is the id of the last entry.

    Broadcaster passes events to its subscribers by reference, so the decoded entries reach them unchanged.
    """

    def __init__(
        self, last_id: str, entries: Sequence[Entry], *, gap: bool, done: Callable[[], None]
    ) -> None:
        super().__init__(CHANNEL, last_id)
        self.entries = entries
        # Whether entries before these were trimmed unread.
        self.gap = gap
        self.done = done


@dataclass
class Position:
    """How far the log was read: the last id, the last message's number, and which log it was."""

    id: str
    number: int
    born: bytes | None


class PushLogReader(BroadcastBackend):
    def __init__(self, url: str, *, timeout_seconds: float = 2.0) -> None:
        self._timeout = timeout_seconds
        self._reader = pushlog.connect(url, timeout_seconds=READ_TIMEOUT_SECONDS)
        self._writer = pushlog.connect(url, timeout_seconds=timeout_seconds)
        self._append = self._writer.register_script(pushlog.APPEND)
        self._batches: asyncio.Queue[Batch] = asyncio.Queue()
        self._room = asyncio.BoundedSemaphore(MAX_BATCHES)
        self._position: Position | None = None
        self._read_at = float("-inf")

    @property
    def positioned(self) -> bool:
        """Whether there is a position to read on from: before, a client could miss what is published now."""
        return self._position is not None

    @property
    def alive(self) -> bool:
        """Whether the log was read lately. A reader that waits for a slow consumer is not alive either."""
        return asyncio.get_running_loop().time() - self._read_at < STALE_SECONDS

    async def reachable(self) -> bool:
        with suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(self._timeout):
                return bool(await cast(Awaitable[bool], self._writer.ping()))
        return False

    async def append(self, *messages: Message) -> None:
        """Append messages at once or not at all. Raises PushLogUnavailable."""
        try:
            async with asyncio.timeout(self._timeout):
                await self._append(
                    keys=[STREAM, STATE], args=[len(messages), pushlog.pack(messages)]
                )
        except (RedisError, OSError, TimeoutError) as fault:
            raise PushLogUnavailable(str(fault)) from fault

    # The interface of a broadcaster backend.

    async def connect(self) -> None:
        # One try before the first client; if Redis is away the reader finds its position when it is back.
        with suppress(RedisError, OSError, TimeoutError):
            self._position = await self._find_position()

    async def disconnect(self) -> None:
        await self._reader.aclose()
        await self._writer.aclose()

    async def subscribe(self, group: str) -> None:
        assert group == CHANNEL, "the channel registry routes messages to Pusher channels"

    async def unsubscribe(self, group: str) -> None:
        """Nothing to undo: the reader runs as long as the process."""

    async def publish(self, channel: str, message: Sequence[Message]) -> None:
        """Append the messages at once or not at all. Raises PushLogUnavailable."""
        assert channel == CHANNEL
        await self.append(*message)

    async def next_published(self) -> Batch:
        return await self._batches.get()

    # The reader.

    async def read(self) -> None:
        """Read the log for ever. Raises PushLogUnavailable; called again, it goes on where it was."""
        try:
            while True:
                await self._read_once()
        except (RedisError, OSError, TimeoutError) as fault:
            raise PushLogUnavailable(repr(fault)) from fault

    async def _read_once(self) -> None:
        if self._position is None:
            self._position = await self._find_position()
        async with asyncio.timeout(READ_TIMEOUT_SECONDS):
            reply = await self._reader.xread(
                {STREAM: self._position.id}, count=BATCH, block=BLOCK_MS
            )
        self._read_at = asyncio.get_running_loop().time()
        heartbeat(TASK)
        if reply:
            await self._hand_on(self._position, reply[0][1])
        else:
            await self._follow_rewind(self._position)

    async def _hand_on(
        self, position: Position, raw: Sequence[tuple[bytes, dict[bytes, bytes]]]
    ) -> None:
        entries = [
            entry for entry_id, fields in raw if (entry := _entry(entry_id, fields)) is not None
        ]
        gap = False
        for entry in entries:
            # A smaller number is a log that lost its tail or began anew, not one that was trimmed.
            gap = gap or entry.number - len(entry.messages) > position.number
            position.number = entry.number
        await self._room.acquire()
        position.id = raw[-1][0].decode()
        self._batches.put_nowait(Batch(position.id, entries, gap=gap, done=self._room.release))

    async def _follow_rewind(self, position: Position) -> None:
        """Nothing came: see whether the log now ends before our last id, where XREAD would wait for ever.

        After FLUSHALL the log is another one and is read from its start; a log that lost its tail holds only what was
        read already.
        """
        found = await self._find_position()
        if pushlog.is_before(found.id, position.id):
            log.warning(
                "push log rewound",
                ours=position.id,
                now=found.id,
                same_log=found.born == position.born,
            )
            position.id = found.id if found.born == position.born else "0-0"
            position.number = found.number if found.born == position.born else 0
        position.born = found.born

    async def _find_position(self) -> Position:
        """Where the log ends now."""
        async with (
            asyncio.timeout(self._timeout),
            self._reader.pipeline(transaction=True) as pipeline,
        ):
            # A log without a birth has lost everything: the first to look names the new one.
            pipeline.hsetnx(STATE, "born", str(time.time_ns()))
            pipeline.xinfo_stream(STREAM)
            pipeline.hmget(STATE, ["n", "born"])
            _, info, (number, born) = await pipeline.execute(raise_on_error=False)
        if isinstance(info, ResponseError):
            # XINFO knows no empty answer: a missing stream is an error.
            return Position("0-0", int(number or 0), born)
        return Position(info["last-generated-id"].decode(), int(number or 0), born)


def _entry(id: bytes, fields: dict[bytes, bytes]) -> Entry | None:
    try:
        return pushlog.read_entry(id, fields)
    except ValueError:
        # Nothing to retry: the same bytes would come again.
        MALFORMED.inc()
        log.exception("push log entry unreadable", entry=id.decode())
        return None
