"""The command `gittix check`: one check, or a watch until it is stopped."""

import asyncio
import signal
from contextlib import nullcontext

from rich.console import Console

from backend.check import output
from backend.check.invariants import EXIT_STATUS, check_invariants
from backend.check.snapshot import CheckError
from backend.check.watch import Gauges, Watch
from backend.kernel.settings import Settings


async def run_once(settings: Settings, *, as_json: bool) -> int:
    """Check once and print the report. Returns the exit status."""
    console = Console()
    try:
        report = await check_invariants(settings)
    except CheckError as error:
        if as_json:
            console.print(
                output.encode_failure(error), highlight=False, markup=False, soft_wrap=True
            )
        Console(stderr=True).print(
            f"gittix: {error}", highlight=False, markup=False, soft_wrap=True
        )
        return EXIT_STATUS["unseen"]
    if as_json:
        console.print(output.encode(report), highlight=False, markup=False, soft_wrap=True)
    else:
        output.print_report(console, report)
    return EXIT_STATUS[report.outcome]


async def run_watch(
    settings: Settings, *, every_seconds: float, host: str, port: int | None, as_json: bool
) -> int:
    """Check every few seconds until SIGINT or SIGTERM. Returns the last report's exit status."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    gauges = Gauges()
    try:
        with gauges.served(host, port) if port else nullcontext():
            watch = Watch(settings, gauges, Console(), as_json=as_json)
            return await watch.run(stop, every_seconds=every_seconds)
    except OSError as error:
        text = f"gittix: the metrics can't be served at {host}:{port}: {error.strerror}"
        Console(stderr=True).print(text, highlight=False, soft_wrap=True)
        return EXIT_STATUS["unseen"]
