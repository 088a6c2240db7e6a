"""The push log as it stands: the newest message of each key and channel, and since when it is complete."""

from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from redis.asyncio import Redis

from backend.push.log import STATE, STREAM, Entry, read_entry

PAGE = 1_000
# The log may have more in a flood; its newest messages are looked at.
MOST = 20_000


class PushLog(NamedTuple):
    """`entries` are the newest first; what was told from `since` on is among them."""

    entries: list[Entry]
    since: datetime


class Message(NamedTuple):
    """A message as one channel is told it, decoded."""

    channel: str
    event: str
    body: dict[str, Any]


async def read(redis: Redis) -> PushLog:
    state: dict[bytes, bytes] = await redis.hgetall(STATE)  # type: ignore[misc]
    entries: list[Entry] = []
    end = "+"
    while len(entries) < MOST:
        page = await redis.xrevrange(STREAM, max=end, count=PAGE)
        entries += [read_entry(entry_id, fields) for entry_id, fields in page]
        if len(page) < PAGE:
            break
        end = f"({page[-1][0].decode()}"
    return PushLog(entries, _complete_since(entries, state))


def messages(log: PushLog) -> list[Message]:
    """The messages that the notifier published, newest first."""
    return [
        Message(channel, entry.event, msgspec.json.decode(entry.data))
        for entry in log.entries
        if entry.stamp
        for channel in entry.channels
    ]


def _complete_since(entries: list[Entry], state: dict[bytes, bytes]) -> datetime:
    """The log's oldest entry; or later, its birth (in nanoseconds) or its epoch (in milliseconds), after Redis lost some."""
    if not entries:
        return datetime.now(UTC)
    born = int(state.get(b"born", 0)) / 1e9
    epoch = int(state.get(b"epoch", 0)) / 1e3
    return datetime.fromtimestamp(max(entries[-1].appended_ms / 1e3, born, epoch), UTC)
