"""Reads the event stream: its newest entries, the progress of its consumer groups, and the dead
letters.
"""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from backend.check.result import MAX_EVENTS
from backend.events.stream import (
    DEAD_LETTERS,
    DEAD_LETTERS_KEPT,
    FIELD,
    REDRIVE_PREFIX,
    STREAM,
    EntryId,
    EventStream,
)

PAGE = 1_000
MAX_PENDING = 100_000


class EventSummary(msgspec.Struct, frozen=True):
    """The fields of an envelope that are compared."""

    id: UUID
    type: str
    occurred_at: datetime


class Group(NamedTuple):
    """A consumer group: all entries up to `delivered` but `pending` were acknowledged."""

    delivered: EntryId
    pending: frozenset[EntryId]


class EventLog(NamedTuple):
    """The newest entries in stream order, without gaps; None for a malformed entry.

    `dead_lettered` has the consumer and the entry id of each dead letter.
    """

    last: EntryId
    entries: dict[EntryId, EventSummary | None]
    groups: dict[str, Group]
    dead_lettered: frozenset[tuple[str, EntryId]]


_decode = msgspec.json.Decoder(EventSummary).decode


async def read(redis: Redis) -> EventLog:
    """Read the stream, then the consumer groups, then the dead letters.

    An entry moves in this order, so one that moves during the read is found at least once.
    """
    last = await EventStream(redis).last()
    entries = await _entries(redis)
    groups = await _groups(redis)
    return EventLog(max([last, *entries]), entries, groups, await _dead_lettered(redis))


async def _entries(redis: Redis) -> dict[EntryId, EventSummary | None]:
    newest_first: dict[EntryId, EventSummary | None] = {}
    end = "+"
    while len(newest_first) < MAX_EVENTS:
        page = await redis.xrevrange(STREAM, max=end, count=PAGE)
        for entry_id, fields in page:
            newest_first[EntryId.parse(entry_id)] = _summary(fields)
        if len(page) < PAGE:
            break
        end = f"({page[-1][0].decode()}"
    return dict(reversed(newest_first.items()))


def _summary(fields: dict[bytes, bytes]) -> EventSummary | None:
    try:
        return _decode(fields[FIELD])
    except (KeyError, msgspec.DecodeError):
        return None


async def _groups(redis: Redis) -> dict[str, Group]:
    try:
        found = await redis.xinfo_groups(STREAM)
    except ResponseError:
        # The stream does not exist.
        return {}
    return {
        group["name"].decode(): Group(
            EntryId.parse(group["last-delivered-id"]), await _pending(redis, group["name"])
        )
        for group in found
    }


async def _pending(redis: Redis, group: bytes) -> frozenset[EntryId]:
    pending: set[EntryId] = set()
    start = "-"
    while True:
        page: list[Any] = await redis.xpending_range(STREAM, group, min=start, max="+", count=PAGE)
        pending.update(EntryId.parse(entry["message_id"]) for entry in page)
        if len(page) < PAGE or len(pending) >= MAX_PENDING:
            return frozenset(pending)
        start = f"({page[-1]['message_id'].decode()}"


async def _dead_lettered(redis: Redis) -> frozenset[tuple[str, EntryId]]:
    """Return the dead letters and the redriven entries.

    The dead letters are read before and after the redriven entries: one may be redriven and fail
    again during the read.
    """
    return await _dead_letters(redis) | await _redriven(redis) | await _dead_letters(redis)


async def _dead_letters(redis: Redis) -> frozenset[tuple[str, EntryId]]:
    dead_letters = await redis.xrevrange(DEAD_LETTERS, count=2 * DEAD_LETTERS_KEPT)
    return frozenset(
        (fields[b"consumer"].decode(), EntryId.parse(fields[b"entry"]))
        for _, fields in dead_letters
        if fields.keys() >= {b"consumer", b"entry"}
    )


async def _redriven(redis: Redis) -> frozenset[tuple[str, EntryId]]:
    """Return the entries of the redrive streams that are not handled yet."""
    found = set()
    async for name in redis.scan_iter(match=f"{REDRIVE_PREFIX}*", count=PAGE):
        reader = name.decode().removeprefix(REDRIVE_PREFIX)
        for _, fields in await redis.xrevrange(name, count=2 * DEAD_LETTERS_KEPT):
            if b"entry" in fields:
                found.add((reader, EntryId.parse(fields[b"entry"])))
    return frozenset(found)
