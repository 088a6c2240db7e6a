"""The budget of client events of each user, over all sockets of this gateway.

Each client event is appended to the push log, which every gateway reads, so a user with many
sockets must not have the budgets of all of them. The counts are of the present second: they are
cleared when the next begins, so their number is bounded by what the sockets' own budgets admit.
"""

from collections import Counter

from backend.push.settings import GatewaySettings


class UserBudgets:
    def __init__(self, settings: GatewaySettings) -> None:
        self._max_events = settings.user_client_events_per_second
        self._max_bytes = settings.user_client_event_bytes_per_second
        self._second = 0
        self._events: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    def allows(self, user: str, size: int, now: float) -> bool:
        """Count an event of `size` bytes. Returns whether the user's budget includes it."""
        if int(now) != self._second:
            self._second = int(now)
            self._events.clear()
            self._bytes.clear()
        self._events[user] += 1
        self._bytes[user] += size
        return self._events[user] <= self._max_events and self._bytes[user] <= self._max_bytes
