"""The channels of this gateway and their subscribers.

Invariant: a channel exists exactly while it has a subscriber. Rosters and counts are those of all
gateways: `Members` (members.py) has this gateway's part of them.
"""

from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import InitVar, dataclass, field
from typing import Any, Final
from uuid import UUID

import msgspec

from backend.push import protocol
from backend.push.backlog import State
from backend.push.fan_out import FanOut
from backend.push.members import Members
from backend.push.metrics import SUBSCRIPTIONS
from backend.push.protocol import Close, Kind
from backend.push.replay_reader import Position
from backend.push.replay_state import Held, ResumeBudget
from backend.push.send_queue import Flusher, SendQueue, Socket
from backend.push.settings import SLICE_BYTES
from backend.push.viewers import MAX_SHOWS_OF_SOCKET, PREFIX, Viewers, person_of

VIEWERS: Final = "gittix:viewers"
# Of a bare registry; those of a gateway are in its settings.
MAX_MEMBERS: Final = 100
MISSING_SECONDS: Final = 3.0

# Returns the number of the last message of a channel.
PositionOf = Callable[[str], Awaitable[Position | None]]


@dataclass(frozen=True)
class Member:
    user_id: str
    user_info: msgspec.Raw


class Subscriber(SendQueue):
    """A connection as channels see it: a send queue with a socket id."""

    __slots__ = (
        "browser_id",
        "channels",
        "has_left",
        "resume_budget",
        "session_id",
        "shows",
        "user_id",
    )

    def __init__(self, socket_id: str, socket: Socket, flusher: Flusher) -> None:
        super().__init__(socket_id, socket, flusher)
        self.channels: set[str] = set()
        # The channels in which the subscriber counts as a viewer.
        self.shows: set[str] = set()
        self.resume_budget: ResumeBudget | None = None
        self.has_left = False
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


@dataclass
class Channel:
    name: str
    kind: Kind
    flusher: InitVar[Flusher]
    subscribers: dict[Subscriber, Member | None] = field(default_factory=dict)
    # The subscribers as a tuple, None after a change: a busy channel has far more broadcasts than
    # changes.
    cached_recipients: tuple[Subscriber, ...] | None = None
    fan_out: FanOut = field(init=False)

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

    def send(
        self,
        frame: bytes,
        excluded: Collection[str] = (),
        appended_ms: int | None = None,
        state: State | None = None,
    ) -> None:
        """Send a frame to all subscribers except the excluded sockets."""
        if self.holding:
            self._hold(frame, excluded)
        self.fan_out.add(frame, excluded, appended_ms, state)

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

    def _hold(self, frame: bytes, excluded: Collection[str]) -> None:
        for subscriber, held in tuple(self.holding.items()):
            if subscriber.socket_id not in excluded and not held.add(frame):
                subscriber.close(Close.RECONNECT, "too many messages while resuming")


