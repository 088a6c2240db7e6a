"""The send queue of a socket, and the flusher that writes the queues and the fan-outs in turns.

`SendQueue.send` only appends; the flusher writes after the callbacks of this loop iteration, the
frames of an iteration joined into one write.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from backend.push.backlog import Backlog, State
from backend.push.metrics import FRAMES
from backend.push.protocol import Close

# 500 writes of 6 µs occupy the event loop for 3 ms.
SOCKETS_PER_TURN: Final = 500
NO_STATES: Final[Mapping[bytes, State]] = {}


class Socket(Protocol):
    def write(self, frames: bytes, /) -> bool: ...

    def close(self, code: int, reason: str = "", /) -> None: ...


class Tick(Protocol):
    """A fan-out: see fan_out.py."""

    @property
    def writes(self) -> bool: ...

    def write(self) -> None: ...

    def write_some(self) -> int: ...


class Flusher:
    """In each loop iteration, writes the send queues that have frames, SOCKETS_PER_TURN at most,
    and a part of one fan-out. The fan-outs take turns, so a small channel never waits for a large
    one.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[SendQueue] = deque()
        self._fan_outs: deque[Tick] = deque()
        self._scheduled = False
        self._drained = asyncio.Event()
        self._drained.set()
        # The fan-outs whose tick has not ended, and the bytes of their frames.
        self.ticks: set[Tick] = set()
        self.waiting_bytes = 0

    def add(self, send_queue: "SendQueue") -> None:
        self._waiting.append(send_queue)
        self._schedule()

    def start(self, fan_out: Tick) -> None:
        """Write a fan-out, in turns with others."""
        self._fan_outs.append(fan_out)
        self._schedule()

    async def drained(self) -> None:
        """Wait until everything added so far is written. Always yields to the event loop once."""
        await asyncio.sleep(0)
        # A fan-out that is being written may have a tick of frames that came meanwhile.
        for _ in range(2):
            for tick in tuple(self.ticks):
                tick.write()
            await self._drained.wait()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._drained.clear()
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        written = sum(
            self._waiting.popleft().flush()
            for _ in range(min(len(self._waiting), SOCKETS_PER_TURN))
        )
        if self._fan_outs:
            fan_out = self._fan_outs.popleft()
            written += fan_out.write_some()
            if fan_out.writes:
                self._fan_outs.append(fan_out)
        # Count once for all sockets: the counter's lock costs a tenth of a write.
        FRAMES.inc(written)
        if self._waiting or self._fan_outs:
            self._loop.call_soon(self._flush)
        else:
            self._scheduled = False
            self._drained.set()


class SendQueue:
    """The frames that wait for one socket, in order; None when there are none.

    While the socket's client reads too slowly, frames wait in `backlog` instead, and `frames` is
    not None.
    """

    __slots__ = ("_flusher", "backlog", "frames", "socket", "socket_id")

    def __init__(self, socket_id: str, socket: Socket, flusher: Flusher) -> None:
        self.socket_id = socket_id
        self.socket = socket
        self._flusher = flusher
        self.frames: list[bytes] | None = None
        self.backlog: Backlog | None = None

    def send(self, *frames: bytes, states: Mapping[bytes, State] = NO_STATES) -> None:
        """Send frames. `states` are those of them that newer ones may replace."""
        if self.backlog is not None:
            self._add_to_backlog(self.backlog, frames, states)
            return
        if self.frames is None:
            self.frames = []
            self._flusher.add(self)
        self.frames += frames

    def flush(self) -> int:
        """Write the waiting frames. Returns the number that the socket accepted."""
        frames, self.frames = self.frames, None if self.backlog is None else []
        if not frames:
            return 0
        # A single frame is written without a copy: all sockets share the same bytes object.
        taken = self.socket.write(frames[0] if len(frames) == 1 else b"".join(frames))
        return len(frames) if taken else 0

    def lag(self, max_bytes: int) -> None:
        """Called when many bytes wait in the socket: keep at most this many more."""
        if self.backlog is None:
            self.backlog = Backlog(max_bytes)
            self.frames = self.frames or []

    def catch_up(self) -> None:
        """Called when the client has read most of the bytes that waited in the socket."""
        backlog, self.backlog = self.backlog, None
        if backlog is not None:
            # Those that came before the backlog may still wait for the flusher.
            self.frames = self.frames or None
            self.send(*backlog.take())

    def close(self, code: int, reason: str = "") -> None:
        """Write the waiting frames, which may explain the close code, then close."""
        FRAMES.inc(self.flush())
        self.socket.close(code, reason)

    def _add_to_backlog(
        self, backlog: Backlog, frames: Sequence[bytes], states: Mapping[bytes, State]
    ) -> None:
        for frame in frames:
            if not backlog.add(frame, states.get(frame)):
                self.backlog = None
                self.close(Close.RECONNECT, "reads too slowly")
                return
