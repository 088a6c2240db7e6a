"""What people and machines read of a look."""

from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from backend.check.finding import MOST, Finding
from backend.check.invariants import Look

# Of each invariant.
SHOWN = 5


def show(console: Console, look: Look) -> None:
    """A row for each invariant, the first offenders, and what was not looked at."""
    table = Table("", "", "As far as it can be seen from outside", "Examined", "Broken")
    for finding in look.findings:
        broken = len(finding.offenders)
        table.add_row(
            _mark(finding),
            finding.invariant,
            finding.says,
            f"{finding.examined:,}",
            f"[red]{_count(finding)}[/]" if broken else "0",
        )
    console.print(table)
    for finding in look.findings:
        for offender in finding.offenders[:SHOWN]:
            console.print(
                f"  {finding.invariant}: {offender}", highlight=False, markup=False, soft_wrap=True
            )
        if len(finding.offenders) > SHOWN:
            console.print(f"  {finding.invariant}: … and {len(finding.offenders) - SHOWN:,} more")
    for finding in look.findings:
        for unseen in finding.unseen:
            text = f"  {finding.invariant} was not examined in full: {unseen.why}"
            console.print(text, highlight=False, markup=False, soft_wrap=True)


def encode(look: Look) -> str:
    """One line of JSON."""
    shown: dict[str, Any] = {
        "at": look.at,
        "seconds": round(look.seconds, 3),
        "status": look.outcome,
        "invariants": [
            {
                "invariant": finding.invariant,
                "says": finding.says,
                "examined": finding.examined,
                "broken": len(finding.offenders),
                "offenders": finding.offenders,
                "not_examined": [unseen.why for unseen in finding.unseen],
            }
            for finding in look.findings
        ],
    }
    return msgspec.json.encode(shown).decode()


def encode_failure(fault: Exception) -> str:
    return msgspec.json.encode({"status": "unseen", "error": str(fault)}).decode()


def _mark(finding: Finding) -> str:
    if finding.offenders:
        return "[red]✗[/]"
    return "[yellow]?[/]" if finding.unseen else "[green]✓[/]"


def _count(finding: Finding) -> str:
    broken = len(finding.offenders)
    return f"{broken:,}" if broken < MOST else f"{broken:,}+"
