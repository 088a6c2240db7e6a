"""The measurements of a run: each duration with its time, and counts of outcomes and errors.

Locust rounds response times to two digits, too coarse for a gate, and does not interpret replies.
"""

import time
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gevent

# A greenlet that sleeps this long wakes up late by the generator's own delay.
TICK_SECONDS = 0.05
GENERATOR_LATE = "generator late"


class Series:
    """Durations in milliseconds, each with its end by time.monotonic()."""

    def __init__(self) -> None:
        self.at = array("d")
        self.values = array("d")

    def add(self, milliseconds: float, at: float) -> None:
        self.at.append(at)
        self.values.append(milliseconds)

    def percentiles(self, *shares: float) -> list[float]:
        ordered = sorted(self.values)
        return [ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in shares]

    def overlapping(self, begin: float, end: float) -> "Series":
        """The durations that had a part in this time."""
        part = Series()
        for at, value in zip(self.at, self.values, strict=True):
            if at >= begin and at - value / 1000 <= end:
                part.add(value, at)
        return part

    def between(self, begin: float, end: float) -> "Series":
        """The durations that ended in this time; they are stored in the order of their ends."""
        part = Series()
        first, last = bisect_left(self.at, begin), bisect_left(self.at, end)
        part.at, part.values = self.at[first:last], self.values[first:last]
        return part


@dataclass
class Measurements:
    """`counts` has the numbers of outcomes and of errors, `errors` the texts of the errors."""

    series: dict[str, Series] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    # Adds to locust's own statistics, for its web page.
    on_push: Callable[[str, float], None] | None = None

    def add(self, name: str, milliseconds: float) -> None:
        self.series.setdefault(name, Series()).add(milliseconds, time.monotonic())

    def pushed(self, name: str, milliseconds: float) -> None:
        self.add(name, milliseconds)
        if self.on_push:
            self.on_push(name, milliseconds)

    def request(
        self,
        request_type: str,
        name: str,
        response_time: float,
        exception: Any,
        response: Any = None,
        **_: Any,
    ) -> None:
        """Locust calls this when a request has ended."""
        self.add(name, response_time)
        self.counts["requests"] += 1
        status = getattr(response, "status_code", 0) or 0
        if status == 0:
            self.counts["connection errors"] += 1
        elif status >= 500:
            self.counts["5xx"] += 1
        elif status == 429:
            self.counts["429"] += 1
        elif exception:
            self.counts["unexpected replies"] += 1
        if exception:
            self.errors[f"{request_type} {name}: {status or ''} {exception}"[:300]] += 1

    def user_error(self, user_instance: Any, exception: BaseException, **_: Any) -> None:
        """Locust calls this when the load test's own code raises an exception."""
        self.counts["faults of the load test"] += 1
        self.errors[f"{type(user_instance).__name__}: {exception!r}"[:300]] += 1

    def keep_time(self) -> None:
        """Measure the generator's own delay, which is part of all that it measures."""
        while True:
            due = time.perf_counter() + TICK_SECONDS
            gevent.sleep(TICK_SECONDS)
            self.add(GENERATOR_LATE, max(0.0, (time.perf_counter() - due) * 1000))
