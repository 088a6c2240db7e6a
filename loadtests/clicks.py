"""From a click to what it does on somebody's screen, where both are in this process and so on one monotonic clock.

A message may come before the reply that tells whose click it was: either side waits for the other.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

# Of clicks that somebody else made, nothing but arrivals is ever known.
MOST_WAITING = 20_000


class Clicks:
    """`measured` gets milliseconds, once for each arrival."""

    def __init__(self, measured: Callable[[float], None]) -> None:
        self._measured = measured
        self._clicked: dict[Hashable, float] = {}
        self._waiting: OrderedDict[Hashable, list[float]] = OrderedDict()

    def clicked(self, change: Hashable, at: float) -> None:
        """`change` was asked for at this time, by time.monotonic, and was made."""
        self._clicked[change] = at
        for arrived_at in self._waiting.pop(change, ()):
            self._measured((arrived_at - at) * 1000)

    def arrived(self, change: Hashable) -> None:
        now = time.monotonic()
        clicked_at = self._clicked.get(change)
        if clicked_at is not None:
            self._measured((now - clicked_at) * 1000)
            return
        self._waiting.setdefault(change, []).append(now)
        if len(self._waiting) > MOST_WAITING:
            self._waiting.popitem(last=False)
