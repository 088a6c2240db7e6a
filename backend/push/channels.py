"""The channels of this gateway: subscribers, presence members and subscription counts.

Invariants: a channel exists exactly while it has a subscriber. `member_added` is sent at a user's
first subscription and `member_removed` after the last one ends, never to the user's own connection
that caused it. Rosters and counts cover only this gateway, but for the viewers of a show.
"""

import asyncio
from collections.abc import Collection, Iterator
from dataclasses import InitVar, dataclass, field
from typing import Any, Final
from uuid import UUID

import msgspec

from backend.push import protocol
from backend.push.fan_out import FanOut
from backend.push.metrics import SUBSCRIPTIONS
from backend.push.protocol import Close, Kind
from backend.push.replay_reader import Position
from backend.push.replay_state import Held, ResumeBudget
from backend.push.send_queue import Flusher, SendQueue, Socket
from backend.push.settings import SLICE_BYTES
from backend.push.viewers import MAX_SHOWS_OF_SOCKET, PREFIX, Viewers, person_of

# Up to this many subscribers a count is sent at once; above, at most once in the interval.
COUNT_AT_ONCE: Final = 100
COUNT_INTERVAL_SECONDS: Final = 5.0
VIEWERS: Final = "gittix:viewers"
COUNTED_KINDS: Final = (Kind.PUBLIC, Kind.PRIVATE, Kind.ENCRYPTED)


@dataclass(frozen=True)
class Member:
    user_id: str
    user_info: msgspec.Raw


class Subscriber(SendQueue):
    """A connection as channels see it: a send queue with a socket id."""

    __slots__ = ("browser_id", "channels", "resume_budget", "session_id", "shows", "user_id")

    def __init__(self, socket_id: str, socket: Socket, flusher: Flusher) -> None:
        super().__init__(socket_id, socket, flusher)
        self.channels: set[str] = set()
        # The channels in which the subscriber counts as a viewer.
        self.shows: set[str] = set()
        self.resume_budget: ResumeBudget | None = None
        self.browser_id: str | None = None
        self.user_id: str | None = None
        self.session_id: UUID | None = None

    @property
    def person(self) -> str:
        """The person whose connection it is, as far as that is known: see viewers.py."""
        if self.user_id is not None:
            return person_of("user", self.user_id)
        if self.browser_id is not None:
            return person_of("browser", self.browser_id)
        return person_of("socket", self.socket_id)


class Roster:
    """The members of a presence channel; a user with several connections is one member."""

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        self._connections: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, user_id: str) -> bool:
        return user_id in self._members

    def join(self, member: Member) -> bool:
        """Add a connection. Returns whether it is the user's first in this channel."""
        self._connections[member.user_id] = self._connections.get(member.user_id, 0) + 1
        return self._members.setdefault(member.user_id, member) is member

    def leave(self, user_id: str) -> bool:
        """Remove a connection. Returns whether it was the user's last in this channel."""
        self._connections[user_id] -= 1
        if self._connections[user_id]:
            return False
        del self._connections[user_id], self._members[user_id]
        return True

    def user_ids(self) -> list[str]:
        return list(self._members)

    def as_presence(self) -> dict[str, Any]:
        infos = {user_id: member.user_info for user_id, member in self._members.items()}
        return {"presence": {"ids": list(infos), "hash": infos, "count": len(infos)}}


