"""Print figures, and write them to a file."""

import json
import os
import platform
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

FOLDER = Path(".cache/bench")


def milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    """Median, 99th percentile and maximum of durations."""
    ordered = sorted(seconds)
    return {
        "n": len(ordered),
        "p50": round(statistics.median(ordered) * 1000, 2),
        "p99": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000, 2),
        "max": round(ordered[-1] * 1000, 2),
    }


def publish(name: str, rows: dict[str, dict[str, Any]]) -> None:
    """Print a table and write `.cache/bench/<name>.json`."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    table = Table(name, *columns)
    for label, row in rows.items():
        table.add_row(label, *(str(row.get(column, "")) for column in columns))
    Console().print(table)
    FOLDER.mkdir(parents=True, exist_ok=True)
    machine = {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    (FOLDER / f"{name}.json").write_text(
        json.dumps({"machine": machine, "results": rows}, indent=2) + "\n"
    )
