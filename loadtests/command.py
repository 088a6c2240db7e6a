"""The command: find what is loaded, let people at it, look again, judge, report."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from loadtests import scenario as scenarios
from loadtests import verdict
from loadtests.figures import check, figures
from loadtests.play import Played, play
from loadtests.report import Report, write
from loadtests.scenario import Gates, ScenarioError
from loadtests.target import TargetError, target

FOLDER = Path(".cache/load")

cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def option(name: str, says: str) -> typer.models.OptionInfo:
    found: typer.models.OptionInfo = typer.Option(
        f"--{name}", envvar=f"LOAD_{_word(name)}", help=says
    )
    return found


def _word(name: str) -> str:
    return name.upper().replace("-", "_")


@cli.command()
def load(
    name: Annotated[
        str | None, typer.Argument(metavar="SCENARIO", envvar="LOAD_SCENARIO", help="Which.")
    ] = None,
    url: Annotated[str | None, option("url", "The system's address.")] = None,
    push_url: Annotated[
        str | None, option("push-url", "Where sockets go, as ws://host:port.")
    ] = None,
    data: Annotated[Path | None, option("data", "The folder of a running `gittix up`.")] = None,
    seconds: Annotated[
        float | None, option("seconds", "How long, in place of the scenario's own.")
    ] = None,
    gates: Annotated[
        Path | None, option("gates", "Other gates than those beside the scenario.")
    ] = None,
    out: Annotated[Path, option("out", "Where the report goes.")] = FOLDER,
    check_is_needed: Annotated[
        bool,
        typer.Option(
            "--check/--no-check", help="Whether gates that need the database have to be looked at."
        ),
    ] = True,
) -> None:
    """Load GitTix with people, and judge by gates: exit 0 when all hold, 1 on a breach, 2 when it can't be said."""
    console = Console()
    if name is None:
        _list(console)
        raise typer.Exit
    try:
        scenario, bounds = scenarios.scenario(name), scenarios.gates(name, gates)
        if seconds:
            scenario = scenario.lasting(seconds)
        with target(url, push_url, data, scenario.instance, console) as found:
            played = play(scenario, found, console)
            status = conclude(name, bounds, played, out, console, check_is_needed=check_is_needed)
    except (ScenarioError, TargetError) as fault:
        Console(stderr=True).print(f"load: {fault}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(2) from fault
    except KeyboardInterrupt:
        print("load: stopped before its end, so nothing is judged", file=sys.stderr)
        raise typer.Exit(130) from None
    raise typer.Exit(status)


def conclude(
    name: str,
    gates: Gates,
    played: Played,
    out: Path,
    console: Console,
    *,
    check_is_needed: bool = True,
) -> int:
    """Look at the invariants, judge, tell and write it all down. Returns the exit status."""
    console.print("Looking at the invariants …")
    checked = check(played.trial.target, os.environ)
    found = figures(played.trial, played.reading, checked, played.samples)
    report = Report(name, gates, verdict.judge(gates, found), found, played, checked)
    folder = write(report, out)
    verdict.show(console, report.judged)
    _tell(console, report)
    console.print(f"Report: {folder / 'report.html'}", highlight=False, soft_wrap=True)
    return verdict.exit_status(report.judged, unseen_is_fine=not check_is_needed)


def _tell(console: Console, report: Report) -> None:
    """What a table of gates does not say."""
    for fault, times in report.played.trial.observed.faults.most_common(10):
        console.print(f"  {times:,} times: {fault}", highlight=False, markup=False, soft_wrap=True)
    for line in report.offenders:
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
    if report.checked.told is None:
        console.print(
            f"  The invariants were not looked at: {report.checked.why}.",
            highlight=False,
            soft_wrap=True,
        )


def _list(console: Console) -> None:
    console.print("Scenarios, for make load SCENARIO=…", highlight=False)
    for name in scenarios.names():
        found = scenarios.scenario(name)
        console.print(
            f"  [bold]{name:<8}[/] {found.says} ({found.seconds:,.0f} s)",
            highlight=False,
            soft_wrap=True,
        )
