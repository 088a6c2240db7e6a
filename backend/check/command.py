"""The command itself: one look, or a watch that ends when it is asked to."""

import asyncio
import signal
from contextlib import nullcontext

from rich.console import Console

from backend.check import invariants, report
from backend.check.evidence import CannotLook
from backend.check.invariants import EXIT_STATUS
from backend.check.watch import Gauges, Watch
from backend.kernel.settings import Settings


async def look(settings: Settings, *, as_json: bool) -> int:
    """Print what a look finds. Returns the exit status."""
    console = Console()
    try:
        found = await invariants.look(settings)
    except CannotLook as fault:
        if as_json:
            console.print(
                report.encode_failure(fault), highlight=False, markup=False, soft_wrap=True
            )
        Console(stderr=True).print(
            f"gittix: {fault}", highlight=False, markup=False, soft_wrap=True
        )
        return EXIT_STATUS["unseen"]
    if as_json:
        console.print(report.encode(found), highlight=False, markup=False, soft_wrap=True)
    else:
        report.show(console, found)
    return EXIT_STATUS[found.outcome]


async def watch(
    settings: Settings, *, every_seconds: float, host: str, port: int | None, as_json: bool
) -> int:
    """Look every few seconds until SIGINT or SIGTERM. Returns the last look's exit status."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    gauges = Gauges()
    try:
        with gauges.served(host, port) if port else nullcontext():
            watching = Watch(settings, gauges, Console(), as_json=as_json)
            return await watching.run(stop, every_seconds=every_seconds)
    except OSError as fault:
        text = f"gittix: the gauges can't be shown at {host}:{port}: {fault.strerror}"
        Console(stderr=True).print(text, highlight=False, soft_wrap=True)
        return EXIT_STATUS["unseen"]
