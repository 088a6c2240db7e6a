"""The command: find the target, run the scenario, check invariants and gates, write the report."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from loadtests import gate_results
from loadtests import scenario as scenarios
from loadtests.figures import check, figures
from loadtests.report import Report, write
from loadtests.runner import RunResult, execute
from loadtests.scenario import Gates, ScenarioError
from loadtests.target import TargetError, target

FOLDER = Path(".cache/load")
FILE = click.Path(path_type=Path)


def option(name: str, text: str, **settings: Any) -> Callable[[Callable[..., None]], Any]:
    variable = f"LOAD_{name.upper().replace('-', '_')}"
    return click.option(f"--{name}", envvar=variable, help=text, **settings)


@click.command()
@click.argument("name", metavar="[SCENARIO]", envvar="LOAD_SCENARIO", required=False)
@option("url", "The system's address.")
@option("push-url", "The push gateway's address, as ws://host:port.")
@option("data", "The folder of a running `gittix up`.", type=FILE)
@option("seconds", "The duration, instead of the scenario's.", type=float)
@option("gates", "A file of gates, instead of the scenario's.", type=FILE)
@option("out", "The folder of the reports.", type=FILE, default=FOLDER, show_default=True)
@click.option(
    "--check/--no-check",
    "check_is_needed",
    default=True,
    show_default=True,
    help="Fail when the gates that need the database can't be examined.",
)
def cli(
    name: str | None,
    url: str | None,
    push_url: str | None,
    data: Path | None,
    seconds: float | None,
    gates: Path | None,
    out: Path,
    *,
    check_is_needed: bool,
) -> None:
    """Load GitTix with simulated users. Exit status: 0 all gates hold, 1 a breach, 2 unknown."""
    console = Console()
    if name is None:
        _list(console)
        return
    try:
        scenario, bounds = scenarios.scenario(name), scenarios.gates(name, gates)
        if seconds:
            scenario = scenario.lasting(seconds)
        with target(url, push_url, data, scenario, console) as found:
            result = execute(scenario, found, console)
            status = conclude(name, bounds, result, out, console, check_is_needed=check_is_needed)
    except (ScenarioError, TargetError) as error:
        Console(stderr=True).print(f"load: {error}", highlight=False, markup=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        print("load: stopped before its end: no gate was evaluated", file=sys.stderr)
        sys.exit(130)
    sys.exit(status)


def conclude(
    name: str,
    gates: Gates,
    result: RunResult,
    out: Path,
    console: Console,
    *,
    check_is_needed: bool = True,
) -> int:
    """Check the invariants and gates, print and write the report. Returns the exit status."""
    console.print("Checking the invariants …")
    checked = check(result.load_run.target, os.environ)
    found = figures(result.load_run, result.final, checked, result.samples)
    report = Report(name, gates, gate_results.evaluate(gates, found), found, result, checked)
    folder = write(report, out)
    gate_results.print_table(console, report.results)
    _print_details(console, report)
    console.print(f"Report: {folder / 'report.html'}", highlight=False, soft_wrap=True)
    return gate_results.exit_status(report.results, allow_unexamined=not check_is_needed)


def _print_details(console: Console, report: Report) -> None:
    """Print the errors and offenders, which the table of gates lacks."""
    for error, times in report.result.load_run.measurements.errors.most_common(10):
        console.print(f"  {times:,} times: {error}", highlight=False, markup=False, soft_wrap=True)
    for line in report.offenders:
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
    if report.checked.report is None:
        console.print(
            f"  The invariants were not examined: {report.checked.reason}.",
            highlight=False,
            soft_wrap=True,
        )


def _list(console: Console) -> None:
    console.print("Scenarios, for make load SCENARIO=…", highlight=False)
    for name in scenarios.names():
        found = scenarios.scenario(name)
        console.print(
            f"  [bold]{name:<12}[/] {found.description} ({found.seconds:,.0f} s)",
            highlight=False,
            soft_wrap=True,
        )
