"""The build of the shop's pages as a process of its own, so that a stop can end it at once."""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from backend.embedded import frontend


async def build(cache: Path) -> None:
    """Build the pages of the present sources into `cache`. Raises FrontendError."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "backend.embedded.frontend", "cache", str(cache)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _, errors = await process.communicate()
    finally:
        # Reflex and Node are in the process group of the build, so they end too.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    if process.returncode != 0:
        raise frontend.FrontendError(
            errors.decode(errors="replace").removeprefix("gittix: ").strip()
        )
