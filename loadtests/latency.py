"""The latency from a user's action to the arrival of its message, both in this process.

One monotonic clock measures both. The message may arrive before the HTTP reply that identifies the
action, so each side waits for the other.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

# Messages of other clients' actions never find an action here: the oldest are dropped.
MAX_UNMATCHED = 20_000


class ActionLatency:
    """Calls `measured` with the milliseconds of each arrival."""

    def __init__(self, measured: Callable[[float], None]) -> None:
        self._measured = measured
        self._started: dict[Hashable, float] = {}
        self._waiting: OrderedDict[Hashable, list[float]] = OrderedDict()

    def started(self, change: Hashable, at: float) -> None:
        """Record that the action behind `change` began at this time.monotonic() and succeeded."""
        self._started[change] = at
        for arrived_at in self._waiting.pop(change, ()):
            self._measured((arrived_at - at) * 1000)

    def arrived(self, change: Hashable) -> None:
        now = time.monotonic()
        started_at = self._started.get(change)
        if started_at is not None:
            self._measured((now - started_at) * 1000)
            return
        self._waiting.setdefault(change, []).append(now)
        if len(self._waiting) > MAX_UNMATCHED:
            self._waiting.popitem(last=False)
