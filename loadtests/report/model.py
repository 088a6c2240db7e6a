"""The contents of a run's report."""

import os
import platform
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from loadtests.figures import Checked, Figures, during
from loadtests.gate_results import GateResult, Outcome
from loadtests.runner import RunResult
from loadtests.scenario import Gates, Scenario

OFFENDERS_SHOWN = 5


class Report(NamedTuple):
    name: str
    gates: Gates
    results: list[GateResult]
    figures: Figures
    result: RunResult
    checked: Checked

    @property
    def scenario(self) -> Scenario:
        return self.result.load_run.scenario

    @property
    def passed(self) -> bool:
        return all(result.outcome is not Outcome.BROKEN for result in self.results)

    @property
    def offenders(self) -> list[str]:
        report = self.checked.report or {"invariants": []}
        return [
            f"{invariant['invariant']}: {offender}"
            for invariant in report["invariants"]
            for offender in invariant["offenders"][:OFFENDERS_SHOWN]
        ]

    @property
    def began(self) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(self.result.began_at))

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
                "figure": result.figure,
                "must_be": result.sign,
                "bound": result.bound,
                "measured": result.measured,
                "outcome": result.outcome.value,
            }
            for result in report.results
        ],
        "figures": {name: round(value, 3) for name, value in sorted(report.figures.items())},
        "offenders": report.offenders,
        "faults": dict(report.result.load_run.measurements.errors),
    }


def rows(report: Report) -> Iterator[Row]:
    """Durations of each kind of request and message."""
    seconds = report.figures["seconds"]
    for name, series in sorted(during(report.result.load_run).items()):
        if n := len(series.values):
            p50, p95, p99, most = (
                round(value, 2) for value in series.percentiles(0.5, 0.95, 0.99, 1)
            )
            yield Row(name, n, round(n / seconds, 2), p50, p95, p99, most)
