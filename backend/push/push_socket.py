"""A client's WebSocket after its handshake: an asyncio protocol with as little as possible for each
socket.

An idle socket is this object, its Connection and its transport: no task, no queue, no buffer. A
task runs only while a message of the client is being handled. Encoded frames are written to the
file descriptor itself. No bytes are dropped silently: a write is accepted in full, or the socket is
closed with a code that makes the client reconnect.

Every frame counts, also pings, pongs and fragments. The budgets are checked before a read is
parsed, and a read has few frames (`intake`).
"""

import asyncio
import os
from collections import deque
from typing import Any, Final, Protocol, cast

import structlog
from uvicorn.server import ServerState
from websockets.frames import CloseCode

from backend.push.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FIN,
    OPCODE,
    PING,
    TEXT,
    BrokenFrame,
    broken,
    check_close,
    close_frame,
    control_frame,
    read_frame,
)
from backend.push.intake import Intake
from backend.push.metrics import CLOSES, PAUSES
from backend.push.protocol import Close
from backend.push.settings import GatewaySettings

# Bounds the timers of a socket that stays above its budget.
MIN_PAUSE_SECONDS: Final = 0.05
PONG: Final = 0xA
NO_FILE: Final = -1
DATA: Final = (TEXT, CONTINUATION, BINARY)

log = structlog.get_logger()


class MessageHandler(Protocol):
    async def handle_message(self, text: str) -> None: ...

    def lag(self, max_bytes: int) -> None: ...

    def catch_up(self) -> None: ...

    def ended(self) -> None:
        """Called once, after the last message was handled."""


