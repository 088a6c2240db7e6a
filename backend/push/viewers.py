"""Counts the viewers of a show, over all gateways.

A person is a signed-in user, in any number of browsers; else a browser, in any number of tabs,
which names itself by a random id; else a socket. So a client never counts more often than it has
sockets. Pusher's own count of a channel's subscriptions stays as it is.

Each show has a sorted set in Redis: digests of persons, with the time until which each counts.
Every gateway adds its own persons and renews them, so the persons of a killed gateway are gone
after the lease. When a person leaves one gateway and is at another too, the other adds the person
again with its next renewal. Without Redis, each gateway shows the number of its own persons.

Anyone may subscribe to any public channel, so the shows that are counted are bounded: of a socket,
of a gateway, and of one turn.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from backend.kernel.supervisor import heartbeat

TASK: Final = "push-viewers"
PREFIX: Final = "show-"
KEY_PREFIX: Final = "gittix:viewers:"
MAX_SHOWS_OF_SOCKET: Final = 3
MAX_SHOWS: Final = 5_000
SHOWS_PER_TURN: Final = 500
# The most arguments of one call: Redis serves nobody else meanwhile.
PEOPLE_PER_CALL: Final = 1_000
# Renewals within a lease.
RENEWALS: Final = 3
# Up to this many people a count is sent in each turn; above, at most once in the interval.
COUNT_AT_ONCE: Final = 100
COUNT_INTERVAL_SECONDS: Final = 5.0
# Between two reads of a count that only other gateways changed; in turns.
READ_TURNS: Final = 5

# ARGV: the lease in seconds, the number of persons to add, these, and the persons to remove.
COUNT: Final = """
local time = redis.call('time')
local now = time[1] + time[2] / 1000000
for at = 3, 2 + ARGV[2] do redis.call('zadd', KEYS[1], now + ARGV[1], ARGV[at]) end
for at = 3 + ARGV[2], #ARGV do redis.call('zrem', KEYS[1], ARGV[at]) end
redis.call('zremrangebyscore', KEYS[1], '-inf', now)
redis.call('pexpire', KEYS[1], math.ceil(ARGV[1] * 1000))
return redis.call('zcard', KEYS[1])
"""

log = structlog.get_logger()


def person_of(kind: str, id: str) -> str:
    """Name a person in Redis: a digest, which shows neither users nor ids of browsers."""
    return hashlib.blake2b(f"{kind}:{id}".encode(), digest_size=12).hexdigest()


class Show:
    """The persons at this gateway with a show open; `count` is the number at all gateways."""

    def __init__(self) -> None:
        self.sockets: Counter[str] = Counter()
        self.added: set[str] = set()
        self.removed: set[str] = set()
        self.count: int | None = None
        self.read_at = float("-inf")
        self.sent_at = float("-inf")
        self.renewed_at = float("-inf")

    def join(self, person: str) -> None:
        self.sockets[person] += 1
        if self.sockets[person] == 1:
            self.added.add(person)
            self.removed.discard(person)

    def leave(self, person: str) -> None:
        self.sockets[person] -= 1
        if not self.sockets[person]:
            del self.sockets[person]
            self.added.discard(person)
            self.removed.add(person)

    def is_busy(self, now: float) -> bool:
        """Whether another count would be one broadcast too many; a later turn sends it."""
        return len(self.sockets) > COUNT_AT_ONCE and now - self.sent_at < COUNT_INTERVAL_SECONDS

    @property
    def changed(self) -> bool:
        return bool(self.added or self.removed)


class Viewers:
    """The shows that people have open at this gateway."""

    def __init__(self) -> None:
        self._shows: dict[str, Show] = {}

    def join(self, channel: str, person: str) -> bool:
        """Add a socket of this person. Returns whether the show is counted."""
        show = self._shows.get(channel)
        if show is None:
            if len(self._shows) >= MAX_SHOWS:
                return False
            show = self._shows[channel] = Show()
        show.join(person)
        return True

    def leave(self, channel: str, person: str) -> None:
        self._shows[channel].leave(person)

    def count(self, channel: str) -> int | None:
        """The people at all gateways as they were last read, or None."""
        show = self._shows.get(channel)
        return show.count if show else None

    def due(self, before: float) -> list[tuple[str, Show]]:
        """The shows to count in this turn: changed ones, and those last read before this time."""
        due = [
            (channel, show)
            for channel, show in self._shows.items()
            if show.changed or show.read_at <= before
        ]
        due.sort(key=lambda item: (not item[1].changed, item[1].read_at))
        return due[:SHOWS_PER_TURN]

    def remove_if_empty(self, channel: str) -> None:
        show = self._shows[channel]
        if not show.sockets and not show.changed:
            del self._shows[channel]


class PeopleCount:
    """Keeps the counts current, and calls `changed` with a channel and its new count."""

    def __init__(
        self,
        redis: Redis,
        viewers: Viewers,
        changed: Callable[[str, int], None],
        *,
        lease_seconds: float,
        turn_seconds: float,
        timeout_seconds: float,
    ) -> None:
        self._script = redis.register_script(COUNT)
        self._viewers = viewers
        self._changed = changed
        self._lease = lease_seconds
        self._turn = turn_seconds
        self._timeout = timeout_seconds
        self._reachable = True

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._turn)
            heartbeat(TASK)
            await self.turn()

    async def turn(self) -> None:
        """Count the shows that are due. Never raises for an outage of Redis."""
        now = asyncio.get_running_loop().time()
        reachable = True
        for channel, show in self._viewers.due(now - READ_TURNS * self._turn):
            # After a failure, no other show of this turn waits for Redis.
            found = await self._try_to_count(channel, show, now) if reachable else None
            reachable = found is not None
            count = self._count_here(show) if found is None else found
            show.read_at = now
            if count != show.count and not show.is_busy(now):
                show.count, show.sent_at = count, now
                self._changed(channel, count)
            self._viewers.remove_if_empty(channel)
        self._reachable = reachable

    async def _try_to_count(self, channel: str, show: Show, now: float) -> int | None:
        try:
            return await self._count(channel, show, now)
        except (RedisError, OSError, TimeoutError) as error:
            if self._reachable:
                log.warning("people are counted at this gateway only", error=str(error))
            return None

    def _count_here(self, show: Show) -> int:
        """Redis does not answer. The next renewal adds all persons; those who left expire."""
        show.renewed_at = float("-inf")
        show.added.clear()
        show.removed.clear()
        return len(show.sockets)

    async def _count(self, channel: str, show: Show, now: float) -> int:
        renewed = now - show.renewed_at >= self._lease / RENEWALS
        added, removed = list(show.sockets if renewed else show.added), list(show.removed)
        show.added.clear()
        show.removed.clear()
        count = 0
        for joining, leaving in _calls(added, removed):
            async with asyncio.timeout(self._timeout):
                count = await self._script(
                    keys=[KEY_PREFIX + channel],
                    args=[self._lease, len(joining), *joining, *leaving],
                )
        if renewed:
            show.renewed_at = now
        return count


def _calls(added: list[str], removed: list[str]) -> Iterable[tuple[list[str], list[str]]]:
    """The persons of each call; at least one call, which reads the count."""
    for start in range(0, len(added), PEOPLE_PER_CALL):
        yield added[start : start + PEOPLE_PER_CALL], []
    for start in range(0, len(removed), PEOPLE_PER_CALL):
        yield [], removed[start : start + PEOPLE_PER_CALL]
    if not added and not removed:
        yield [], []