@dataclass
class Channel:
    name: str
    kind: Kind
    flusher: InitVar[Flusher]
    subscribers: dict[Subscriber, Member | None] = field(default_factory=dict)
    roster: Roster = field(default_factory=Roster)
    # The subscribers as a tuple, None after a change: a busy channel has far more broadcasts than
    # changes.
    cached_recipients: tuple[Subscriber, ...] | None = None
    fan_out: FanOut = field(init=False)
    count_timer: asyncio.TimerHandle | None = None
    count_sent_at: float = float("-inf")

    # The number of the last message that was sent to the subscribers, if it is known.
    position: Position | None = None
    # The subscribers that get their messages after a replay.
    holding: dict[Subscriber, Held] = field(default_factory=dict)

    def __post_init__(self, flusher: Flusher) -> None:
        self.fan_out = FanOut(flusher, self.recipients)

    def recipients(self) -> tuple[Subscriber, ...]:
        """Return the present subscribers, as a tuple that later changes do not affect, but for
        those whose messages are held.
        """
        if self.cached_recipients is None:
            self.cached_recipients = tuple(
                subscriber for subscriber in self.subscribers if subscriber not in self.holding
            )
        return self.cached_recipients

    def send(self, frame: bytes, exclude: str | None, appended_ms: int | None = None) -> None:
        """Send a frame to all subscribers except the socket `exclude`."""
        if self.holding:
            self._hold(frame, exclude)
        self.fan_out.add(frame, exclude, appended_ms)

    def hold(self, subscriber: Subscriber, held: Held) -> None:
        """Hold the frames of a subscriber from now on, and those that wait for the next write."""
        for frame in self.fan_out.waiting(subscriber.socket_id):
            held.add(frame)
        self.holding[subscriber] = held
        self.cached_recipients = None

    def release(self, subscriber: Subscriber) -> list[bytes]:
        """Return the frames that were held; the subscriber gets later ones as the others do."""
        held = self.holding.pop(subscriber, None)
        self.cached_recipients = None
        if held is None:
            return []
        self.fan_out.begin(subscriber.socket_id)
        return held.frames

    def _hold(self, frame: bytes, exclude: str | None) -> None:
        for subscriber, held in tuple(self.holding.items()):
            if subscriber.socket_id != exclude and not held.add(frame):
                subscriber.close(Close.RECONNECT, "too many messages while resuming")


