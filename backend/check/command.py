"""The command itself: one look."""

from rich.console import Console

from backend.check import report
from backend.check.evidence import CannotLook
from backend.check.invariants import EXIT_STATUS, examine
from backend.kernel.settings import Settings


async def look(settings: Settings, *, as_json: bool) -> int:
    """Print what a look finds. Returns the exit status."""
    console = Console()
    try:
        found = await examine(settings)
    except CannotLook as fault:
        if as_json:
            console.print(report.encode_failure(fault), highlight=False, markup=False, soft_wrap=True)
        Console(stderr=True).print(f"gittix: {fault}", highlight=False, markup=False, soft_wrap=True)
        return EXIT_STATUS["unseen"]
    if as_json:
        console.print(report.encode(found), highlight=False, markup=False, soft_wrap=True)
    else:
        report.show(console, found)
    return EXIT_STATUS[found.outcome]