class PushSocket(asyncio.BufferedProtocol):
    """One client's socket. `transport` is connected and has this protocol."""

    __slots__ = (
        "__weakref__",
        "_above_budget_since",
        "_buffering",
        "_close_timer",
        "_fd",
        "_fragments",
        "_handler",
        "_held",
        "_intake",
        "_loop",
        "_messages",
        "_paid_until",
        "_parsing",
        "_pause",
        "_rest",
        "_server_state",
        "_settings",
        "_worker",
        "received_at",
        "transport",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        settings: GatewaySettings,
        intake: Intake,
        server_state: ServerState,
    ) -> None:
        self.transport = transport
        self._settings = settings
        self._intake = intake
        self._server_state = server_state
        self._loop = asyncio.get_running_loop()
        # NO_FILE once nothing more may be written: the kernel gives the number to another file.
        self._fd: int = transport.get_extra_info("socket").fileno()
        # Whether bytes may wait in the transport; replies to earlier requests may.
        self._buffering = True
        self._handler: MessageHandler | None = None
        high = settings.high_water_bytes
        transport.set_write_buffer_limits(high=high, low=high // 4)
        self._close_timer: asyncio.TimerHandle | None = None
        self.received_at = self._loop.time()
        # The time at which an evenly sending client would have sent what this one has sent.
        self._paid_until = self.received_at
        self._above_budget_since: float | None = None
        self._pause: asyncio.TimerHandle | None = None
        # One read that waits for an iteration of the event loop with budget left.
        self._held = b""
        # The beginning of an incomplete frame; the payloads of an incomplete message.
        self._rest = b""
        self._fragments: list[bytes] | None = None
        # False after the client's close frame, or its violation of the protocol.
        self._parsing = True
        # The messages that wait for the one that is being handled.
        self._messages: deque[str] | None = None
        self._worker: asyncio.Task[None] | None = None
        server_state.connections.add(cast(Any, self))

    def handle(self, handler: MessageHandler) -> None:
        """Pass the client's messages to the handler, one after the other."""
        self._handler = handler

    # The transport.

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """All sockets read into one buffer, at most `read_bytes` at a time; the rest stays in the
        kernel.
        """
        return self._intake.buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(self._intake.buffer[:nbytes])
        self.received_at = now = self._loop.time()
        if self._intake.exhausted:
            if not self._held:
                self._intake.wait(self._parse_held)
            self._held += data
            self.transport.pause_reading()
        else:
            self._parse(data, now)

    def eof_received(self) -> None:
        """The client sends no more. If it does not read either, its remaining bytes would keep the
        transport open.
        """
        self._close_transport()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._fd = NO_FILE
        for timer in (self._pause, self._close_timer):
            if timer is not None:
                timer.cancel()
        self._server_state.connections.discard(cast(Any, self))
        self._finish()

    def pause_writing(self) -> None:
        if self._handler is not None:
            settings = self._settings
            self._handler.lag(settings.send_buffer_limit_bytes - settings.high_water_bytes)

    def resume_writing(self) -> None:
        if self._handler is not None:
            self._handler.catch_up()

    def shutdown(self) -> None:
        """Called by uvicorn when the server exits."""
        self._send_close(CloseCode.SERVICE_RESTART, "")
        self.transport.close()

    # Receiving. Reading pauses while a read is held, while the socket is above its budget, and
    # after a read with further messages while a message is being handled.

    def _parse_held(self) -> None:
        data, self._held = self._held, b""
        if not self.transport.is_closing():
            self._parse(data, self._loop.time())
            self._resume_reading()

    def _parse(self, data: bytes, now: float) -> None:
        busy = self._worker is not None
        frames = self._read_frames(self._rest + data) if self._parsing else 0
        if busy and self._messages:
            self.transport.pause_reading()
        # Without this, a frame sent byte by byte would be a hundred reads for the price of one.
        if not frames and len(data) < self._settings.read_bytes:
            frames = 1
        self._intake.spend(frames, len(data))
        self._charge(frames, len(data), now)

    def _read_frames(self, data: bytes) -> int:
        """Handle the complete frames and keep the rest. Returns their number."""
        at = frames = 0
        try:
            while self._parsing:
                found = read_frame(data, at, self._room())
                if found is None:
                    break
                first, payload, at = found
                frames += 1
                self._handle_frame(first, payload)
        except BrokenFrame as error:
            self._parsing = False
            self._begin_close(error.code, error.reason)
            # Not closed at once: the kernel would reply to unread bytes with a reset, by which the
            # client could lose the close frame.
            if not self.transport.is_closing():
                self.transport.write_eof()
        self._rest = data[at:] if self._parsing else b""
        return frames

    def _room(self) -> int:
        """The bytes that the message of the next frame may still have."""
        most = self._settings.max_frame_bytes
        return most if self._fragments is None else most - sum(map(len, self._fragments))

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
        self._pause = self._loop.call_later(max(seconds, MIN_PAUSE_SECONDS), self._end_pause)

    def _end_pause(self) -> None:
        self._pause = None
        self._resume_reading()

    def _resume_reading(self) -> None:
        if not self._held and self._pause is None and not self._messages:
            self.transport.resume_reading()

    # Frames.

    def _handle_frame(self, first: int, payload: bytes) -> None:
        opcode = first & OPCODE
        if opcode in DATA:
            self._handle_data(opcode, payload, last=bool(first & FIN))
        elif opcode == PING:
            if self.open:
                # A peer that sends pings and never reads would fill the buffer with our pongs.
                self.write(control_frame(PONG, payload))
        elif opcode == CLOSE:
            self._handle_close(payload)

    def _handle_data(self, opcode: int, payload: bytes, *, last: bool) -> None:
        if not self.open:
            return
        if (opcode == CONTINUATION) != (self._fragments is not None):
            raise broken("unexpected fragment" if self._fragments is None else "no continuation")
        if opcode == BINARY:
            self.close(Close.UNSUPPORTED_DATA, "text only")
            return
        if self._fragments is not None:
            if len(self._fragments) >= self._settings.max_fragments:
                self.close(Close.OVER_CAPACITY, "too many fragments")
                return
            payload = b"".join((*self._fragments, payload)) if last else payload
        if last:
            self._fragments = None
            self._handle_text(payload)
        else:
            self._fragments = [*(self._fragments or ()), payload]

    def _handle_text(self, payload: bytes) -> None:
        try:
            text = payload.decode()
        except UnicodeDecodeError:
            self.close(Close.INVALID_DATA, "not UTF-8")
            return
        if self._messages is None:
            self._messages = deque()
        self._messages.append(text)
        if self._worker is None:
            self._worker = self._loop.create_task(self._handle_messages())
            self._server_state.tasks.add(self._worker)

    async def _handle_messages(self) -> None:
        assert self._handler is not None
        assert self._worker is not None
        try:
            while self._messages and self.open:
                await self._handler.handle_message(self._messages.popleft())
        except Exception:
            log.exception("a message could not be handled")
            self._send_close(CloseCode.INTERNAL_ERROR, "")
            self._close_transport()
        finally:
            self._server_state.tasks.discard(self._worker)
            self._worker = self._messages = None
            if self.open:
                self._resume_reading()
            else:
                self._finish()

    def _handle_close(self, payload: bytes) -> None:
        check_close(payload)
        if self._fragments is not None and self.open:
            raise broken("incomplete message")
        if self.open:
            self.write(control_frame(CLOSE, payload))
        self._close_transport()

    # Sending.

    @property
    def open(self) -> bool:
        """Whether frames may be written: neither side has sent a close frame."""
        return self._fd != NO_FILE

    def write(self, frames: bytes) -> bool:
        """Write complete frames.

        Returns False when the socket is closed, or when this call closes it because the client
        reads too slowly.
        """
        # The hot path of the gateway. A transport would queue each write until the end of the
        # iteration; while it has nothing to write, a system call can pass it by. An exception costs
        # nothing unless it is raised, so neither a full nor a closed socket is checked for.
        if self._buffering:
            return self._write_buffered(frames)
        try:
            sent = os.write(self._fd, frames)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._abort()
            return False
        if sent != len(frames):
            self._buffering = True
            self.transport.write(frames[sent:])
        return True

    def _write_buffered(self, frames: bytes) -> bool:
        if self._fd == NO_FILE:
            return False
        waiting = self.transport.get_write_buffer_size()
        if not waiting:
            self._buffering = False
            return self.write(frames)
        if waiting + len(frames) > self._settings.send_buffer_limit_bytes:
            self.close(Close.RECONNECT, "reads too slowly")
            return False
        self.transport.write(frames)
        return True

    def _abort(self) -> None:
        """The kernel refused a write: the client has reset the connection, or it is closed."""
        if self._fd != NO_FILE:
            self._fd = NO_FILE
            self.transport.abort()

    def close(self, code: int, reason: str = "") -> None:
        """Start the closing handshake; abort the transport if it takes longer than
        `close_timeout_seconds`.

        `transport.close()` alone waits for the buffer to drain, which never happens when the peer
        stopped reading.
        """
        if not self.open:
            return
        CLOSES.labels(int(code), reason).inc()
        self._begin_close(code, reason)

    def _begin_close(self, code: int, reason: str) -> None:
        self._send_close(code, reason)
        self._messages = None
        self._resume_reading()
        self._abort_later()

    def _send_close(self, code: int, reason: str) -> None:
        if self.open:
            frame = close_frame(code, reason)
            # Also above the limit of waiting bytes: it is the last frame.
            if not self._buffering:
                self.write(frame)
            else:
                self.transport.write(frame)
            self._fd = NO_FILE
            # Not at once: the caller may be handling this socket.
            self._loop.call_soon(self._finish)

    def _close_transport(self) -> None:
        """Close the transport, and abort it if the client does not read the remaining bytes."""
        self._fd = NO_FILE
        self._parsing = False
        self._loop.call_soon(self._finish)
        self.transport.close()
        self._abort_later()

    def _abort_later(self) -> None:
        if self._close_timer is None and cast(Any, self) in self._server_state.connections:
            self._close_timer = self._loop.call_later(
                self._settings.close_timeout_seconds, self.transport.abort
            )

    def _finish(self) -> None:
        """End the handler once, but not while it handles a message, which may still subscribe."""
        if self._handler is not None and self._worker is None:
            handler, self._handler = self._handler, None
            handler.ended()
