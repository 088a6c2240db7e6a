"""The read side of the gateway's event loop: how much all sockets together pass to their parsers
in one iteration.

A frame of a client has six bytes or more, so a read of `read_bytes` has at most a sixth of that in
frames, whatever the client sends. A socket that finds the iteration's budget spent keeps its one
read and is served in the next iteration, before any new read and in order. So an iteration parses
at most its budget and one read, and every socket has its turn.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from backend.push.metrics import PAUSES, RECEIVED_BYTES, RECEIVED_FRAMES
from backend.push.settings import GatewaySettings


class Intake:
    """The budget of one event loop. `buffer` is what every socket reads into."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._frames_per_turn = settings.frames_per_turn
        self._bytes_per_turn = settings.bytes_per_turn
        self._frames = settings.frames_per_turn
        self._bytes = settings.bytes_per_turn
        self._waiting: deque[Callable[[], None]] = deque()
        self._scheduled = False
        self.buffer = memoryview(bytearray(settings.read_bytes))

    @property
    def exhausted(self) -> bool:
        return self._frames <= 0 or self._bytes <= 0

    def spend(self, frames: int, size: int) -> None:
        self._frames -= frames
        self._bytes -= size
        if not self._scheduled:
            self._schedule()

    def wait(self, proceed: Callable[[], None]) -> None:
        """Call `proceed` in an iteration that has budget left."""
        PAUSES.labels("turn").inc()
        self._waiting.append(proceed)
        if not self._scheduled:
            self._schedule()

    def _schedule(self) -> None:
        self._scheduled = True
        asyncio.get_running_loop().call_soon(self._begin_turn)

    def _begin_turn(self) -> None:
        self._scheduled = False
        # Count once for all sockets: the counters' locks cost as much as the checks.
        RECEIVED_FRAMES.inc(self._frames_per_turn - self._frames)
        RECEIVED_BYTES.inc(self._bytes_per_turn - self._bytes)
        self._frames = self._frames_per_turn
        self._bytes = self._bytes_per_turn
        while self._waiting and not self.exhausted:
            self._waiting.popleft()()
        if self._waiting and not self._scheduled:
            self._schedule()
