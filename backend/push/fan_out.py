"""The fan-out of a channel: the frames of a tick, joined once, and written to every subscriber.

A tick begins with the first frame and lasts about as long as the write to all subscribers, up to
MAX_TICK_SECONDS. So frames of a busy channel share their writes, the more the longer a
write to all takes, and the event loop has about half of its time for everything else. A channel
with few subscribers is written at once.

Frames keep their order within a channel. A socket may get the frames of two channels, or a reply to
its own message, in another order than they were sent.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final

from backend.push.backlog import State
from backend.push.metrics import LAG
from backend.push.send_queue import SOCKETS_PER_TURN, Flusher, SendQueue
from backend.push.settings import SLICE_BYTES

# One write(2).
WRITE_SECONDS: Final = 0.000005
# Fewer subscribers are written at once: waiting saves less than a timer costs.
FEW: Final = 200
# Two calls of a publisher, one after the other, are as far apart.
MIN_TICK_SECONDS: Final = 0.002
MAX_TICK_SECONDS: Final = 0.1


class FanOut:
    """The frames that wait for the subscribers of one channel, and the write in progress."""

    __slots__ = (
        "_appended_ms",
        "_at",
        "_excluded",
        "_flusher",
        "_frames",
        "_joined",
        "_own",
        "_recipients",
        "_size",
        "_starts",
        "_states",
        "_timer",
        "_to",
        "_writing",
        "_writing_states",
        "_written_ms",
    )

    def __init__(self, flusher: Flusher, recipients: Callable[[], tuple[SendQueue, ...]]) -> None:
        self._flusher = flusher
        self._recipients = recipients
        self._timer: asyncio.Handle | None = None
        self._begin_tick()
        # Of the write in progress: the subscribers, the position among them, the frames and their
        # bytes, and the frames of those sockets that do not get all of them.
        self._to: tuple[SendQueue, ...] | None = None
        self._at = 0
        self._writing: list[bytes] = []
        self._writing_states: dict[bytes, State] = {}
        self._joined = b""
        self._own: dict[str, list[bytes]] = {}
        self._written_ms: int | None = None

    def _begin_tick(self) -> None:
        self._frames: list[bytes] = []
        self._size = 0
        self._appended_ms: int | None = None
        # By socket id: the frames that it does not get, and the first that it gets.
        self._excluded: dict[str, set[int]] = {}
        self._starts: dict[str, int] = {}
        # Those frames that newer ones may replace.
        self._states: dict[bytes, State] = {}

    # A tick.

    def add(
        self,
        frame: bytes,
        excluded: Iterable[str] = (),
        appended_ms: int | None = None,
        state: State | None = None,
    ) -> None:
        """Send a frame to all subscribers except the excluded sockets.

        `appended_ms` is the time of its message's append to the push log, if it has one. With a
        `state` it may be replaced, for a socket that reads too slowly.
        """
        if state is not None:
            self._states[frame] = state
        for socket_id in excluded:
            self._excluded.setdefault(socket_id, set()).add(len(self._frames))
        self._frames.append(frame)
        self._size += len(frame)
        self._flusher.waiting_bytes += len(frame)
        if self._appended_ms is None:
            self._appended_ms = appended_ms
        if self._to is not None:
            return
        if self._timer is None:
            self._schedule()
        elif self._size > SLICE_BYTES:
            self.write()

    def begin(self, socket_id: str) -> None:
        """The socket gets the frames from the next one on. Call this when it subscribes."""
        if self._frames:
            self._starts[socket_id] = len(self._frames)

    def waiting(self, socket_id: str) -> list[bytes]:
        """Return the frames of the present tick that wait for the socket."""
        return self._frames_of(socket_id)

    def cancel(self) -> None:
        """The channel has no subscribers."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._flusher.ticks.discard(self)
        self._flusher.waiting_bytes -= self._size
        self._begin_tick()

    def _schedule(self) -> None:
        count = len(self._recipients())
        loop = asyncio.get_running_loop()
        if count < FEW:
            self._timer = loop.call_soon(self.write)
        else:
            seconds = min(MAX_TICK_SECONDS, MIN_TICK_SECONDS + count * WRITE_SECONDS)
            self._timer = loop.call_later(seconds, self.write)
        self._flusher.ticks.add(self)

    def _frames_of(self, socket_id: str) -> list[bytes]:
        excluded = self._excluded.get(socket_id, ())
        start = self._starts.get(socket_id, 0)
        return [self._frames[at] for at in range(start, len(self._frames)) if at not in excluded]

    # The write.

    def write(self) -> None:
        """End the tick: begin to write its frames."""
        assert self._timer is not None
        self._timer.cancel()
        self._timer = None
        self._flusher.ticks.discard(self)
        self._flusher.waiting_bytes -= self._size
        self._written_ms = self._appended_ms
        # Later subscribers are not among these.
        self._to, self._at = self._recipients(), 0
        self._own = {
            socket_id: self._frames_of(socket_id) for socket_id in (*self._excluded, *self._starts)
        }
        # A single frame is written without a copy: all sockets share the same bytes object.
        frames = self._writing = self._frames
        self._writing_states = self._states
        self._joined = frames[0] if len(frames) == 1 else b"".join(frames)
        self._begin_tick()
        self._flusher.start(self)

    def write_some(self) -> int:
        """Write to the next SOCKETS_PER_TURN subscribers. Returns the number of frames.

        The hot path: each microsecond here is paid a million times a second for a hot show. So the
        bytes are joined once and shared, a socket with nothing of its own waiting gets them by one
        system call (`PushSocket.write`), and the loop has no closure and looks up nothing else.
        """
        own, joined, frames, written = self._own, self._joined, self._writing, 0
        assert self._to is not None
        for recipient in self._to[self._at : self._at + SOCKETS_PER_TURN]:
            if own and recipient.socket_id in own:
                recipient.send(*own[recipient.socket_id], states=self._writing_states)
            elif recipient.frames is not None:
                recipient.send(*frames, states=self._writing_states)
            elif recipient.socket.write(joined):
                written += 1
        self._at += SOCKETS_PER_TURN
        if self._at >= len(self._to):
            self._finish()
        return written * len(frames)

    @property
    def writes(self) -> bool:
        """Whether a write is in progress."""
        return self._to is not None

    def _finish(self) -> None:
        if self._written_ms is not None:
            LAG.observe(max(0.0, time.time() - self._written_ms / 1_000))
        self._to, self._writing, self._joined, self._own = None, [], b"", {}
        self._writing_states = {}
        if self._frames:
            self._schedule()
