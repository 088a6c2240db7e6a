"""The C programs of the push benchmark, compiled when they are needed: the floor and the load
client, which must be cheaper than the gateway that they measure.
"""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from loadtests.bench.results import FOLDER

SOURCES = Path(__file__).parent
# A client of 15,000 sockets at a gateway with one core.
ANSWER_SECONDS = 120.0


class Fanout(NamedTuple):
    """`ticks` times, at `rate` times a second, `joined` messages to each of `sockets` sockets."""

    sockets: int
    rate: float
    ticks: int
    joined: int = 1

    @property
    def deliveries(self) -> int:
        return self.sockets * self.ticks * self.joined

    @property
    def seconds(self) -> float:
        return self.ticks / self.rate


class Program:
    """A running program that answers lines with lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self) -> str:
        assert self._process.stdout
        async with asyncio.timeout(ANSWER_SECONDS):
            found = await self._process.stdout.readline()
        if not found:
            raise SystemExit("a program of the benchmark ended early")
        return found.decode()

    async def ask(self, command: str) -> str:
        assert self._process.stdin
        self._process.stdin.write(f"{command}\n".encode())
        return await self.line()

    async def report(self) -> dict[str, Any]:
        """The counts of a load client since its last reset."""
        found: dict[str, Any] = json.loads(await self.ask("report"))
        return found


@asynccontextmanager
async def program(name: str, *arguments: object) -> AsyncIterator[Program]:
    """Run `push_floor` or `push_load`; it ends when its input does."""
    process = await asyncio.create_subprocess_exec(
        _compiled(name),
        *map(str, arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield Program(process)
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def load_client(port: int, sockets: int, path: str, channel: str) -> AsyncIterator[Program]:
    async with program("push_load", port, sockets, path, channel) as client:
        yield client


async def floor(fanout: Fanout) -> dict[str, float]:
    """The CPU of one delivery by write(2) in microseconds, and the latencies."""
    arguments = (fanout.sockets, fanout.rate, fanout.ticks, fanout.joined)
    async with program("push_floor", *arguments) as server:
        port = int(await server.line())
        async with load_client(port, fanout.sockets, "-", "-") as client:
            await client.line()
            nanoseconds = int(await server.ask("start"))
            await asyncio.sleep(0.5)
            found = await client.report()
    if found["messages"] != fanout.deliveries:
        raise SystemExit(f"the floor delivered {found['messages']} of {fanout.deliveries}")
    return {
        "µs": nanoseconds / 1000 / fanout.deliveries,
        "p50": found["p50_ms"],
        "p99": found["p99_ms"],
    }


def _compiled(name: str) -> Path:
    source, built = SOURCES / f"{name}.c", FOLDER.resolve() / name
    newest = max(each.stat().st_mtime for each in (source, SOURCES / "push_wire.h"))
    if not built.exists() or built.stat().st_mtime < newest:
        compiler = shutil.which("cc")
        if compiler is None:
            raise SystemExit("the push benchmark needs a C compiler: install gcc")
        FOLDER.mkdir(parents=True, exist_ok=True)
        flags = ("-O2", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE")
        subprocess.run([compiler, *flags, "-o", built, source], check=True)  # noqa: S603
    return built
