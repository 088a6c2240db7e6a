"""Run `python -m loadtests`; and a proxy that drops one message on its way to a shopper."""

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
TIMEOUT_SECONDS = 50.0


class Finished(NamedTuple):
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


async def load(
    *arguments: str, out: Path, environment: Mapping[str, str] | None = None
) -> Finished:
    process = await asyncio.create_subprocess_exec(
        *LOAD,
        *arguments,
        *("--out", str(out)),
        env={"COLUMNS": "200", **os.environ, **(environment or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(TIMEOUT_SECONDS):
        output, _ = await process.communicate()
    assert process.returncode is not None
    return Finished(process.returncode, output.decode(), out)


@asynccontextmanager
async def dropping_one_message(push_url: str) -> AsyncIterator[str]:
    """A gateway's address that forwards all messages except one about a ticket."""
    dropped = False

    async def forward(gateway: ClientConnection, shopper: ServerConnection) -> None:
        nonlocal dropped
        received = 0
        async for text in gateway:
            received += json.loads(text)["event"].startswith("ticket.")
            # The second message: before the first, no client knows the sequence number.
            if not dropped and received == 2:
                dropped = True
                continue
            await shopper.send(text)

    async def handle(shopper: ServerConnection) -> None:
        assert shopper.request
        async with connect(push_url + shopper.request.path) as gateway:
            forwarding = asyncio.create_task(forward(gateway, shopper))
            try:
                async for text in shopper:
                    await gateway.send(text)
            finally:
                forwarding.cancel()
                await asyncio.gather(forwarding, return_exceptions=True)

    async with serve(handle, "127.0.0.1", 0, compression=None) as server:
        [listening] = server.sockets
        yield f"ws://127.0.0.1:{listening.getsockname()[1]}"
    assert dropped, "no message arrived that could be dropped"
