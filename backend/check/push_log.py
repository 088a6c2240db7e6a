"""The push log as it stands: the newest message of each key and channel, and since when it is complete."""

from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from redis.asyncio import Redis

from backend.push.push_log import STATE, STREAM, Entry, read_entry

PAGE = 100
# The log may have more in a flood; its newest messages are looked at.
MOST = 20_000


class PushLog(NamedTuple):
    """`entries` are the newest first; what was told from `since` on is in them."""

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
    found = 0
    end = "+"
    while found < MOST:
        page = [read_entry(*one) for one in await redis.xrevrange(STREAM, max=end, count=PAGE)]
        entries += page
        found += sum(len(entry.messages) for entry in page)
        if len(page) < PAGE:
            break
        end = f"({page[-1].id}"
    return PushLog(entries, _complete_since(entries, state))


def messages(log: PushLog) -> list[Message]:
    """The messages that the notifier published, newest first."""
    return [
        Message(channel, message.event, msgspec.json.decode(message.data))
        for entry in log.entries
        for channel, message, seq in reversed(list(entry.told()))
        if seq is not None
    ]


def _complete_since(entries: list[Entry], state: dict[bytes, bytes]) -> datetime:
    """The log's oldest entry; or later, its birth (in nanoseconds) or its epoch (in milliseconds), after Redis lost some."""
    if not entries:
        return datetime.now(UTC)
    born = int(state.get(b"born", 0)) / 1e9
    epoch = int(state.get(b"epoch", 0)) / 1e3
    return datetime.fromtimestamp(max(entries[-1].appended_ms / 1e3, born, epoch), UTC)
