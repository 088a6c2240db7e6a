"""What this gateway holds: subscriptions of channels, and members of presence channels.

The state of all gateways is in Redis (cluster_script.py). `Members` has this gateway's part of it:
what it holds, which of that is still to be reported, and of each presence channel with a subscriber
here the roster as its subscribers know it.

Invariants: all subscribers of a presence channel know the same roster and themselves. Each got it
with `subscription_succeeded`, and then each change in the order of the push log. A change that is
known already is not sent again, so a repeated one changes nothing. No change is sent to the
connections of its own user.

`Members` does no I/O: `ClusterSync` (cluster.py) reports to Redis and calls back.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, Literal

import msgspec

from backend.kernel.decoding import decode_json

# The most channels that a gateway reports. Redis needs about 250 bytes for each.
MAX_CHANNELS: Final = 50_000
# The most presence channels at this gateway; a roster has up to 100 members of 1 KB.
MAX_PRESENCE_CHANNELS: Final = 10_000
# The most that one call reports, since Redis serves nobody else meanwhile: 200 take it 4 ms. A
# roster to read counts as so many.
ITEMS_PER_CALL: Final = 200
ITEMS_OF_ROSTER: Final = 20

Raw = msgspec.Raw


class Known(IntEnum):
    """Whether Redis should know a holding."""

    NEW = 0
    # Admitted while Redis did not answer: it counts also above the bound on members.
    ADMITTED = 1
    REPORTED = 2


class Outcome(IntEnum):
    ADMITTED = 0
    REFUSED = 1
    UNAVAILABLE = 2


class Change(msgspec.Struct, frozen=True):
    """A change of a roster, from the push log; `before` is the version that it follows."""

    channel: str
    before: int
    version: int
    change: Literal["added", "updated", "removed"]
    user_id: str
    user_info: Raw = Raw(b"{}")


def decode_change(data: str) -> Change:
    """Return the change of a message of the push log. Raises msgspec.MsgspecError."""
    return decode_json(data, Change)


class Roster(msgspec.Struct, frozen=True):
    """A roster as Redis has it."""

    version: int
    members: dict[str, Raw]


class Report(msgspec.Struct, frozen=True, array_like=True):
    """What this gateway holds of a channel; members are (user, user_info or "", known)."""

    channel: str
    subscriptions: int
    known: int
    members: list[tuple[str, str, int]]
    read_roster: bool


@dataclass
class Held:
    """A user's connections to one presence channel at this gateway."""

    user_info: Raw
    connections: int = 0
    known: Known = Known.NEW
    # Whether Redis has yet to get this user_info.
    is_fresh: bool = True


@dataclass
class PresenceChannel:
    held: dict[str, Held] = field(default_factory=dict)
    # The roster as the subscribers here know it.
    roster: dict[str, Raw] = field(default_factory=dict)
    # None: the roster is to be read from Redis.
    version: int | None = None
    # The changes that arrive while the roster is being read.
    arrived: list[Change] | None = None
    # Members that the last read did not find, and the time of that read. They stay for a while, as
    # their gateway may be about to report them again.
    missing: dict[str, float] = field(default_factory=dict)


@dataclass
class Batch:
    """The reports of one call, and the clients that wait for its outcome."""

    reports: list[Report] = field(default_factory=list)
    waiting: dict[tuple[str, str], list[asyncio.Future[Outcome]]] = field(default_factory=dict)


# Sends (channel, event, content) to the channel's subscribers, except those of the user.
Send = Callable[[str, str, Any, str], None]


