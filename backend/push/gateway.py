"""The gateway of one process: accepts connections, delivers the push log to them, and drains before
it stops.

Invariants: no connection stays open after a missed message. When this gateway cannot deliver a
message to a client, it closes the socket with a code that makes the client reconnect. No socket
receives a message a second after its session ended: the gateway closes the sockets of ended
sessions, and delivers nothing while it does not know which sessions have ended.
"""

import asyncio
import logging
import math
import random
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final
from uuid import UUID

import msgspec
import structlog
from broadcaster import Broadcast, Event
from starlette.requests import HTTPConnection

from backend.kernel import tracing
from backend.kernel.client_address import client_ip, network_of
from backend.kernel.ended_sessions import EndedSessions
from backend.kernel.health import Check, NotReady
from backend.kernel.problems import Unavailable
from backend.push import protocol
from backend.push.address_limit import AddressLimit, Place
from backend.push.backlog import State
from backend.push.cache import Caches
from backend.push.channels import ChannelRegistry
from backend.push.client_events import UserBudgets
from backend.push.cluster import ClusterSync
from backend.push.cluster_script import ONLINE_CHANGED, ROSTER_CHANGED
from backend.push.connection import Connection
from backend.push.idempotency import IdempotentLog, Outcome
from backend.push.members import decode_change
from backend.push.metrics import GAPS, MALFORMED, OPENED, REFUSED, SOCKETS
from backend.push.protocol import Close
from backend.push.push_log import Entry, Message
from backend.push.push_log_backend import CHANNEL, Batch, PushLogBackend
from backend.push.push_socket import PushSocket
from backend.push.replay import Replays
from backend.push.settings import GatewaySettings
from backend.push.token_bucket import TokenBucket
from backend.push.watchlists import Watchlists
from backend.push.webhooks import WebhookQueue

DRAIN_STEP_SECONDS: Final = 0.05
# Dispatching a message takes a few microseconds, and a few more for each channel with subscribers.
# After so many messages the sockets get their turn.
MESSAGES_PER_TURN: Final = 500
# A failover of Postgres takes about as long. Other gateways may know the sessions by then.
PAUSE_SECONDS: Final = 10.0

log = structlog.get_logger()


