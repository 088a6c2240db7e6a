"""One client's connection: handles the client's messages, and detects a dead client by pings.

All state is in memory and each message is answered at once, except a client event, which is
published through the push log.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from backend.kernel.decoding import Malformed, decode_json
from backend.kernel.ended_sessions import EndedSessions
from backend.kernel.principal import CLOCK_SKEW_SECONDS
from backend.kernel.problems import Unavailable
from backend.push import protocol, signature, webhooks
from backend.push.address_limit import Place
from backend.push.cache import Caches
from backend.push.channels import ChannelRegistry, Member, Subscriber
from backend.push.client_events import UserBudgets
from backend.push.protocol import Close, Envelope, ErrorCode, Kind
from backend.push.push_log import Message
from backend.push.push_log_backend import PushLogUnavailable
from backend.push.push_socket import PushSocket
from backend.push.replay import Replays
from backend.push.settings import GatewaySettings
from backend.push.signature import SessionAuthorization
from backend.push.token_bucket import TokenBucket
from backend.push.watchlists import MAX_USERS, Watchlists, watched
from backend.push.webhooks import WebhookQueue

Publish = Callable[[Message], Awaitable[None]]
UNAUTHORIZED_STATUS: Final = 401
REFUSED_STATUS: Final = 400
LIMIT_STATUS: Final = 4100


class Connection(Subscriber):
    """A subscriber that handles its client's messages."""

    __slots__ = (
        "_caches",
        "_client_events",
        "_ended_sessions",
        "_loop",
        "_messages",
        "_on_end",
        "_pinged_at",
        "_place",
        "_publish",
        "_registry",
        "_replays",
        "_session",
        "_session_timer",
        "_settings",
        "_socket",
        "_timer",
        "_user_budgets",
        "_watchlists",
        "_webhooks",
        "user",
    )

    def __init__(
        self,
        socket_id: str,
        socket: PushSocket,
        registry: ChannelRegistry,
        settings: GatewaySettings,
        publish: Publish,
        webhook_queue: WebhookQueue,
        place: Place,
        user_budgets: UserBudgets,
        ended_sessions: EndedSessions | None,
        on_end: "Callable[[Connection], None]",
        replays: Replays,
        caches: Caches,
        watchlists: Watchlists | None,
    ) -> None:
        super().__init__(socket_id, socket, registry.flusher)
        self._socket = socket
        self._registry = registry
        self._settings = settings
        self._publish = publish
        self._webhooks = webhook_queue
        self._place = place
        self._user_budgets = user_budgets
        self._ended_sessions = ended_sessions
        self._on_end = on_end
        self._replays = replays
        self._caches = caches
        self._watchlists = watchlists
        self._session: SessionAuthorization | None = None
        self._session_timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        rate = settings.client_events_per_second
        self._client_events = TokenBucket(rate, rate, now)
        self._messages = TokenBucket(
            settings.messages_per_second, settings.max_messages_at_once, now
        )
        self._pinged_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.user: Member | None = None

    def open(self) -> None:
        timeout = self._settings.activity_timeout_seconds
        self.send(protocol.connection_established(self.socket_id, timeout))
        self._timer = self._loop.call_later(timeout, self._check_liveness)

    def ended(self) -> None:
        """The socket has ended: called once."""
        if self._timer is not None:
            self._timer.cancel()
        if self._session_timer is not None:
            self._session_timer.cancel()
        self._registry.leave(self)
        if self._watchlists is not None:
            self._watchlists.end(self)
        self._place.leave()
        self._on_end(self)

    # Liveness: one timer for each socket, rescheduled only when it fires. Any byte from the client
    # proves it alive.

    def _check_liveness(self) -> None:
        now, received_at = self._loop.time(), self._socket.received_at
        if self._pinged_at is not None and received_at < self._pinged_at:
            self.close(Close.PONG_MISSING, "pong missing")
            return
        due = received_at + self._settings.activity_timeout_seconds
        self._pinged_at = None
        if due <= now:
            self.send(protocol.PING)
            self._pinged_at = now
            due = now + self._settings.pong_timeout_seconds
        self._timer = self._loop.call_at(due, self._check_liveness)

    # Messages of the client.

    async def handle_message(self, text: str) -> None:
        """Handle one message.

        Never raises on client input: malformed messages are answered with `pusher:error`.
        """
        if not self._messages.allows(self._loop.time()):
            self.close(Close.OVER_CAPACITY, "too many messages")
            return
        try:
            envelope = protocol.decode_envelope(text)
            await self._handle(envelope)
        except Malformed as error:
            self.send(protocol.error(None, f"the message {error}"))
        except msgspec.ValidationError:
            self.send(protocol.error(None, "a field is missing or has the wrong type"))
        except Unavailable:
            # The client reconnects after a second and asks for new signatures.
            self.close(Close.OVER_CAPACITY, "sessions unknown")

    async def _handle(self, envelope: Envelope) -> None:
        match envelope.event:
            case "pusher:ping":
                self.send(protocol.PONG)
            case "pusher:pong":
                pass
            case "pusher:subscribe":
                await self._subscribe(protocol.decode_data(envelope.data, protocol.Subscribe))
            case "pusher:unsubscribe":
                self._registry.unsubscribe(
                    self, protocol.decode_data(envelope.data, protocol.Unsubscribe).channel
                )
            case "pusher:signin":
                await self._signin(protocol.decode_data(envelope.data, protocol.Signin))
            case "gittix:viewer":
                viewer = protocol.decode_data(envelope.data, protocol.Viewer)
                self._registry.name_browser(self, viewer.browser)
            case "gittix:resume":
                resume = protocol.decode_data(envelope.data, protocol.Resume)
                self._replays.resume(self, resume)
            case "gittix:time":
                self.send(protocol.clock(time.time_ns() // 1_000_000, envelope.data))
            case event if event.startswith("client-"):
                if self._session is not None and self._ended_sessions is not None:
                    await self._ended_sessions.until_current()
                # The gateway closes it with the read that finds the end of its session.
                if self._socket.open:
                    await self._client_event(envelope)
            case _:
                self.send(protocol.error(None, "unknown event"))

    async def _subscribe(self, request: protocol.Subscribe) -> None:
        name = request.channel
        if not protocol.is_channel_name(name):
            self._refuse(
                name[: protocol.MAX_NAME_LENGTH],
                "InvalidChannel",
                "invalid channel name",
                REFUSED_STATUS,
            )
        elif (
            name not in self.channels
            and len(self.channels) >= self._settings.max_channels_per_connection
        ):
            self._refuse(name, "LimitReached", "too many channels on this connection", LIMIT_STATUS)
        elif not await self._may_join(request):
            self._refuse(name, "AuthError", "invalid signature", UNAUTHORIZED_STATUS)
        else:
            is_new = name not in self.channels
            if protocol.kind_of(name) is Kind.PRESENCE:
                await self._join(name, request.channel_data)
            else:
                self._registry.subscribe(self, name, await self._replays.top(name))
            if is_new and protocol.is_cache_channel(name):
                await self._caches.send(self, name)

    async def _may_join(self, request: protocol.Subscribe) -> bool:
        kind = protocol.kind_of(request.channel)
        if kind is Kind.PUBLIC:
            return True
        if kind is Kind.SERVER_TO_USER:
            own = self.user is not None and protocol.SERVER_TO_USER_PREFIX + self.user.user_id
            return request.channel == own
        member = request.channel_data if kind is Kind.PRESENCE else None
        return await self._authorized(
            signature.channel_text(self.socket_id, request.channel, member),
            request.auth or "",
            needs_session=protocol.needs_session(request.channel),
        )

    async def _join(self, name: str, channel_data: str | None) -> None:
        """Join a presence channel as the member in `channel_data`, or as the signed-in user."""
        member = self.user if channel_data is None else _member(channel_data)
        if member is None:
            self._refuse(
                name,
                "AuthError",
                "channel_data with a user_id, or a signed-in user, is needed",
                REFUSED_STATUS,
            )
        elif len(protocol.encode(member)) > self._settings.max_presence_member_bytes:
            self._refuse(name, "LimitReached", "user_info is too large", LIMIT_STATUS)
        elif not await self._registry.join(
            self, name, member, self._replays.top, self._settings.redis_timeout_seconds
        ):
            self._refuse(name, "LimitReached", "too many members in this channel", LIMIT_STATUS)

    async def _signin(self, request: protocol.Signin) -> None:
        user = _user(request.user_data)
        signed = signature.signin_text(self.socket_id, request.user_data)
        same = self.user is None or (user is not None and self.user.user_id == user.user_id)
        if (
            user is None
            or not same
            or not await self._authorized(signed, request.auth, needs_session=True)
        ):
            self.send(protocol.error(ErrorCode.UNAUTHORIZED, "sign-in refused"))
            self.close(Close.UNAUTHORIZED, "sign-in refused")
            return
        self.user = user
        self._registry.sign_in(self, user.user_id)
        self.send(protocol.json_frame("pusher:signin_success", {"user_data": request.user_data}))
        if self._watchlists is not None:
            await self._watch(self._watchlists, request.user_data)

    async def _watch(self, watchlists: Watchlists, user_data: str) -> None:
        user_ids = watched(_decoded(user_data, protocol.UserData).watchlist)
        if len(user_ids) > MAX_USERS:
            text = f"only the first {MAX_USERS} users of the watchlist are watched"
            self.send(protocol.error(ErrorCode.WATCHLIST_TOO_LONG, text))
        await watchlists.sign_in(self, user_ids)

    async def _client_event(self, envelope: Envelope) -> None:
        refusal = self._client_event_refusal(envelope)
        if refusal is None:
            channel = envelope.channel or ""
            data = protocol.wire_data(envelope.data)
            member = self._registry.member(self, channel)
            user_id = member.user_id if member else None
            message = Message(
                (channel,), envelope.event, data, excluded=self.socket_id, user_id=user_id
            )
            try:
                await self._publish(message)
            except PushLogUnavailable:
                self.send(protocol.error(ErrorCode.OVER_CAPACITY, "try again later", channel))
            else:
                self._webhooks.record(webhooks.client_event(message))
        else:
            self.send(protocol.error(ErrorCode.CLIENT_EVENT_REFUSED, refusal, envelope.channel))

    def _client_event_refusal(self, envelope: Envelope) -> str | None:
        if not self._settings.client_events:
            return "client events are off in this app; PUSH_CLIENT_EVENTS=on allows them"
        channel = envelope.channel or ""
        if protocol.kind_of(channel) not in (Kind.PRIVATE, Kind.PRESENCE):
            return "client events need a private or presence channel"
        if channel not in self.channels:
            return "not subscribed to this channel"
        if len(envelope.event) > protocol.MAX_NAME_LENGTH:
            return "event name too long"
        if len(envelope.data) > self._settings.max_message_bytes:
            return "data too large"
        if not self._client_events.allows(self._loop.time()):
            return "too many client events"
        size = len(envelope.event) + len(envelope.data)
        if not self._user_budgets.allows(self._sender(channel), size, self._loop.time()):
            return "too many client events of this user"
        return None

    def _sender(self, channel: str) -> str:
        """Return the id of this socket's user, or the private channel if its user is unknown."""
        member = self.user or self._registry.member(self, channel)
        return member.user_id if member else channel

    def _refuse(self, channel: str, type: str, error: str, status: int) -> None:
        self.send(protocol.subscription_error(channel, type, error, status))

    async def _authorized(self, text: str, token: str, *, needs_session: bool) -> bool:
        """Return whether the token authorizes this connection; bind it to the token's session.

        Raises Unavailable while it is not known whether the session has ended.
        """
        valid = await self._is_valid(text, token, needs_session=needs_session)
        if valid:
            # A user's sockets do not count.
            self._place.release()
        return valid

    async def _is_valid(self, text: str, token: str, *, needs_session: bool) -> bool:
        key, secret, ended_sessions = (
            self._settings.key,
            self._settings.secret,
            self._ended_sessions,
        )
        if ended_sessions is None:
            return signature.verify_token(key, secret, text, token)
        named = signature.verify_for_session(key, secret, text, token)
        if named is None:
            return not needs_session and signature.verify_token(key, secret, text, token)
        await ended_sessions.until_current()
        # The end is stamped by Postgres's clock, the signature by that of another machine.
        issued_at = named.issued_at - CLOCK_SKEW_SECONDS
        if named.use_by < time.time() or ended_sessions.refuses(named.session_id, issued_at):
            return False
        if self.session_id not in (None, named.session_id):
            self.close(Close.RECONNECT, "another session")
            return False
        self._bind_session(named)
        return True

    def _bind_session(self, named: SessionAuthorization) -> None:
        """Bind the connection to its session, until the session ends or expires.

        A session that was refreshed meanwhile authorizes the next connection.
        """
        self._registry.bind_session(self, named.session_id)
        if self._session is not None and named.session_until <= self._session.session_until:
            return
        self._session = named
        if self._session_timer is not None:
            self._session_timer.cancel()
        self._session_timer = self._loop.call_later(
            max(0.0, named.session_until - time.time()),
            self.close,
            Close.RECONNECT,
            "session expired",
        )


def _member(channel_data: str) -> Member | None:
    found = _decoded(channel_data, protocol.MemberData)
    user_id = str(found.user_id) if found else ""
    return Member(user_id, found.user_info) if found and protocol.is_user_id(user_id) else None


def _user(user_data: str) -> Member | None:
    found = _decoded(user_data, protocol.UserData)
    return Member(found.id, found.user_info) if found and protocol.is_user_id(found.id) else None


def _decoded(text: str, shape: type[Any]) -> Any:
    try:
        return decode_json(text, shape)
    except msgspec.MsgspecError:
        return None