class Members:
    def __init__(self, send: Send, *, max_members: int, missing_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._send = send
        self._max_members = max_members
        self._missing_seconds = missing_seconds
        self._counts: dict[str, int] = {}
        self._reported: set[str] = set()
        # Channels with something to report, in order, and their users.
        self._dirty: dict[str, set[str]] = {}
        self._presence: dict[str, PresenceChannel] = {}
        self._waiting: dict[tuple[str, str], list[asyncio.Future[Outcome]]] = {}
        self._reread: dict[str, float] = {}
        # Whether Redis answered the last call. While it does not, nobody waits for it.
        self.online = False
        self.stirred = asyncio.Event()
        self.urgent = asyncio.Event()

    # What the clients of this gateway do.

    def count(self, channel: str, subscriptions: int) -> None:
        """Note the number of subscriptions of a channel without members."""
        self._count(channel, subscriptions)

    async def join(self, channel: str, user_id: str, user_info: Raw, seconds: float) -> bool:
        """Hold a user in a presence channel. Returns False when the channel is full.

        Waits for Redis at most so long; without it, this gateway admits the user.
        """
        presence = self._presence.get(channel)
        if presence is None:
            if len(self._presence) >= MAX_PRESENCE_CHANNELS or not self._may_count(channel):
                return False
            presence = self._presence[channel] = PresenceChannel()
        held = presence.held.setdefault(user_id, Held(user_info))
        held.connections += 1
        if held.user_info != user_info:
            held.user_info, held.is_fresh = user_info, True
        self._dirty.setdefault(channel, set()).add(user_id)
        self._count_held(channel, presence)
        try:
            outcome = await self._outcome(channel, user_id, presence, held, seconds)
        except asyncio.CancelledError:
            self.leave(channel, user_id)
            raise
        if outcome is Outcome.UNAVAILABLE:
            outcome = self._admit(channel, user_id, presence, held)
        if outcome is Outcome.REFUSED:
            self.leave(channel, user_id)
        return outcome is Outcome.ADMITTED

    def leave(self, channel: str, user_id: str) -> None:
        """End one connection's hold."""
        presence = self._presence[channel]
        held = presence.held[user_id]
        held.connections -= 1
        if not held.connections:
            del presence.held[user_id]
            self._dirty.setdefault(channel, set()).add(user_id)
        self._count_held(channel, presence)
        if not presence.held:
            del self._presence[channel]
            self._reread.pop(channel, None)

    def presence_data(self, channel: str, user_id: str) -> dict[str, Any]:
        """Return the data of `subscription_succeeded` for a connection of this user."""
        presence = self._presence[channel]
        infos = presence.roster | {user_id: presence.held[user_id].user_info}
        return {"presence": {"ids": list(infos), "hash": infos, "count": len(infos)}}

    def channels_of(self, user_id: str) -> list[str]:
        """The presence channels in which this gateway holds the user."""
        return [name for name, presence in self._presence.items() if user_id in presence.held]

    def user_ids(self, channel: str) -> Collection[str]:
        """The members of a presence channel as far as this gateway knows them."""
        presence = self._presence.get(channel)
        return presence.roster.keys() | presence.held.keys() if presence else ()

    # What the push log has.

    def apply(self, change: Change) -> None:
        """Apply a change that the push log delivers, in its order."""
        presence = self._presence.get(change.channel)
        if presence is None:
            return
        if presence.version is None:
            # The read that is under way may be older. One that has not begun will be newer.
            if presence.arrived is not None:
                presence.arrived.append(change)
            return
        if change.version <= presence.version:
            return
        if change.before != presence.version:
            self._read_again(change.channel, presence)
            return
        presence.version = change.version
        self._apply(change.channel, presence, change)

    # The exchange with Redis.

    @property
    def has_reports(self) -> bool:
        return bool(self._dirty)

    def due_at(self) -> float:
        """The time (of the event loop) at which a roster is to be read again."""
        return min(self._reread.values(), default=float("inf"))

    def take(self) -> Batch:
        """Take the reports of the next call: first those for which a client waits."""
        now = self._loop.time()
        for channel in [name for name, at in self._reread.items() if at <= now]:
            del self._reread[channel]
            self._read_again(channel, self._presence[channel])
        batch, items = Batch(), 0
        for channel in [*dict.fromkeys(name for name, _ in self._waiting), *self._dirty]:
            if channel in self._dirty:
                report = self._report(channel)
                items += 1 + len(report.members) + ITEMS_OF_ROSTER * report.read_roster
                batch.reports.append(report)
                for user_id, _, _ in report.members:
                    futures = self._waiting.pop((channel, user_id), None)
                    if futures:
                        batch.waiting[channel, user_id] = futures
            if items >= ITEMS_PER_CALL:
                break
        self.stirred.clear()
        self.urgent.clear()
        if self._dirty:
            self.stirred.set()
        if self._waiting:
            self.urgent.set()
        return batch

    def accepted(
        self, batch: Batch, refused: Iterable[tuple[str, str]], rosters: dict[str, Roster]
    ) -> None:
        """Redis has the reports of the batch."""
        self.online = True
        refused = set(refused)
        for report in batch.reports:
            if report.subscriptions:
                self._reported.add(report.channel)
            else:
                self._reported.discard(report.channel)
            presence = self._presence.get(report.channel)
            for user_id, user_info, _ in report.members if presence else ():
                held = presence.held.get(user_id) if presence else None
                if held is not None and user_info and (report.channel, user_id) not in refused:
                    held.known = Known.REPORTED
                    held.is_fresh = bytes(held.user_info).decode() != user_info
        for channel, roster in rosters.items():
            presence = self._presence.get(channel)
            # Otherwise another read is due: this one may lack changes that were not kept.
            if presence is not None and presence.arrived is not None:
                self._install(channel, presence, roster)
        for key, futures in batch.waiting.items():
            _resolve(futures, Outcome.REFUSED if key in refused else Outcome.ADMITTED)

    def failed(self, batch: Batch) -> None:
        """Redis may or may not have the reports of the batch; they are due again."""
        self.online = False
        for report in batch.reports:
            users = {user_id for user_id, _, _ in report.members}
            self._dirty.setdefault(report.channel, set()).update(users)
            presence = self._presence.get(report.channel)
            if presence is not None:
                presence.arrived = None
        for futures in (*batch.waiting.values(), *self._waiting.values()):
            _resolve(futures, Outcome.UNAVAILABLE)
        self._waiting.clear()

    def report_all(self) -> None:
        """Report everything again, under a new id, and read all rosters."""
        self._dirty.clear()
        for channel in self._counts:
            self._dirty[channel] = set()
        for channel, presence in self._presence.items():
            self._dirty.setdefault(channel, set()).update(presence.held)
            presence.version, presence.arrived = None, None
        self.stirred.set()

    def _may_count(self, channel: str) -> bool:
        return channel in self._counts or len(self._counts) < MAX_CHANNELS

    def _count(self, channel: str, subscriptions: int) -> None:
        if subscriptions and self._may_count(channel):
            self._counts[channel] = subscriptions
        elif self._counts.pop(channel, None) is None:
            return
        self._dirty.setdefault(channel, set())
        self.stirred.set()

    def _count_held(self, channel: str, presence: PresenceChannel) -> None:
        self._count(channel, sum(held.connections for held in presence.held.values()))

    async def _outcome(
        self,
        channel: str,
        user_id: str,
        presence: PresenceChannel,
        held: Held,
        seconds: float,
    ) -> Outcome:
        if not self.online:
            return Outcome.UNAVAILABLE
        if held.known is Known.REPORTED and not held.is_fresh and presence.version is not None:
            return Outcome.ADMITTED
        future: asyncio.Future[Outcome] = self._loop.create_future()
        self._waiting.setdefault((channel, user_id), []).append(future)
        self.urgent.set()
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            return Outcome.UNAVAILABLE

    def _admit(self, channel: str, user_id: str, presence: PresenceChannel, held: Held) -> Outcome:
        """Admit a user while Redis does not answer: the subscribers here learn of it at once."""
        if user_id not in presence.roster:
            if held.known is Known.NEW and len(presence.roster) >= self._max_members:
                return Outcome.REFUSED
            self._add(channel, presence, user_id, held.user_info)
            # Redis will not announce the leave of a user that it never had.
            self._read_again(channel, presence)
        held.known = max(held.known, Known.ADMITTED)
        return Outcome.ADMITTED

    def _report(self, channel: str) -> Report:
        users = self._dirty.pop(channel)
        presence = self._presence.get(channel)
        members, read_roster = [], False
        for user_id in users:
            held = presence.held.get(user_id) if presence else None
            info = bytes(held.user_info).decode() if held else ""
            members.append((user_id, info, int(held.known) if held else 0))
        if presence is not None and presence.version is None:
            presence.arrived, read_roster = [], True
        known = Known.REPORTED if channel in self._reported else Known.NEW
        return Report(channel, self._counts.get(channel, 0), int(known), members, read_roster)

    def _read_again(self, channel: str, presence: PresenceChannel) -> None:
        presence.version, presence.arrived = None, None
        self._dirty.setdefault(channel, set())
        self.stirred.set()

    def _install(self, channel: str, presence: PresenceChannel, roster: Roster) -> None:
        """Take over a roster that was read, and send what it changes."""
        for user_id, user_info in roster.members.items():
            self._add(channel, presence, user_id, user_info)
        now = self._loop.time()
        for user_id in presence.roster.keys() - roster.members.keys():
            since = presence.missing.setdefault(user_id, now)
            if now >= since + self._missing_seconds:
                self._remove(channel, presence, user_id)
        arrived, presence.arrived, presence.version = presence.arrived, None, roster.version
        for change in arrived or ():
            self.apply(change)
        if presence.missing:
            self._reread[channel] = now + self._missing_seconds

    def _apply(self, channel: str, presence: PresenceChannel, change: Change) -> None:
        if change.change == "removed":
            self._remove(channel, presence, change.user_id)
        else:
            self._add(channel, presence, change.user_id, change.user_info)

    def _add(self, channel: str, presence: PresenceChannel, user_id: str, user_info: Raw) -> None:
        is_new = user_id not in presence.roster
        presence.roster[user_id] = user_info
        presence.missing.pop(user_id, None)
        held = presence.held.get(user_id)
        if held is not None and not held.is_fresh:
            held.user_info = user_info
        if is_new:
            content = {"user_id": user_id, "user_info": user_info}
            self._send(channel, "pusher_internal:member_added", content, user_id)

    def _remove(self, channel: str, presence: PresenceChannel, user_id: str) -> None:
        presence.missing.pop(user_id, None)
        if presence.roster.pop(user_id, None) is not None:
            content = {"user_id": user_id}
            self._send(channel, "pusher_internal:member_removed", content, user_id)


def _resolve(futures: Iterable[asyncio.Future[Outcome]], outcome: Outcome) -> None:
    for future in futures:
        if not future.done():
            future.set_result(outcome)
