"""Reads the push log: its newest messages, and the time from which it is complete."""

from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from redis.asyncio import Redis

from backend.push.push_log import STATE, STREAM, Entry, read_entry

PAGE = 100
# Under load the log may have more messages; only the newest are examined.
MAX_MESSAGES = 20_000


class PushLog(NamedTuple):
    """The entries, newest first. Every message published from `since` on is included."""

    entries: list[Entry]
    since: datetime


class Message(NamedTuple):
    """A message on one channel, with decoded data."""

    channel: str
    event: str
    body: dict[str, Any]


async def read(redis: Redis) -> PushLog:
    state: dict[bytes, bytes] = await redis.hgetall(STATE)  # type: ignore[misc]
    entries: list[Entry] = []
    found = 0
    end = "+"
    while found < MAX_MESSAGES:
        page = [read_entry(*one) for one in await redis.xrevrange(STREAM, max=end, count=PAGE)]
        entries += page
        found += sum(len(entry.messages) for entry in page)
        if len(page) < PAGE:
            break
        end = f"({page[-1].id}"
    return PushLog(entries, _complete_since(entries, state))


def messages(log: PushLog) -> list[Message]:
    """Return the messages of the notifier, newest first."""
    return [
        Message(channel, message.event, msgspec.json.decode(message.data))
        for entry in log.entries
        for channel, message, seq in reversed(list(entry.deliveries()))
        if seq is not None
    ]


def _complete_since(entries: list[Entry], state: dict[bytes, bytes]) -> datetime:
    """Return the time from which the log is complete.

    That is the time of its oldest entry, or, when Redis lost entries, the later of its creation
    (`born`, in nanoseconds) and its epoch (in milliseconds).
    """
    if not entries:
        return datetime.now(UTC)
    born = int(state.get(b"born", 0)) / 1e9
    epoch = int(state.get(b"epoch", 0)) / 1e3
    return datetime.fromtimestamp(max(entries[-1].appended_ms / 1e3, born, epoch), UTC)
