"""A budget that refills evenly."""


class TokenBucket:
    """Allows `per_second` units a second on average, and at most `burst` units at once."""

    __slots__ = ("_at", "_burst", "_per_second", "_tokens")

    def __init__(self, per_second: float, burst: float, now: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._tokens = burst
        self._at = now

    def allows(self, now: float, units: float = 1) -> bool:
        """Take so many units, unless fewer are left. Returns whether they were taken."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        if self._tokens < units:
            return False
        self._tokens -= units
        return True

    def seconds_until(self, units: float = 1) -> float:
        """The seconds after the last call of `allows` until so many units are left."""
        return max(0.0, (units - self._tokens) / self._per_second)
