"""A new embedded instance to measure: without demo, pages and rate limits."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from backend.embedded.instance import environment_of
from loadtests.ports import free_port

START_SECONDS = 60.0


@contextmanager
def instance(**settings: str) -> Iterator[Mapping[str, str]]:
    """Run `gittix up` in a new folder; yield its environment with API_URL and PUSH_URL."""
    folder = Path(tempfile.mkdtemp(prefix="gittix-load-"))
    port, push_port, stripe_port = (free_port() for _ in range(3))
    command = [
        *(sys.executable, "-m", "backend.cli", "up", "--no-demo", "--no-frontend"),
        *("--data", str(folder), "--port", str(port)),
        *("--push-port", str(push_port), "--stripe-port", str(stripe_port)),
    ]
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command
            command, env=os.environ | {"RATE_LIMITS": "off"} | settings, stdout=log, stderr=log
        )
    try:
        _wait(
            process,
            folder,
            f"http://127.0.0.1:{port}/readyz",
            f"http://127.0.0.1:{push_port}/readyz",
        )
        urls = {"API_URL": f"http://127.0.0.1:{port}", "PUSH_URL": f"ws://127.0.0.1:{push_port}"}
        yield dict(environment_of(folder)) | urls
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(process: "subprocess.Popen[bytes]", folder: Path, *urls: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while "GitTix is up" not in (folder / "up.log").read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(
                f"the instance did not start:\n{(folder / 'up.log').read_text(errors='replace')}"
            )
        time.sleep(0.1)
    for url in urls:
        httpx.get(url, timeout=5).raise_for_status()
