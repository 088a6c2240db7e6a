"""The event stream as it stands: its newest entries, and how far its readers say they are."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from backend.check.finding import EVENTS
from backend.events.stream import (
    DEAD_LETTERS,
    DEAD_LETTERS_KEPT,
    FIELD,
    STREAM,
    EventStream,
    Position,
)

# A stream for each reader that letters were sent back to.
SENT_BACK = "gittix:events:again:"
PAGE = 1_000
MOST_PENDING = 100_000


class Told(msgspec.Struct, frozen=True):
    """As much of an envelope as is compared."""

    id: UUID
    type: str
    occurred_at: datetime


class Group(NamedTuple):
    """A consumer group: all up to `delivered` was delivered, and all of that but `pending` acknowledged."""

    delivered: Position
    pending: frozenset[Position]


class EventLog(NamedTuple):
    """`entries` are in order and without a gap in reading; None stands for an entry that is no event."""

    last: Position
    entries: dict[Position, Told | None]
    groups: dict[str, Group]
    buried: frozenset[tuple[str, Position]]


_decode = msgspec.json.Decoder(Told).decode


async def read(redis: Redis) -> EventLog:
    """The stream first, then its readers, then the dead letters: an entry that left one place is in the next."""
    last = await EventStream(redis).last()
    entries = await _entries(redis)
    groups = await _groups(redis)
    return EventLog(max([last, *entries]), entries, groups, await _buried(redis))


async def _entries(redis: Redis) -> dict[Position, Told | None]:
    newest_first: dict[Position, Told | None] = {}
    end = "+"
    while len(newest_first) < EVENTS:
        page = await redis.xrevrange(STREAM, max=end, count=PAGE)
        for entry_id, fields in page:
            newest_first[Position.parse(entry_id)] = _told(fields)
        if len(page) < PAGE:
            break
        end = f"({page[-1][0].decode()}"
    return dict(reversed(newest_first.items()))


def _told(fields: dict[bytes, bytes]) -> Told | None:
    try:
        return _decode(fields[FIELD])
    except (KeyError, msgspec.DecodeError):
        return None


async def _groups(redis: Redis) -> dict[str, Group]:
    try:
        found = await redis.xinfo_groups(STREAM)
    except ResponseError:
        # There is no stream.
        return {}
    return {
        group["name"].decode(): Group(
            Position.parse(group["last-delivered-id"]), await _pending(redis, group["name"])
        )
        for group in found
    }


async def _pending(redis: Redis, group: bytes) -> frozenset[Position]:
    pending: set[Position] = set()
    start = "-"
    while True:
        page: list[Any] = await redis.xpending_range(STREAM, group, min=start, max="+", count=PAGE)
        pending.update(Position.parse(entry["message_id"]) for entry in page)
        if len(page) < PAGE or len(pending) >= MOST_PENDING:
            return frozenset(pending)
        start = f"({page[-1]['message_id'].decode()}"


async def _buried(redis: Redis) -> frozenset[tuple[str, Position]]:
    """What readers gave up. Letters first and last: one may be sent back, and buried again, while this reads."""
    return await _letters(redis) | await _sent_back(redis) | await _letters(redis)


async def _letters(redis: Redis) -> frozenset[tuple[str, Position]]:
    letters = await redis.xrevrange(DEAD_LETTERS, count=2 * DEAD_LETTERS_KEPT)
    return frozenset(
        (fields[b"consumer"].decode(), Position.parse(fields[b"entry"]))
        for _, fields in letters
        if fields.keys() >= {b"consumer", b"entry"}
    )


async def _sent_back(redis: Redis) -> frozenset[tuple[str, Position]]:
    """Letters on their way to the reader that buried them."""
    found = set()
    async for name in redis.scan_iter(match=f"{SENT_BACK}*", count=PAGE):
        reader = name.decode().removeprefix(SENT_BACK)
        for _, fields in await redis.xrevrange(name, count=2 * DEAD_LETTERS_KEPT):
            if b"entry" in fields:
                found.add((reader, Position.parse(fields[b"entry"])))
    return frozenset(found)
