"""uvicorn's protocols, extended: the gateway's HTTP connections are counted, and its sockets have
a budget for what they receive and let the application write encoded frames to the transport.

The ASGI `send` encodes each frame again for each socket and costs three times as much. The
application finds the socket in `scope["extensions"]["gittix.socket"]`, and still accepts, receives
and detects the disconnect through ASGI. No bytes are dropped silently: a write is accepted in full,
or the socket is closed with a code that makes the client reconnect.

Every frame counts, also pings, pongs and fragments, which the application never receives. The
budgets are checked before a read is parsed, and a read has few frames (`intake`).
"""

import asyncio
from typing import Any, Final, cast

from uvicorn._types import ASGIReceiveEvent
from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.protocol import State

from backend.kernel.client_address import is_trusted, network_of
from backend.kernel.http_protocol import BoundedHttp, Connections
from backend.push.address_limit import AddressLimit, Place
from backend.push.intake import Intake, SmallReads
from backend.push.metrics import CLOSES, PAUSES
from backend.push.protocol import Close
from backend.push.settings import GatewaySettings

EXTENSION: Final = "gittix.socket"
# Bounds the timers of a socket that stays above its budget.
MIN_PAUSE_SECONDS: Final = 0.05
BAD_HANDSHAKE: Final = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class PushSocket(WebSocketsSansIOProtocol):
    """One client's socket."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        settings: GatewaySettings,
        intake: Intake,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.close_timeout = settings.close_timeout_seconds
        self.buffer_limit_bytes = settings.send_buffer_limit_bytes
        self.received_at = self.loop.time()
        self._settings = settings
        self._intake = intake
        # The time at which an evenly sending client would have sent what this one has sent.
        self._paid_until = self.received_at
        self._above_budget_since: float | None = None
        self._pause: asyncio.TimerHandle | None = None
        # One read that waits for an iteration of the event loop with budget left.
        self._held = b""

    def connection_lost(self, exc: Exception | None) -> None:
        if self._pause is not None:
            self._pause.cancel()
        super().connection_lost(exc)

    # The handshake.

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            # The application's task is scheduled but has not started, so it finds the extension.
            cast(dict[str, Any], self.scope["extensions"])[EXTENSION] = self

    def _receive_handshake(self, data: bytes) -> None:
        if self.handshake_initiated:
            # RFC 6455, 4.1: a client sends no frame before it has the reply.
            self.transport.abort()
            return
        super().data_received(data)
        if not self.handshake_initiated:
            # The parser refused the request, and uvicorn sends no reply.
            self.transport.write(b"".join(self.conn.data_to_send()) or BAD_HANDSHAKE)
            self._close_transport()

    def refuse(self, status: int, text: str) -> None:
        """Reply to the handshake with an HTTP error."""
        if not self.transport.is_closing():
            self.conn.send_response(self.conn.reject(status, text))
            self.handshake_complete = self.close_sent = True
            self.transport.write(b"".join(self.conn.data_to_send()))
            self._close_transport()

    # Receiving. Reading pauses while the application has a message, while a read is held, and
    # while the socket is above its budget.

    def data_received(self, data: bytes) -> None:
        if not self.handshake_complete:
            self._receive_handshake(data)
            return
        self.received_at = now = self.loop.time()
        if self._intake.exhausted:
            if not self._held:
                self._intake.wait(self._parse_held)
            self._held += data
            self.transport.pause_reading()
        else:
            self._parse(data, now)

    def _parse_held(self) -> None:
        data, self._held = self._held, b""
        if not self.transport.is_closing():
            self._parse(data, self.loop.time())
            self._resume_reading()

    def _parse(self, data: bytes, now: float) -> None:
        self.conn.receive_data(data)
        frames = len(self.conn.events)
        if self.conn.parser_exc is not None:
            self.handle_parser_exception()
        else:
            self.handle_events()
        # Without this, a frame sent byte by byte would be a hundred reads for the price of one.
        if not frames and len(data) < self._settings.read_bytes:
            frames = 1
        self._intake.spend(frames, len(data))
        self._charge(frames, len(data), now)

    def _charge(self, frames: int, size: int, now: float) -> None:
        """Pause reading, or close the socket, when the client has sent more than its budget."""
        settings = self._settings
        self._paid_until = (
            max(self._paid_until, now)
            + frames / settings.frames_per_second
            + size / settings.bytes_per_second
        )
        ahead = self._paid_until - now
        if ahead > settings.burst_seconds:
            self._pause_reading(ahead - settings.burst_seconds, now)
        elif ahead < settings.burst_seconds / 2:
            self._above_budget_since = None

    def _pause_reading(self, seconds: float, now: float) -> None:
        PAUSES.labels("socket").inc()
        if self._above_budget_since is None:
            self._above_budget_since = now
        elif now - self._above_budget_since >= self._settings.flood_seconds:
            self.close(Close.OVER_CAPACITY, "sends too much")
        self.transport.pause_reading()
        self._pause = self.loop.call_later(max(seconds, MIN_PAUSE_SECONDS), self._end_pause)

    def _end_pause(self) -> None:
        self._pause = None
        self._resume_reading()

    def _resume_reading(self) -> None:
        if not self._held and self._pause is None and not self.read_paused:
            self.transport.resume_reading()

    async def receive(self) -> ASGIReceiveEvent:
        message = await self.queue.get()
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            self._resume_reading()
        return message

    # Frames.

    def handle_bytes(self, event: Frame) -> None:  # noqa: ARG002
        self.frames = []
        self.close(Close.UNSUPPORTED_DATA, "text only")

    def handle_cont(self, event: Frame) -> None:
        if self.close_sent:
            return
        if len(self.frames) >= self._settings.max_fragments:
            self.close(Close.OVER_CAPACITY, "too many fragments")
            return
        super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        data, self.frames = b"".join(self.frames), []
        if self.close_sent:
            return
        try:
            text = data.decode()
        except UnicodeDecodeError:
            self.close(Close.INVALID_DATA, "not UTF-8")
            return
        self.queue.put_nowait({"type": "websocket.receive", "text": text})
        self.read_paused = True
        self.transport.pause_reading()

    def handle_ping(self) -> None:
        super().handle_ping()
        # A peer that sends pings and never reads would fill the buffer with our pongs.
        self._close_if_over(0)

    def handle_close(self, event: Frame) -> None:
        super().handle_close(event)
        self._close_transport()

    def handle_parser_exception(self) -> None:
        super().handle_parser_exception()
        self._close_transport()

    # Sending.

    @property
    def open(self) -> bool:
        return (
            self.handshake_complete
            and not self.close_sent
            and not self.disconnected
            and not self.transport.is_closing()
        )

    def write(self, frames: bytes) -> bool:
        """Write complete frames.

        Returns False when the socket is closed, or when this call closes it because the client
        reads too slowly.
        """
        # The hot path of the gateway: `open` and `_close_if_over` are inlined.
        transport = self.transport
        if (
            self.close_sent
            or self.disconnected
            or not self.handshake_complete
            or transport.is_closing()
        ):
            return False
        if transport.get_write_buffer_size() + len(frames) > self.buffer_limit_bytes:
            self._close_if_over(len(frames))
            return False
        transport.write(frames)
        return True

    def close(self, code: int, reason: str = "") -> None:
        """Start the closing handshake; abort the transport if it takes longer than `close_timeout`.

        `transport.close()` alone waits for the buffer to drain, which never happens when the peer
        stopped reading.
        """
        # A read may contain the client's close frame after the frame that makes us close.
        if not self.open or self.conn.state is not State.OPEN:
            return
        CLOSES.labels(int(code), reason).inc()
        self.conn.send_close(code, reason)
        self.close_sent = True
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.read_paused = False
        self._resume_reading()
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)

    def _close_transport(self) -> None:
        """Close the transport, and abort it if the client does not read the remaining bytes."""
        self.transport.close()
        if self.close_timer is None and not self.disconnected:
            self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)

    def _close_if_over(self, added_bytes: int) -> bool:
        if self.transport.get_write_buffer_size() + added_bytes <= self.buffer_limit_bytes:
            return False
        self.close(Close.RECONNECT, "reads too slowly")
        return True


class GatewayHttp(BoundedHttp):
    """A connection before it becomes a socket, counted by the address of its peer."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        connections: Connections,
        settings: GatewaySettings,
        intake: Intake,
        limit: AddressLimit,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop, connections=connections)
        self._settings = settings
        self._intake = intake
        self._limit = limit
        self._place: Place | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        address = self.client[0] if self.client else ""
        # A proxy has the connections of all its clients; it bounds those of each.
        if address and not is_trusted(address, self._settings.trusted_proxies):
            self._place = self._limit.take(network_of(address))
            if self._place is None:
                self.abort("too_many_connections_of_address")

    def connection_lost(self, exc: Exception | None) -> None:
        self._release()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        super().handle_websocket_upgrade()
        self._release()
        self.transport.set_protocol(
            SmallReads(cast(asyncio.Protocol, self.transport.get_protocol()), self._intake.buffer)
        )

    def _release(self) -> None:
        if self._place is not None:
            self._place.release()
