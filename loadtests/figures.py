"""The results of a run as named numbers, which the gates bound."""

import subprocess
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from loadtests.attacks.control import Outcome
from loadtests.load_run import FinalState, LoadRun
from loadtests.measurements import Series
from loadtests.sampling import Sample
from loadtests.target import Target, check_command

CHECK_SECONDS = 120
# What honest users wait for; computed for each attack.
UNDER_ATTACK = ("sign up", "read a show", "hold", "pay", "hold to screen")
BROKEN = "invariants broken"
UNEXAMINED = "invariants not examined"
# These need access to the database.
OF_THE_DATABASE = frozenset({BROKEN, UNEXAMINED})

Figures = dict[str, float]


class Checked(NamedTuple):
    """The report of `gittix check`; None, with a reason, when it could not run."""

    report: dict[str, Any] | None
    reason: str = ""


def check(target: Target, environ: Mapping[str, str]) -> Checked:
    """Run `gittix check` against the target's database."""
    if not target.database_known:
        return Checked(
            None,
            "only the address is known: set CHECK_DATABASE_URL and the settings of `gittix check`",
        )
    done = subprocess.run(  # noqa: S603 - our own command
        check_command(),
        env={**environ, **target.environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=CHECK_SECONDS,
    )
    if done.returncode not in (0, 1, 2) or not done.stdout.strip():
        return Checked(None, f"gittix check failed: {done.stderr.strip()[-300:]}")
    report = msgspec.json.decode(done.stdout)
    if "invariants" not in report:
        return Checked(None, report["error"])
    return Checked(report)


def figures(
    load_run: LoadRun, final: FinalState | None, checked: Checked, samples: list[Sample]
) -> Figures:
    """All figures that a gate may bound. Durations before the opening do not count."""
    found: Figures = {}
    for name, series in during(load_run).items():
        if len(series.values):
            p50, p95, p99, most = series.percentiles(0.5, 0.95, 0.99, 1)
            found |= {
                f"{name} n": len(series.values),
                f"{name} p50 ms": p50,
                f"{name} p95 ms": p95,
                f"{name} p99 ms": p99,
                f"{name} max ms": most,
            }
    return (
        found
        | _replies(load_run)
        | _pushes(load_run)
        | _outcomes(load_run, final)
        | _invariants(checked)
        | _cost(samples)
        | _under_attack(load_run)
    )


def during(load_run: LoadRun) -> dict[str, Series]:
    """Every series, without the time before the opening."""
    if not load_run.opened.is_set():
        return {}
    return {
        name: series.between(load_run.opened_at, float("inf"))
        for name, series in load_run.measurements.series.items()
    }


def _under_attack(load_run: LoadRun) -> Figures:
    """The durations of the honest users during each attack, and the outcomes of the attack."""
    found: Figures = {}
    for phase in load_run.phases:
        for name in UNDER_ATTACK:
            series = load_run.measurements.series.get(name, Series())
            part = series.overlapping(phase.began_at, phase.ended_at)
            found[f"{name} n during {phase.name}"] = len(part.values)
            if len(part.values):
                p50, p95, most = part.percentiles(0.5, 0.95, 1)
                found |= {
                    f"{name} p50 ms during {phase.name}": p50,
                    f"{name} p95 ms during {phase.name}": p95,
                    f"{name} max ms during {phase.name}": most,
                }
        if phase.outcome is not None:
            found |= _attack(phase.name, phase.ended_at - phase.began_at, phase.outcome)
    return found


def _attack(name: str, seconds: float, outcome: Outcome) -> Figures:
    counts = outcome.outcomes
    errors = sum(number for of, number in counts.items() if of.isdigit() and int(of) >= 500)
    return {
        # Gates have it, and most attacks never get one.
        f"attack {name}: 500": 0,
        **{f"attack {name}: {of}": number for of, number in counts.items()},
        f"attack {name}: 5xx": errors,
        f"attack {name}: cpu %": 100 * outcome.cpu_seconds / seconds,
    }


def _replies(load_run: LoadRun) -> Figures:
    counts = load_run.measurements.counts
    names = (
        "requests",
        "5xx",
        "429",
        "connection errors",
        "unexpected replies",
        "faults of the load test",
    )
    return {name: counts[name] for name in names} | {
        "5xx %": 100 * counts["5xx"] / max(1, counts["requests"]),
        **{name: value for name, value in counts.items() if name.startswith("refused")},
    }


def _pushes(load_run: LoadRun) -> Figures:
    deliveries = load_run.monitor.deliveries
    return {
        "push messages": deliveries.messages,
        "push missing": deliveries.missing,
        "push repeated": deliveries.repeated,
        "push epochs": deliveries.epochs,
        "push refused": deliveries.refused,
        "sockets lost": sum(deliveries.lost.values()),
        "clock error ms": load_run.monitor.clock_error_seconds * 1000,
    }


def _outcomes(load_run: LoadRun, final: FinalState | None) -> Figures:
    counts = load_run.measurements.counts
    found = {
        "tickets": len(load_run.market),
        "holds won": counts["holds won"],
        "given up": counts["given up"],
        "left to their end": counts["left to their end"],
        "tickets paid": len(load_run.sales),
        "sold twice": load_run.sold_twice,
        "seconds": load_run.closed_at - load_run.opened_at if load_run.opened.is_set() else 0.0,
    }
    if final is None:
        return found
    return found | {
        "sold": final.sold,
        "held at the end": final.held,
        "sold minus paid": final.sold - len(load_run.sales),
        "pages behind": final.behind,
        "sales missing": final.sales_missing,
    }


def _invariants(checked: Checked) -> Figures:
    if checked.report is None:
        return {}
    invariants = checked.report["invariants"]
    return {
        BROKEN: sum(invariant["broken"] for invariant in invariants),
        UNEXAMINED: sum(len(invariant["not_examined"]) for invariant in invariants),
    }


def _cost(samples: list[Sample]) -> Figures:
    if not samples:
        return {}
    return {
        "generator cpu max %": max(sample.generator_cpu for sample in samples),
        "generator cpu %": sum(sample.generator_cpu for sample in samples) / len(samples),
        "machine cpu %": sum(sample.machine_cpu for sample in samples) / len(samples),
    }
