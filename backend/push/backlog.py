"""What waits for a socket whose client reads too slowly: every event, and the newest state of each
key.

A message with a key is state: a higher version of the key replaces it, and a client that gets only
the newest loses nothing. So a ticket that changes a hundred times while a phone is in a tunnel
costs one message, not a hundred. Messages without a key, such as orders, all wait, in order.

Before the rest the client gets `gittix:skipped` with the range of the numbers that are left out. It
must not take them for a gap.
"""

from typing import NamedTuple

from backend.push import protocol
from backend.push.metrics import CONFLATED

SKIPPED = "gittix:skipped"


class State(NamedTuple):
    """The place of a message in the state of a channel."""

    channel: str
    key: str
    version: int
    epoch: int
    seq: int


class Backlog:
    """The frames of one socket in order, up to `max_bytes`."""

    __slots__ = ("_count", "_frames", "_max_bytes", "_newest", "_size", "_skipped")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._count = 0
        self._frames: dict[int, bytes] = {}
        self._size = 0
        # By channel and key: the newest state, and the number of its frame.
        self._newest: dict[tuple[str, str], tuple[State, int]] = {}
        # By channel and epoch: the lowest and the highest number that is left out.
        self._skipped: dict[tuple[str, int], tuple[int, int]] = {}

    def add(self, frame: bytes, state: State | None = None) -> bool:
        """Add a frame, unless a newer state of its key waits. Returns whether it has room."""
        if state is not None and not self._is_newest(state):
            return True
        self._count += 1
        self._frames[self._count] = frame
        self._size += len(frame)
        if state is not None:
            self._newest[state.channel, state.key] = state, self._count
        return self._size <= self._max_bytes

    def take(self) -> list[bytes]:
        """Return the frames, after the reports of the numbers that are left out."""
        reports = [
            protocol.json_frame(
                SKIPPED, {"channel": name, "epoch": epoch, "from": first, "to": last}, name
            )
            for (name, epoch), (first, last) in self._skipped.items()
        ]
        return [*reports, *self._frames.values()]

    def _is_newest(self, state: State) -> bool:
        """Leave out the older one of two states of a key. Returns whether this is the newer."""
        waiting = self._newest.get((state.channel, state.key))
        if waiting is None:
            return True
        other, at = waiting
        if state.version < other.version:
            self._skip(state)
            return False
        self._skip(other)
        self._size -= len(self._frames.pop(at))
        return True

    def _skip(self, state: State) -> None:
        CONFLATED.inc()
        found = self._skipped.get((state.channel, state.epoch), (state.seq, state.seq))
        self._skipped[state.channel, state.epoch] = (
            min(found[0], state.seq),
            max(found[1], state.seq),
        )
