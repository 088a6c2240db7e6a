"""The Redis stream that carries the event log: its keys, its entries, and a conditional append.

An entry's id is `<epoch>-<position>`. `append` passes the expected last id, and appends nothing
when the stream has another. So neither a relay that lost its lease nor a Redis that lost its tail
can duplicate or skip an event.
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
# `gittix events redrive` appends dead letters here: one stream for each consumer, with its name
# appended.
REDRIVE_PREFIX = "gittix:events:again:"
FIELD = b"e"
ORIGIN = b"entry"

# KEYS[1] stream; ARGV[1] expected last id, then pairs of (id, body). Returns the last id, and
# whether it appended.
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

# KEYS[1] readers; ARGV[1] reader, ARGV[2] id. A full Redis refuses HSET, but not HDEL, nor what
# follows it in a script. Otherwise the stream could not be trimmed, and Redis would stay full.
_REPORT = """
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
"""


class EntryId(NamedTuple):
    """The id of an entry on the event stream. Ids compare in stream order."""

    epoch: int
    position: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.position}"

    @classmethod
    def parse(cls, entry_id: str | bytes) -> "EntryId":
        text = entry_id.decode() if isinstance(entry_id, bytes) else entry_id
        epoch, _, position = text.partition("-")
        return cls(int(epoch), int(position))


START = EntryId(0, 0)


class Progress(NamedTuple):
    """A reader's last delivered entry, the number of pending entries, and the oldest of these."""

    delivered: EntryId
    pending: int = 0
    oldest_pending: EntryId | None = None

    @property
    def first_needed(self) -> EntryId:
        """The first entry that must not be trimmed."""
        if self.oldest_pending is None:
            return self.delivered
        return min(self.delivered, self.oldest_pending)


def read_event(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Event | None:
    """Return the event of an entry, or None for a malformed entry.

    A redriven event keeps its original position.
    """
    try:
        return decode(original_id(entry_id, fields).decode(), fields[FIELD])
    except (KeyError, ValueError, msgspec.DecodeError):
        return None


def original_id(entry_id: bytes, fields: Mapping[bytes, bytes]) -> bytes:
    """Return an entry's id on the event stream; a redriven entry carries that id in a field."""
    return fields.get(ORIGIN, entry_id)


async def add_dead_letter(
    redis: Redis, reader: str, entry_id: bytes, fields: Mapping[bytes, bytes], reason: str
) -> None:
    """Copy an entry to the dead letters, which keep the newest DEAD_LETTERS_KEPT."""
    entry = original_id(entry_id, fields)
    dead_letter: dict[str, Any] = {
        "consumer": reader,
        "entry": entry,
        "reason": reason[:500],
        "e": fields.get(FIELD, b""),
    }
    await redis.xadd(
        DEAD_LETTERS,
        dead_letter,  # type: ignore[arg-type]
        maxlen=DEAD_LETTERS_KEPT,
        approximate=True,
    )
    log.error("event dead-lettered", consumer=reader, entry=entry.decode(), reason=reason)


class EventStream:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._append = redis.register_script(_APPEND)
        self._report = redis.register_script(_REPORT)

    async def append(
        self, expected: EntryId, entries: Sequence[tuple[EntryId, bytes]]
    ) -> tuple[EntryId, bool]:
        """Append all entries if the last id is `expected`, else none.

        Returns the last id, and whether it appended.
        """
        arguments: list[str | bytes] = [str(expected)]
        for entry_id, body in entries:
            arguments += [str(entry_id), body]
        last, appended = await self._append(keys=[STREAM], args=arguments)
        return EntryId.parse(last), bool(appended)

    async def last(self) -> EntryId:
        """Return the last id ever appended, also of trimmed entries; START without a stream."""
        last, _ = await self._append(keys=[STREAM], args=["never"])
        return EntryId.parse(last)

    async def report_progress(self, reader: str, entry_id: EntryId) -> None:
        """Record the progress of a reader without a consumer group, for `trim`."""
        await self._report(keys=[READERS], args=[reader, str(entry_id)])

    async def trim(self, keep: int) -> int:
        """Trim entries that every reader has handled, except the newest `keep`.

        Returns the number trimmed.
        """
        last = await self.last()
        # Until the notifier has recorded its progress, it would be missing from the minimum below.
        if last == START or not await self._reported_progress():
            return 0
        floor = min(reader.first_needed for reader in (await self.readers()).values())
        floor = min(floor, EntryId(last.epoch, max(0, last.position - keep)))
        return int(await self._redis.xtrim(STREAM, minid=str(floor), approximate=True))

    async def readers(self) -> dict[str, Progress]:
        """Return the progress of each consumer group and of each reader that recorded its own."""
        found = {
            name.decode(): Progress(EntryId.parse(at))
            for name, at in (await self._reported_progress()).items()
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
                EntryId.parse(group["last-delivered-id"]),
                group["pending"],
                EntryId.parse(oldest) if oldest else None,
            )
        return found

    async def _reported_progress(self) -> dict[bytes, bytes]:
        reported: dict[bytes, bytes] = await self._redis.hgetall(READERS)  # type: ignore[misc]
        return reported