class ChannelRegistry:
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._channels: dict[str, Channel] = {}
        self._signed_in: dict[str, set[Subscriber]] = {}
        self._of_session: dict[UUID, set[Subscriber]] = {}
        self.flusher = Flusher()
        self.viewers = Viewers()

    def channel(self, name: str) -> Channel | None:
        return self._channels.get(name)

    def occupied(self, prefix: str = "") -> Iterator[Channel]:
        return (channel for name, channel in self._channels.items() if name.startswith(prefix))

    def subscribe(
        self,
        subscriber: Subscriber,
        name: str,
        member: Member | None = None,
        position: Position | None = None,
    ) -> None:
        """Subscribe and send `subscription_succeeded`. A repeated call only sends the reply again.

        A presence channel needs a member. The position is that of the channel's last message.
        """
        channel = self._channels.get(name) or self._channels.setdefault(
            name, Channel(name, protocol.kind_of(name), self.flusher)
        )
        fresh = subscriber not in channel.subscribers
        joined = False
        if fresh:
            joined = member is not None and channel.roster.join(member)
            channel.subscribers[subscriber] = member
            channel.cached_recipients = None
            channel.fan_out.begin(subscriber.socket_id)
            subscriber.channels.add(name)
            SUBSCRIPTIONS.inc()
        if channel.position is None:
            channel.position = position
        subscriber.send(protocol.subscription_succeeded(name, self._subscription_data(channel)))
        if joined and member is not None:
            added = {"user_id": member.user_id, "user_info": member.user_info}
            self._send_to_subscribers(
                channel, "pusher_internal:member_added", added, exclude=subscriber
            )
        if fresh:
            self._count_changed(channel)
            self._view(subscriber, name)

    def unsubscribe(self, subscriber: Subscriber, name: str) -> None:
        channel = self._channels.get(name)
        if channel is None or subscriber not in channel.subscribers:
            return
        member = channel.subscribers.pop(subscriber)
        channel.release(subscriber)
        subscriber.channels.discard(name)
        if name in subscriber.shows:
            subscriber.shows.discard(name)
            self.viewers.leave(name, subscriber.person)
        SUBSCRIPTIONS.dec()
        if member is not None and channel.roster.leave(member.user_id):
            self._send_to_subscribers(
                channel, "pusher_internal:member_removed", {"user_id": member.user_id}
            )
        if channel.subscribers:
            self._count_changed(channel)
        else:
            self._remove(channel)

    def leave(self, subscriber: Subscriber) -> None:
        """Unsubscribe a closed connection from all channels."""
        for name in list(subscriber.channels):
            self.unsubscribe(subscriber, name)
        user_id = subscriber.user_id
        if user_id is not None:
            self._signed_in[user_id].discard(subscriber)
            if not self._signed_in[user_id]:
                del self._signed_in[user_id]
        session_id = subscriber.session_id
        if session_id is not None:
            self._of_session[session_id].discard(subscriber)
            if not self._of_session[session_id]:
                del self._of_session[session_id]

    def member(self, subscriber: Subscriber, name: str) -> Member | None:
        """Return a subscriber's member in a presence channel, or None."""
        channel = self._channels.get(name)
        return channel.subscribers.get(subscriber) if channel else None

    def viewers_changed(self, name: str, count: int) -> None:
        """Send all subscribers the number of viewers of the show."""
        channel = self._channels.get(name)
        if channel is not None:
            self._send_to_subscribers(channel, VIEWERS, {"count": count})

    def name_browser(self, subscriber: Subscriber, browser_id: str) -> None:
        """Record the browser of a connection; it keeps the first."""
        if subscriber.browser_id is None:
            before, subscriber.browser_id = subscriber.person, browser_id
            self._person_changed(subscriber, before)

    def sign_in(self, subscriber: Subscriber, user_id: str) -> None:
        before, subscriber.user_id = subscriber.person, user_id
        self._person_changed(subscriber, before)
        self._signed_in.setdefault(user_id, set()).add(subscriber)

    def bind_session(self, subscriber: Subscriber, session_id: UUID) -> None:
        """Record the session that authorized the connection; it keeps this session."""
        assert subscriber.session_id in (None, session_id), "a connection has one session"
        subscriber.session_id = session_id
        self._of_session.setdefault(session_id, set()).add(subscriber)

    def sessions(self) -> Collection[UUID]:
        """Return the sessions that authorized connections."""
        return tuple(self._of_session)

    def connections_of_session(self, session_id: UUID) -> tuple[Subscriber, ...]:
        return tuple(self._of_session.get(session_id, ()))

    def connections_of(self, user_id: str) -> tuple[Subscriber, ...]:
        """Return the connections that are signed in, subscribed or present as this user."""
        found = set(self._signed_in.get(user_id, ()))
        own = self._channels.get(protocol.USER_CHANNEL_PREFIX + user_id)
        found |= own.subscribers.keys() if own else set()
        for channel in self.occupied():
            if user_id in channel.roster:
                found |= {
                    one
                    for one, member in channel.subscribers.items()
                    if member and member.user_id == user_id
                }
        return tuple(found)

    async def broadcast(
        self, name: str, frame: bytes, exclude: str | None = None, appended_ms: int | None = None
    ) -> int:
        """Send one frame to the present subscribers except the socket `exclude`.

        `appended_ms` is the time of the message's append to the push log. Returns the number of
        subscribers. Waits for the flusher when many bytes of frames are unwritten.
        """
        channel = self._channels.get(name)
        if channel is None:
            return 0
        channel.send(frame, exclude, appended_ms)
        count = len(channel.recipients())
        if self.flusher.waiting_bytes > SLICE_BYTES:
            await self.flusher.drained()
        return count

    def _view(self, subscriber: Subscriber, name: str) -> None:
        if not name.startswith(PREFIX) or len(subscriber.shows) >= MAX_SHOWS_OF_SOCKET:
            return
        if not self.viewers.join(name, subscriber.person):
            return
        subscriber.shows.add(name)
        count = self.viewers.count(name)
        if count is not None:
            subscriber.send(protocol.json_frame(VIEWERS, {"count": count}, name))

    def _person_changed(self, subscriber: Subscriber, before: str) -> None:
        for name in subscriber.shows:
            self.viewers.leave(name, before)
            self.viewers.join(name, subscriber.person)

    def _subscription_data(self, channel: Channel) -> dict[str, Any]:
        data = channel.roster.as_presence() if channel.kind is Kind.PRESENCE else {}
        if channel.position is not None:
            data |= {"_epoch": channel.position.epoch, "_seq": channel.position.seq}
        return data

    def _send_to_subscribers(
        self, channel: Channel, event: str, content: Any, exclude: Subscriber | None = None
    ) -> None:
        frame = protocol.json_frame(event, content, channel.name)
        channel.send(frame, exclude.socket_id if exclude else None)

    def _count_changed(self, channel: Channel) -> None:
        if channel.kind not in COUNTED_KINDS or channel.count_timer is not None:
            return
        delay = 0.0
        if len(channel.subscribers) > COUNT_AT_ONCE:
            delay = max(0.0, channel.count_sent_at + COUNT_INTERVAL_SECONDS - self._loop.time())
        channel.count_timer = self._loop.call_later(delay, self._send_count, channel)

    def _send_count(self, channel: Channel) -> None:
        channel.count_timer = None
        channel.count_sent_at = self._loop.time()
        count = len(channel.subscribers)
        self._send_to_subscribers(
            channel, "pusher_internal:subscription_count", {"subscription_count": count}
        )

    def _remove(self, channel: Channel) -> None:
        if channel.count_timer is not None:
            channel.count_timer.cancel()
        channel.fan_out.cancel()
        del self._channels[channel.name]