class Gateway:
    def __init__(
        self,
        settings: GatewaySettings,
        push_log: PushLogBackend,
        broadcast: Broadcast,
        webhooks: WebhookQueue,
        ended_sessions: EndedSessions | None = None,
    ) -> None:
        """Without `ended_sessions` the gateway knows no sessions: it is a plain Pusher server."""
        self._ended_sessions = ended_sessions
        if ended_sessions is not None:
            ended_sessions.listen(self.end_sessions)
        self.settings = settings
        self.push_log = push_log
        self._broadcast = broadcast
        self.registry = ChannelRegistry(
            max_members=settings.max_presence_members, missing_seconds=settings.debounce_seconds
        )
        self.replays = Replays(
            self.registry,
            push_log,
            settings,
            lambda: ended_sessions is None or ended_sessions.is_current,
        )
        self.cluster = ClusterSync(push_log.writer, self.registry, settings)
        self.webhooks = webhooks
        self.watchlists = Watchlists(self.registry, self.cluster) if settings.watchlists else None
        self._idempotent_log = IdempotentLog(
            push_log.writer,
            timeout_seconds=settings.redis_timeout_seconds,
            cache_seconds=settings.cache_seconds,
        )
        self.caches = Caches(
            push_log.writer, self.registry, settings, self._until_sessions_are_known
        )
        self._user_budgets = UserBudgets(settings)
        self.api_budget = TokenBucket(
            settings.api_messages_per_second,
            settings.api_messages_at_once,
            asyncio.get_running_loop().time(),
        )
        self.draining = False
        self._connections: set[Connection] = set()
        self._limit = AddressLimit(
            each=settings.max_connections_per_address,
            # Also those that get a close code and have not ended yet.
            total=settings.max_connections + settings.max_http_connections,
            seconds=settings.address_seconds,
        )

    def admit(self, request: HTTPConnection) -> Place | None:
        """Return a place for a socket of this request's address, or None if it has too many."""
        place = self._limit.take(network_of(client_ip(request, self.settings.trusted_proxies)))
        if place is None:
            REFUSED.inc()
        return place

    def open(self, request: HTTPConnection, socket: PushSocket, place: Place, reply: bytes) -> None:
        """Send the reply to the handshake, and serve the socket or close it with a code.

        It was accepted before it is refused: pusher-js gets no close code from an HTTP error and
        would retry forever.
        """
        refusal = self._refusal(request)
        if refusal is not None:
            socket.write(reply)
            socket.close(refusal, refusal.name.replace("_", " ").lower())
            place.leave()
            return
        connection = Connection(
            _new_socket_id(),
            socket,
            self.registry,
            self.settings,
            self.publish,
            self.webhooks,
            place,
            self._user_budgets,
            self._ended_sessions,
            self._ended,
            self.replays,
            self.caches,
            self.watchlists,
        )
        self._connections.add(connection)
        SOCKETS.inc()
        OPENED.inc()
        socket.handle(connection)
        # One write with the first frame.
        connection.send(reply)
        connection.open()

    def _ended(self, connection: Connection) -> None:
        self._connections.discard(connection)
        SOCKETS.dec()

    async def publish_once(self, key: str, request: bytes, messages: Sequence[Message]) -> Outcome:
        """Publish all messages or none, unless the key is known. Raises PushLogUnavailable."""
        return await self._idempotent_log.append(key, request, messages)

    async def publish(self, *messages: Message) -> None:
        """Publish all messages or none to every gateway. Raises PushLogUnavailable."""
        await self._broadcast.publish(CHANNEL, messages)

    async def deliver(self, next_event: Callable[[], Awaitable[Event]]) -> None:
        """Deliver batches from broadcaster's subscription to the sockets, forever."""
        while True:
            batch = await next_event()
            assert isinstance(batch, Batch), "the push log reader is broadcaster's only backend"
            try:
                await self._until_sessions_are_known()
                await self._deliver(batch)
            except Exception:
                # The rest of the batch is not delivered, so all clients of this gateway must
                # reconnect.
                await self._disconnect_all("delivery failed", 0)
                raise
            finally:
                batch.done()

    def end_sessions(self, session_ids: Collection[UUID] | None) -> None:
        """Close the sockets of ended sessions; with None, those of all sessions, which reconnect
        and are authorized again.
        """
        code, reason = Close.UNAUTHORIZED, "session ended"
        if session_ids is None:
            session_ids = self.registry.sessions()
            code, reason = Close.RECONNECT, "sessions unknown"
        for session_id in session_ids:
            for connection in self.registry.connections_of_session(session_id):
                connection.close(code, reason)

    async def drain(self) -> None:
        """Refuse new connections and close all others, spread over the drain window.

        pusher-js reconnects at once after 4200 and has no jitter, so the gateway sets the pace.
        """
        self.draining = True
        await self.registry.flusher.drained()
        await self._disconnect_all("going away", self.settings.drain_seconds)

    def checks(self) -> Mapping[str, Check]:
        """Return the checks for /readyz: whether this gateway can accept clients."""
        return {
            "gateway.open": self._is_open,
            "gateway.redis": self._redis_answers,
            "gateway.push_log": self._is_read,
        }

    def terminate(self, user_id: str) -> None:
        for connection in self.registry.connections_of(user_id):
            connection.close(Close.UNAUTHORIZED, "terminated")

    async def _is_open(self) -> None:
        if self.draining:
            raise NotReady("draining")

    async def _redis_answers(self) -> None:
        if not await self.push_log.reachable():
            raise NotReady("redis does not answer")

    async def _is_read(self) -> None:
        if not self.push_log.is_current:
            raise NotReady("the push log is not being read")

    def _refusal(self, request: HTTPConnection) -> Close | None:
        key = protocol.app_key(request.scope["path"])
        if key != self.settings.key:
            return Close.WRONG_PATH if key is None else Close.UNKNOWN_APP
        origin = request.headers.get("origin")
        if origin is not None and not self.settings.allows_origin(origin):
            return Close.UNAUTHORIZED
        refusal = protocol.handshake_refusal(request.query_params.get("protocol"))
        if refusal is not None:
            return refusal
        # Without a position in the log, this client could miss messages that are published now.
        full = len(self._connections) >= self.settings.max_connections
        return (
            Close.OVER_CAPACITY if full or self.draining or not self.push_log.has_position else None
        )

    async def _until_sessions_are_known(self) -> None:
        """Wait before a delivery while a session may have ended without this gateway's knowledge.

        After PAUSE_SECONDS the sockets of all sessions are closed.
        """
        if self._ended_sessions is None:
            return
        try:
            await self._ended_sessions.until_current(PAUSE_SECONDS)
        except Unavailable:
            log.warning("ended sessions are not being read", seconds=PAUSE_SECONDS)
            self.end_sessions(None)

    async def _deliver(self, batch: Batch) -> None:
        if batch.gap:
            GAPS.inc()
            log.error("push log trimmed before it was read", entry=batch.entries[0].id)
            await self._disconnect_all("messages were missed", self.settings.gap_seconds)
        since_turn = 0
        for entry in batch.entries:
            await self._dispatch(entry)
            since_turn += len(entry.messages)
            if since_turn >= MESSAGES_PER_TURN:
                await asyncio.sleep(0)
                since_turn = 0

    async def _dispatch(self, entry: Entry) -> None:
        self.caches.delivered = entry.number
        for message in entry.messages:
            if message.terminated_user is not None:
                self.terminate(message.terminated_user)
            elif message.event == ROSTER_CHANGED and not message.channels:
                self._change_roster(message)
            elif message.event == ONLINE_CHANGED and not message.channels and self.watchlists:
                self.watchlists.changed(message.data)
        if entry.stamps:
            await self.replays.begin_epoch(entry)
        is_debug = log.is_enabled_for(logging.DEBUG)
        for name, message, seq in entry.deliveries():
            channel = self.registry.channel(name)
            if seq is not None:
                self.replays.note(entry, channel, name, seq)
            if channel is not None:
                data = entry.numbered_data(message, seq)
                frame = protocol.frame(message.event, data, name, message.user_id)
                subscribers = await self.registry.broadcast(
                    name,
                    frame,
                    message.excluded,
                    entry.appended_ms,
                    _state(name, message, entry, seq),
                )
                if is_debug:
                    _log_delivery(message, name, subscribers)
        for message in entry.messages if tracing.enabled() else ():
            if message.correlation_id is not None:
                appended_at = entry.appended_ms / 1_000
                tracing.record_span("gateway " + message.event, message.correlation_id, appended_at)

    def _change_roster(self, message: Message) -> None:
        try:
            change = decode_change(message.data)
        except msgspec.MsgspecError as error:
            # The next change of the roster names this one, so the roster is read again then.
            MALFORMED.inc()
            log.warning("change of a roster malformed", error=str(error))
            return
        self.registry.members.apply(change)

    async def _disconnect_all(self, reason: str, window_seconds: float) -> None:
        leaving = list(self._connections)
        random.shuffle(leaving)
        steps = max(1, int(window_seconds / DRAIN_STEP_SECONDS))
        per_step = max(1, math.ceil(len(leaving) / steps))
        for start in range(0, len(leaving), per_step):
            for connection in leaving[start : start + per_step]:
                connection.close(Close.RECONNECT, reason)
            if window_seconds:
                await asyncio.sleep(window_seconds / steps)


def _state(channel: str, message: Message, entry: Entry, seq: int | None) -> State | None:
    if message.key is None or message.version is None or seq is None:
        return None
    return State(channel, message.key, message.version, entry.stamps[0], seq)


def _log_delivery(message: Message, channel: str, subscribers: int) -> None:
    log.debug(
        "message delivered",
        event_name=message.event,
        channel=channel,
        subscribers=subscribers,
        correlation_id=str(message.correlation_id or ""),
    )


def _new_socket_id() -> str:
    """Return two numbers joined by a dot, the format that clients check.

    They are unguessable, since an authorization is bound to the socket id.
    """
    return f"{secrets.randbelow(10**10)}.{secrets.randbelow(10**10)}"
