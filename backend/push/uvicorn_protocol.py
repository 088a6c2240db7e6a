"""uvicorn's WebSocket protocol, extended so that the application can write encoded frames to the
transport.

The ASGI `send` encodes each frame again for each socket and costs three times as much. The
application finds the socket in `scope["extensions"]["gittix.socket"]`, and still accepts, receives
and detects the disconnect through ASGI. No bytes are dropped silently: a write is accepted in full,
or the socket is closed with a code that makes the client reconnect.
"""

import asyncio
from typing import Any, Final, cast

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.http11 import Request

from backend.push.metrics import CLOSES
from backend.push.protocol import Close

EXTENSION: Final = "gittix.socket"


class PushSocket(WebSocketsSansIOProtocol):
    """One client's socket. Set `buffer_limit_bytes` and `close_timeout` before the first write."""

    buffer_limit_bytes = 1_048_576

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.received_at = self.loop.time()

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            # The application's task is scheduled but has not started, so it finds the extension.
            cast(dict[str, Any], self.scope["extensions"])[EXTENSION] = self

    def data_received(self, data: bytes) -> None:
        self.received_at = self.loop.time()
        super().data_received(data)

    def handle_ping(self) -> None:
        super().handle_ping()
        # A peer that sends pings and never reads would fill the buffer with our pongs.
        self._close_if_over(0)

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
        if not self.open:
            return
        CLOSES.labels(int(code), reason).inc()
        self.conn.send_close(code, reason)
        self.close_sent = True
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)

    def _close_if_over(self, added_bytes: int) -> bool:
        if self.transport.get_write_buffer_size() + added_bytes <= self.buffer_limit_bytes:
            return False
        self.close(Close.RECONNECT, "reads too slowly")
        return True
