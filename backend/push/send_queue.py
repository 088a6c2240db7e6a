"""What leaves for one socket, and the flusher that writes what a tick produced for it as one write.

`SendQueue.send` costs an append; the write happens once the callbacks of this tick are done. A fan-out that enqueues in
slices waits on `Flusher.drained` between them, so what waits here for a socket stays near one slice.
"""

import asyncio
from collections import deque
from typing import Final, Protocol

from backend.push.metrics import FRAMES

# 500 writes of 4 µs keep the loop for 2 ms.
SOCKETS_PER_TURN: Final = 500


class Socket(Protocol):
    def write(self, frames: bytes, /) -> bool: ...

    def close(self, code: int, reason: str = "", /) -> None: ...


class Flusher:
    """Writes the outlets that have something to send, a bounded number of them a turn of the loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[SendQueue] = deque()
        self._scheduled = False
        self._drained = asyncio.Event()
        self._drained.set()

    def add(self, send_queue: "SendQueue") -> None:
        self._waiting.append(send_queue)
        if not self._scheduled:
            self._scheduled = True
            self._drained.clear()
            self._loop.call_soon(self._flush)

    async def drained(self) -> None:
        """Return when everything added so far is written; always lets the loop turn once."""
        await asyncio.sleep(0)
        await self._drained.wait()

    def _flush(self) -> None:
        # One count a turn: a counter's lock costs a tenth of a write.
        FRAMES.inc(
            sum(
                self._waiting.popleft().flush()
                for _ in range(min(len(self._waiting), SOCKETS_PER_TURN))
            )
        )
        if self._waiting:
            self._loop.call_soon(self._flush)
        else:
            self._scheduled = False
            self._drained.set()


class SendQueue:
    """The frames that wait for one socket in this tick, in order."""

    __slots__ = ("_flusher", "_frames", "socket")

    def __init__(self, socket: Socket, flusher: Flusher) -> None:
        self.socket = socket
        self._flusher = flusher
        self._frames: list[bytes] = []

    def send(self, frame: bytes) -> None:
        if not self._frames:
            self._flusher.add(self)
        self._frames.append(frame)

    def flush(self) -> int:
        """Write what waits; how many frames the socket took."""
        frames = self._frames
        if not frames:
            return 0
        self._frames = []
        # Alone, the frame's own bytes go out: the same object to every socket.
        taken = self.socket.write(frames[0] if len(frames) == 1 else b"".join(frames))
        return len(frames) if taken else 0

    def close(self, code: int, reason: str = "") -> None:
        """Write what waits, then close: an error that explains the code must come before it."""
        FRAMES.inc(self.flush())
        self.socket.close(code, reason)
