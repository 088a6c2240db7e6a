"""The printed form of a report: a table for people, one line of JSON for machines."""

from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from backend.check.invariants import Report
from backend.check.result import MAX_VIOLATIONS, Result

# The number of violations of one invariant that are printed for people.
SHOWN = 5


def print_report(console: Console, report: Report) -> None:
    """Print a table of the invariants, then the first violations, then the unchecked parts."""
    table = Table("", "", "As far as it can be checked from outside", "Examined", "Broken")
    for result in report.results:
        table.add_row(
            _mark(result),
            result.invariant,
            result.description,
            f"{result.examined:,}",
            f"[red]{_count(result)}[/]" if result.violations else "0",
        )
    console.print(table)
    for result in report.results:
        for violation in result.violations[:SHOWN]:
            console.print(
                f"  {result.invariant}: {violation}", highlight=False, markup=False, soft_wrap=True
            )
        if len(result.violations) > SHOWN:
            console.print(f"  {result.invariant}: … and {len(result.violations) - SHOWN:,} more")
    for result in report.results:
        for part in result.unchecked:
            text = f"  {result.invariant} was not examined in full: {part.reason}"
            console.print(text, highlight=False, markup=False, soft_wrap=True)


def encode(report: Report) -> str:
    """Return the report as one line of JSON."""
    shown: dict[str, Any] = {
        "at": report.at,
        "seconds": round(report.seconds, 3),
        "status": report.outcome,
        "invariants": [
            {
                "invariant": result.invariant,
                "says": result.description,
                "examined": result.examined,
                "broken": len(result.violations),
                "offenders": result.violations,
                "not_examined": [part.reason for part in result.unchecked],
            }
            for result in report.results
        ],
    }
    return msgspec.json.encode(shown).decode()


def encode_failure(error: Exception) -> str:
    return msgspec.json.encode({"status": "unseen", "error": str(error)}).decode()


def _mark(result: Result) -> str:
    if result.violations:
        return "[red]✗[/]"
    return "[yellow]?[/]" if result.unchecked else "[green]✓[/]"


def _count(result: Result) -> str:
    count = len(result.violations)
    return f"{count:,}" if count < MAX_VIOLATIONS else f"{count:,}+"
