"""`python -m loadtests`, as a person or a pipeline runs it, and a proxy that loses a message on its way to a shopper."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve

LOAD = (sys.executable, "-m", "loadtests")
PATIENCE_SECONDS = 50.0


class Ended(NamedTuple):
    status: int
    output: str
    out: Path

    @property
    def report(self) -> dict[str, Any]:
        [path] = self.out.glob("*/report.json")
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    @property
    def broken(self) -> list[str]:
        return [gate["figure"] for gate in self.report["gates"] if gate["outcome"] == "broken"]

    def file(self, name: str) -> str:
        [path] = self.out.glob(f"*/{name}")
        return path.read_text()


async def load(*arguments: str, out: Path, environment: Mapping[str, str] | None = None) -> Ended:
    process = await asyncio.create_subprocess_exec(
        *LOAD,
        *arguments,
        *("--out", str(out)),
        env={"COLUMNS": "200", **os.environ, **(environment or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        output, _ = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, output.decode(), out)


@asynccontextmanager
async def losing_one(push_url: str) -> AsyncIterator[str]:
    """A gateway's address that hands everything on, but for one message about a ticket."""
    lost = False

    async def down(gateway: ClientConnection, shopper: ServerConnection) -> None:
        nonlocal lost
        heard = 0
        async for text in gateway:
            told = json.loads(text)
            heard += told["event"].startswith("ticket.")
            # Not the first: before it nobody knows which number comes.
            if not lost and heard == 2:
                lost = True
                continue
            await shopper.send(text)

    async def handle(shopper: ServerConnection) -> None:
        assert shopper.request
        async with connect(push_url + shopper.request.path) as gateway:
            answering = asyncio.create_task(down(gateway, shopper))
            try:
                async for text in shopper:
                    await gateway.send(text)
            finally:
                answering.cancel()
                await asyncio.gather(answering, return_exceptions=True)

    async with serve(handle, "127.0.0.1", 0, compression=None) as server:
        [listening] = server.sockets
        yield f"ws://127.0.0.1:{listening.getsockname()[1]}"
    assert lost, "nothing came that could be lost"
