"""A run as it is reported."""

import os
import platform
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from loadtests.figures import Checked, Figures, during
from loadtests.play import Played
from loadtests.scenario import Gates, Scenario
from loadtests.verdict import Judged, Outcome

OFFENDERS_SHOWN = 5


class Report(NamedTuple):
    name: str
    gates: Gates
    judged: list[Judged]
    figures: Figures
    played: Played
    checked: Checked

    @property
    def scenario(self) -> Scenario:
        return self.played.trial.scenario

    @property
    def passed(self) -> bool:
        return all(one.outcome is not Outcome.BROKEN for one in self.judged)

    @property
    def offenders(self) -> list[str]:
        told = self.checked.told or {"invariants": []}
        return [
            f"{one['invariant']}: {offender}"
            for one in told["invariants"]
            for offender in one["offenders"][:OFFENDERS_SHOWN]
        ]

    @property
    def began(self) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(self.played.began_at))

    @property
    def machine(self) -> str:
        return f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"


class Row(NamedTuple):
    """Durations in milliseconds."""

    name: str
    n: int
    per_second: float
    p50: float
    p95: float
    p99: float
    max: float


def summary(report: Report) -> dict[str, Any]:
    return {
        "scenario": report.name,
        "began": report.began,
        "machine": report.machine,
        "passed": report.passed,
        "gates": [
            {
                "figure": one.figure,
                "must_be": one.sign,
                "bound": one.bound,
                "measured": one.measured,
                "outcome": one.outcome.value,
            }
            for one in report.judged
        ],
        "figures": {name: round(value, 3) for name, value in sorted(report.figures.items())},
        "offenders": report.offenders,
        "faults": dict(report.played.trial.observed.faults),
    }


def rows(report: Report) -> Iterator[Row]:
    """What was measured of each kind of request and message."""
    seconds = report.figures["seconds"]
    for name, series in sorted(during(report.played.trial).items()):
        if n := len(series.values):
            p50, p95, p99, most = (
                round(value, 2) for value in series.percentiles(0.5, 0.95, 0.99, 1)
            )
            yield Row(name, n, round(n / seconds, 2), p50, p95, p99, most)
