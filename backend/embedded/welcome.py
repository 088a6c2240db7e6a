"""The table that `gittix up` prints when every part answers: addresses, accounts, commands."""

import os
import shutil
import sys
from pathlib import Path

from rich.panel import Panel
from rich.table import Table

from backend.embedded import demo as demo_data
from backend.embedded.instance import Instance
from backend.embedded.ports import PUSH_PORT, STRIPE_PORT


def welcome(
    instance: Instance, *, stripe_url: str, frontend: bool, demo: bool, seconds: float
) -> Panel:
    ports = instance.ports
    origin = f"http://localhost:{ports.api}"
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    if frontend:
        table.add_row("Shop", f"{origin}/")
    table.add_row("API", f"{origin}/api/docs")
    table.add_row("Shows", f"{origin}/api/shows")
    table.add_row("Push", f"ws://localhost:{ports.push}  (Pusher protocol; GET /api/push/config)")
    table.add_row("Stripe", stripe_url)
    table.add_row("Data and logs", str(instance.folder))
    if demo:
        table.add_row("", "")
        for account in demo_data.ACCOUNTS:
            table.add_row(account.role, f"{account.email}  ·  {demo_data.PASSWORD}")
    table.add_row("", "")
    table.add_row("Try", f"curl '{origin}/api/shows?limit=3'")
    table.add_row("", f"{_gittix()} events tail --data {instance.folder}")
    table.add_row("", f"{_gittix()} check --data {instance.folder}")
    return Panel(
        table,
        title=f"GitTix is up after {seconds:.1f} s",
        subtitle="Ctrl-C stops it",
        expand=False,
    )


def moved_ports(instance: Instance, *, push: int | None, stripe: int | None) -> list[str]:
    """One sentence for each port that is not the default one because that was in use."""
    return [
        f"Port {default} is in use: {part} is on {port} instead."
        for part, requested, default, port in (
            ("the push gateway", push, PUSH_PORT, instance.ports.push),
            ("the Stripe sandbox", stripe, STRIPE_PORT, instance.ports.stripe),
        )
        if requested is None and port != default
    ]


def _gittix() -> str:
    """The command as it can be typed here: `make` does not put it on the PATH."""
    if shutil.which("gittix"):
        return "gittix"
    return os.path.relpath(Path(sys.executable).with_name("gittix"))
