"""The send queue of a socket, and the flusher that joins the frames of one loop iteration into one
write.

`SendQueue.send` only appends; the flusher writes after the callbacks of this loop iteration. A
broadcast enqueues in slices and waits for `Flusher.drained` between them, so a queue holds about
one slice at most.
"""

import asyncio
from collections import deque
from typing import Final, Protocol

from backend.push.metrics import FRAMES

# 500 writes of 4 µs occupy the event loop for 2 ms.
SOCKETS_PER_TURN: Final = 500


class Socket(Protocol):
    def write(self, frames: bytes, /) -> bool: ...

    def close(self, code: int, reason: str = "", /) -> None: ...


class Flusher:
    """Writes the send queues that have frames, SOCKETS_PER_TURN in each loop iteration."""

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
        """Wait until everything added so far is written. Always yields to the event loop once."""
        await asyncio.sleep(0)
        await self._drained.wait()

    def _flush(self) -> None:
        # Count once for all sockets: the counter's lock costs a tenth of a write.
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
    """The frames that wait for one socket, in order."""

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
        """Write the waiting frames. Returns the number that the socket accepted."""
        frames = self._frames
        if not frames:
            return 0
        self._frames = []
        # A single frame is written without a copy: all sockets share the same bytes object.
        taken = self.socket.write(frames[0] if len(frames) == 1 else b"".join(frames))
        return len(frames) if taken else 0

    def close(self, code: int, reason: str = "") -> None:
        """Write the waiting frames, which may explain the close code, then close."""
        FRAMES.inc(self.flush())
        self.socket.close(code, reason)
