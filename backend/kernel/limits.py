"""Limits on repeated actions: writes, attempts to sign in.

An action is counted before it is performed, under all of its limits or, when one of them refuses,
under none. So parallel actions cannot pass a limit together, and a refused action extends no
wait. A caller gives an action back that proved to be harmless.

`LocalCounters` counts in this process, `redis_limits` over all processes by the same formulas.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from backend.kernel.client_address import network_of, site_of

DAY_SECONDS = 86_400.0
# A site of IPv6 (/48) may do as much as four of its networks (/64).
NETWORKS_OF_SITE = 4
MAX_COUNTS = 100_000
# Each action examines more counts than it adds, so that ended ones never accumulate.
EXAMINED = 8
FULL_SECONDS = 60.0


class Rate(msgspec.Struct, frozen=True):
    """Up to `burst` actions at once, and `burst` in each `seconds` after them: the level of a count
    grows by one with each action, and falls by one every `step` seconds (a leaky bucket).
    """

    name: str
    burst: int
    seconds: float

    @property
    def step(self) -> float:
        return self.seconds / self.burst

    def level(self, level: float, elapsed: float) -> float:
        """The present level of a count, `elapsed` seconds after its last action."""
        return max(0.0, level - elapsed / self.step)

    def wait(self, level: float, elapsed: float) -> float:  # noqa: ARG002 - it is in the level
        """The seconds until another action is admitted at this present level."""
        return max(0.0, (level + 1 - self.burst) * self.step)

    def kept(self, level: float) -> float:
        """The seconds after its last action in which a count of this level is forgotten."""
        return level * self.step

    def times(self, number: int) -> "Rate":
        """The limit of `number` callers together."""
        return Rate(f"{self.name}-of-{number}", self.burst * number, self.seconds)


class Lockout(msgspec.Struct, frozen=True):
    """`free` actions without a wait. After action n >= `free` the next one waits
    min(`longest`, `first` * 2 ** (n - `free`)) seconds. n actions are forgotten
    n * `longest` seconds after the last one, at most a day.
    """

    name: str
    free: int
    first: float
    longest: float

    def level(self, level: float, elapsed: float) -> float:
        return level if elapsed < self.kept(level) else 0.0

    def wait(self, level: float, elapsed: float) -> float:
        if level < self.free:
            return 0.0
        # Without the bound, the power of a long attack exceeds a float.
        delay = self.first * 2 ** min(level - self.free, 64)
        return max(0.0, min(self.longest, delay) - elapsed)

    def kept(self, level: float) -> float:
        return min(level * self.longest, DAY_SECONDS)

    def times(self, number: int) -> "Lockout":
        return Lockout(f"{self.name}-of-{number}", self.free * number, self.first, self.longest)


Limit = Rate | Lockout


class Check(NamedTuple):
    """A limit, and the caller or the object that it counts."""

    limit: Limit
    key: str

    def __str__(self) -> str:
        return f"{self.limit.name}:{self.key}"


def by_address(limit: Limit, address: str, *key: str) -> list[Check]:
    """The checks of an address: one for an IPv4 address; for an IPv6 address one for its /64, and
    a higher one for its /48, since a provider may assign either to one customer.
    """
    checks = [Check(limit, ":".join((*key, network_of(address))))]
    if (site := site_of(address)) is not None:
        checks.append(Check(limit.times(NETWORKS_OF_SITE), ":".join((*key, site))))
    return checks


class _Count(NamedTuple):
    level: float
    at: float
    ends_at: float


class LocalCounters:
    """The counts of one process, at most `size`. While all of them are running, an action that
    needs a new one is refused: dropping one would give its caller the whole limit again.
    """

    def __init__(
        self, *, size: int = MAX_COUNTS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._size = size
        self._clock = clock
        self._counts: OrderedDict[str, _Count] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def admit(self, checks: Sequence[Check]) -> float:
        """Count an action under all checks and return 0, or count nothing and return the seconds
        to wait.
        """
        now = self._clock()
        self._drop_ended(now)
        present = [(check, *self._present(check, now)) for check in checks]
        wait = max(check.limit.wait(level, elapsed) for check, level, elapsed in present)
        if wait > 0:
            return wait
        new = sum(str(check) not in self._counts for check in checks)
        if len(self._counts) + new > self._size:
            return FULL_SECONDS
        for check, level, _ in present:
            ends_at = now + check.limit.kept(level + 1)
            self._counts[str(check)] = _Count(level + 1, now, ends_at)
        return 0.0

    def give_back(self, checks: Sequence[Check]) -> None:
        """Undo one action of each check."""
        for check in checks:
            count = self._counts.get(str(check))
            if count is None or count.level <= 1:
                self._counts.pop(str(check), None)
            else:
                self._counts[str(check)] = count._replace(level=count.level - 1)

    def clear(self, checks: Sequence[Check]) -> None:
        """Undo every action of each check."""
        for check in checks:
            self._counts.pop(str(check), None)

    def _present(self, check: Check, now: float) -> tuple[float, float]:
        """The present level, and the seconds since the last action."""
        count = self._counts.get(str(check))
        if count is None:
            return 0.0, 0.0
        elapsed = now - count.at
        return check.limit.level(count.level, elapsed), elapsed

    def _drop_ended(self, now: float) -> None:
        """Drop the ended ones of the next few counts; running ones go to the end of the table."""
        for _ in range(min(EXAMINED, len(self._counts))):
            name, count = self._counts.popitem(last=False)
            if now < count.ends_at:
                self._counts[name] = count
