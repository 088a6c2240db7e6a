"""What a run came to, as numbers under names. Gates are about these."""

import subprocess
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from loadtests.observed import Series
from loadtests.sampling import Sample
from loadtests.target import Target, check_command
from loadtests.trial import Reading, Trial

CHECK_SECONDS = 120
BROKEN = "invariants broken"
UNSEEN = "invariants not examined"
# Only the database tells these.
OF_THE_DATABASE = frozenset({BROKEN, UNSEEN})

Figures = dict[str, float]


class Checked(NamedTuple):
    """What `gittix check` said; `told` is None when it could not look."""

    told: dict[str, Any] | None
    why: str = ""


def check(target: Target, environ: Mapping[str, str]) -> Checked:
    """Look at the invariants behind the target."""
    if not target.database_known:
        return Checked(
            None, "only the address is known: set DATABASE_URL and what else `gittix check` needs"
        )
    done = subprocess.run(  # noqa: S603 - ourselves
        check_command(),
        env={**environ, **target.environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=CHECK_SECONDS,
    )
    if done.returncode not in (0, 1, 2) or not done.stdout.strip():
        return Checked(None, f"gittix check failed: {done.stderr.strip()[-300:]}")
    told = msgspec.json.decode(done.stdout)
    if "invariants" not in told:
        return Checked(None, told["error"])
    return Checked(told)


def figures(
    trial: Trial, reading: Reading | None, checked: Checked, samples: list[Sample]
) -> Figures:
    """All that a gate can be about. A duration counts from when the doors opened."""
    found: Figures = {}
    for name, series in during(trial).items():
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
        | _replies(trial)
        | _pushes(trial)
        | _outcomes(trial, reading)
        | _invariants(checked)
        | _cost(samples)
    )


def during(trial: Trial) -> dict[str, Series]:
    """Every series, from the opening on."""
    if not trial.opened.is_set():
        return {}
    return {
        name: series.between(trial.opened_at, float("inf"))
        for name, series in trial.observed.series.items()
    }


def _replies(trial: Trial) -> Figures:
    counts = trial.observed.counts
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


def _pushes(trial: Trial) -> Figures:
    evidence = trial.watch.evidence
    return {
        "push messages": evidence.messages,
        "push missing": evidence.missing,
        "push repeated": evidence.repeated,
        "push epochs": evidence.epochs,
        "push refused": evidence.refused,
        "sockets lost": sum(evidence.lost.values()),
        "clock error ms": trial.watch.clock_error_seconds * 1000,
    }


def _outcomes(trial: Trial, reading: Reading | None) -> Figures:
    counts = trial.observed.counts
    found = {
        "tickets": len(trial.board),
        "holds won": counts["holds won"],
        "given up": counts["given up"],
        "left to their end": counts["left to their end"],
        "tickets paid": len(trial.sales),
        "sold twice": trial.sold_twice,
        "seconds": trial.closed_at - trial.opened_at if trial.opened.is_set() else 0.0,
    }
    if reading is None:
        return found
    return found | {
        "sold": reading.sold,
        "held at the end": reading.held,
        "sold minus paid": reading.sold - len(trial.sales),
        "pages behind": reading.behind,
        "sales untold": reading.untold,
    }


def _invariants(checked: Checked) -> Figures:
    if checked.told is None:
        return {}
    invariants = checked.told["invariants"]
    return {
        BROKEN: sum(one["broken"] for one in invariants),
        UNSEEN: sum(len(one["not_examined"]) for one in invariants),
    }


def _cost(samples: list[Sample]) -> Figures:
    if not samples:
        return {}
    return {
        "generator cpu max %": max(sample.generator_cpu for sample in samples),
        "generator cpu %": sum(sample.generator_cpu for sample in samples) / len(samples),
        "machine cpu %": sum(sample.machine_cpu for sample in samples) / len(samples),
    }
