"""Write a run's report as files into a new folder."""

import csv
import time
from pathlib import Path

import msgspec

from loadtests.report.model import Report, Row, rows, summary
from loadtests.report.page import page


def write(report: Report, folder: Path) -> Path:
    """Write the report below `folder`. Returns the run's own folder."""
    began = time.strftime("%Y%m%d-%H%M%S", time.gmtime(report.result.began_at))
    own = folder / f"{report.name}-{began}"
    own.mkdir(parents=True, exist_ok=True)
    (own / "report.json").write_bytes(
        msgspec.json.format(msgspec.json.encode(summary(report))) + b"\n"
    )
    with (own / "series.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Row._fields)
        writer.writerows(rows(report))
    (own / "report.html").write_text(page(report))
    return own
