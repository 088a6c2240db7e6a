"""The Redis stream that carries the event log: its names, and the append that can't lie.

An entry's id is `<epoch>-<position>`. Append names the last id that it expects and does nothing when the stream is
elsewhere, so a relay that lost its lease, or a Redis that lost its tail, can neither double nor skip an event.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from backend.events.catalogue import Event, decode

log = structlog.get_logger()

STREAM = "gittix:events"
DEAD_LETTERS = "gittix:events:dead"
DEAD_LETTERS_KEPT = 10_000
READERS = "gittix:events:readers"
# What a person sent back from the dead letters to the one consumer that buried it: a stream for each, after its name.
AGAIN = "gittix:events:again:"
FIELD = b"e"
ORIGIN = b"entry"

# KEYS[1] stream; ARGV[1] expected last id, then pairs of (id, body). Returns the last id, and whether it appended.
_APPEND = """
local last = '0-0'
if redis.call('EXISTS', KEYS[1]) == 1 then
    local info = redis.call('XINFO', 'STREAM', KEYS[1])
    for i = 1, #info, 2 do
        if info[i] == 'last-generated-id' then last = info[i + 1] end
    end
end
if last ~= ARGV[1] then return {last, 0} end
for i = 2, #ARGV, 2 do
    last = redis.call('XADD', KEYS[1], ARGV[i], 'e', ARGV[i + 1])
end
return {last, 1}
"""


class Position(NamedTuple):
    """An entry id. Orders as the stream does."""

    epoch: int
    position: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.position}"

    @classmethod
    def parse(cls, entry_id: str | bytes) -> "Position":
        text = entry_id.decode() if isinstance(entry_id, bytes) else entry_id
        epoch, _, position = text.partition("-")
        return cls(int(epoch), int(position))


START = Position(0, 0)


class Progress(NamedTuple):
    """How far a reader is: the last entry that it was given, how many it has not acknowledged, and the oldest of these."""

    given: Position
    pending: int = 0
    oldest: Position | None = None

    @property
    def needed(self) -> Position:
        """Nothing from here on may be trimmed."""
        return self.given if self.oldest is None else min(self.given, self.oldest)


def read(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Event | None:
    """The event of an entry; None for an entry that is none. One that was sent back keeps the place it had."""
    try:
        return decode(origin(entry_id, fields).decode(), fields[FIELD])
    except (KeyError, ValueError, msgspec.DecodeError):
        return None


def origin(entry_id: bytes, fields: Mapping[bytes, bytes]) -> bytes:
    """The id under which an entry was on the event stream."""
    return fields.get(ORIGIN, entry_id)


async def bury(
    redis: Redis, reader: str, entry_id: bytes, fields: Mapping[bytes, bytes], reason: str
) -> None:
    """Copy an entry that a reader can't handle to the dead letters, of which the newest are kept."""
    entry = origin(entry_id, fields)
    letter: dict[str, Any] = {
        "consumer": reader,
        "entry": entry,
        "reason": reason[:500],
        "e": fields.get(FIELD, b""),
    }
    await redis.xadd(DEAD_LETTERS, letter, maxlen=DEAD_LETTERS_KEPT, approximate=True)  # type: ignore[arg-type]
    log.error("event buried", consumer=reader, entry=entry.decode(), reason=reason)


class EventStream:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._append = redis.register_script(_APPEND)

    async def append(
        self, expected: Position, entries: Sequence[tuple[Position, bytes]]
    ) -> tuple[Position, bool]:
        """Append after `expected`, all or nothing. Returns the stream's last id, and whether it appended."""
        arguments: list[str | bytes] = [str(expected)]
        for position, body in entries:
            arguments += [str(position), body]
        last, appended = await self._append(keys=[STREAM], args=arguments)
        return Position.parse(last), bool(appended)

    async def last(self) -> Position:
        """The last id that was ever appended, whatever was trimmed since; START when there is no stream."""
        last, _ = await self._append(keys=[STREAM], args=["never"])
        return Position.parse(last)

    async def report(self, reader: str, position: Position) -> None:
        """A reader outside any group says how far it is, so that nothing is trimmed before it."""
        await self._redis.hset(READERS, reader, str(position))  # type: ignore[misc]

    async def trim(self, keep: int) -> int:
        """Drop entries below every reader's progress, but not the last `keep`. Returns how many."""
        last = await self.last()
        # Until one has said how far it is, there may be readers that nobody knows of.
        if last == START or not await self._reported():
            return 0
        floor = min(reader.needed for reader in (await self.readers()).values())
        floor = min(floor, Position(last.epoch, max(0, last.position - keep)))
        return int(await self._redis.xtrim(STREAM, minid=str(floor), approximate=True))

    async def readers(self) -> dict[str, Progress]:
        """How far each is: consumer groups, and readers outside any that have said so."""
        found = {
            name.decode(): Progress(Position.parse(at))
            for name, at in (await self._reported()).items()
        }
        try:
            groups = await self._redis.xinfo_groups(STREAM)
        except ResponseError:
            groups = []
        for group in groups:
            oldest = None
            if group["pending"]:
                oldest = (await self._redis.xpending(STREAM, group["name"]))["min"]
            found[group["name"].decode()] = Progress(
                Position.parse(group["last-delivered-id"]),
                group["pending"],
                Position.parse(oldest) if oldest else None,
            )
        return found

    async def _reported(self) -> dict[bytes, bytes]:
        reported: dict[bytes, bytes] = await self._redis.hgetall(READERS)  # type: ignore[misc]
        return reported