class ChannelRegistry:
    def __init__(
        self, *, max_members: int = MAX_MEMBERS, missing_seconds: float = MISSING_SECONDS
    ) -> None:
        self._channels: dict[str, Channel] = {}
        self._signed_in: dict[str, set[Subscriber]] = {}
        self._of_session: dict[UUID, set[Subscriber]] = {}
        self.flusher = Flusher()
        self.viewers = Viewers()
        self.members = Members(
            self._member_changed, max_members=max_members, missing_seconds=missing_seconds
        )

    def channel(self, name: str) -> Channel | None:
        return self._channels.get(name)

    def occupied(self, prefix: str = "") -> Iterator[Channel]:
        return (channel for name, channel in self._channels.items() if name.startswith(prefix))

    def subscriptions(self, name: str) -> int:
        channel = self._channels.get(name)
        return len(channel.subscribers) if channel else 0

    def subscribe(
        self, subscriber: Subscriber, name: str, position: Position | None = None
    ) -> None:
        """Subscribe and send `subscription_succeeded`. A repeated call only sends the reply again.

        The position is that of the channel's last message. For a presence channel see `join`.
        """
        if subscriber.has_left:
            return
        is_new = name not in subscriber.channels
        if is_new:
            self._add(subscriber, name, None)
        self._succeed(subscriber, self._channels[name], position, {})
        if is_new:
            self.members.count(name, self.subscriptions(name))
            self._view(subscriber, name)

    async def join(
        self,
        subscriber: Subscriber,
        name: str,
        member: Member,
        position_of: PositionOf,
        seconds: float,
    ) -> bool:
        """Subscribe to a presence channel as this member. Returns False when the channel is full.

        Waits for Redis at most so many seconds, then for the channel's position. A repeated call
        only sends the reply again.
        """
        position = None
        if name not in subscriber.channels:
            if not await self.members.join(name, member.user_id, member.user_info, seconds):
                return False
            try:
                position = await position_of(name)
            except BaseException:
                self.members.leave(name, member.user_id)
                raise
            if subscriber.has_left:
                self.members.leave(name, member.user_id)
                return True
            self._add(subscriber, name, member)
        channel = self._channels[name]
        user_id = (channel.subscribers[subscriber] or member).user_id
        self._succeed(subscriber, channel, position, self.members.presence_data(name, user_id))
        return True

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
        if not channel.subscribers:
            channel.fan_out.cancel()
            del self._channels[name]
        if member is not None:
            self.members.leave(name, member.user_id)
        else:
            self.members.count(name, len(channel.subscribers))

    def leave(self, subscriber: Subscriber) -> None:
        """Unsubscribe a closed connection from all channels."""
        subscriber.has_left = True
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

    def signed_in(self, user_id: str) -> int:
        """Return the number of connections that are signed in as this user."""
        return len(self._signed_in.get(user_id, ()))

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
        for name in self.members.channels_of(user_id):
            channel = self._channels.get(name)
            found |= {
                one
                for one, member in (channel.subscribers.items() if channel else ())
                if member and member.user_id == user_id
            }
        return tuple(found)

    async def broadcast(
        self,
        name: str,
        frame: bytes,
        exclude: str | None = None,
        appended_ms: int | None = None,
        state: State | None = None,
    ) -> int:
        """Send one frame to the present subscribers except the socket `exclude`.

        `appended_ms` is the time of the message's append to the push log; with a `state`, newer
        ones may replace it. Returns the number of subscribers. Waits for the flusher when many
        bytes of frames are unwritten.
        """
        channel = self._channels.get(name)
        if channel is None:
            return 0
        channel.send(frame, (exclude,) if exclude else (), appended_ms, state)
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

    def _add(self, subscriber: Subscriber, name: str, member: Member | None) -> None:
        channel = self._channels.get(name) or self._channels.setdefault(
            name, Channel(name, protocol.kind_of(name), self.flusher)
        )
        channel.subscribers[subscriber] = member
        channel.cached_recipients = None
        channel.fan_out.begin(subscriber.socket_id)
        subscriber.channels.add(name)
        SUBSCRIPTIONS.inc()

    def _succeed(
        self,
        subscriber: Subscriber,
        channel: Channel,
        position: Position | None,
        data: dict[str, Any],
    ) -> None:
        if channel.position is None:
            channel.position = position
        if channel.position is not None:
            data |= {"_epoch": channel.position.epoch, "_seq": channel.position.seq}
        subscriber.send(protocol.subscription_succeeded(channel.name, data))

    def _member_changed(self, name: str, event: str, content: Any, user_id: str) -> None:
        """Send a change of a roster to all subscribers, except the connections of this user."""
        channel = self._channels.get(name)
        if channel is not None:
            own = [
                subscriber.socket_id
                for subscriber, member in channel.subscribers.items()
                if member is not None and member.user_id == user_id
            ]
            channel.send(protocol.json_frame(event, content, name), own)

    def _send_to_subscribers(self, channel: Channel, event: str, content: Any) -> None:
        channel.send(protocol.json_frame(event, content, channel.name))
