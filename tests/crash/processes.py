"""The API, the relay and the worker as processes, each restarted at once when it dies at a crash
point.
"""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from redis.exceptions import ResponseError

from backend.events.stream import STREAM
from tests.crash import crash_points
from tests.crash.launcher import FAULTS_VARIABLE
from tests.embedded.running import clean_environment
from tests.fork_server import CRASHING, ForkServer, Process
from tests.system import System, until

PARTS = ("api", "relay", "worker")
# Exceptions of a request without a reply. anyio raises the second when the peer dies during the
# connect on uvloop.
LOST = (httpx.TransportError, AttributeError)


class Processes:
    """`armed` are the crash points to come, `died` those at which a process died, in order.

    With `known`, each process also dies once at each unknown point, which only a recovery reaches.
    """

    def __init__(
        self,
        system: System,
        fork_server: ForkServer,
        *,
        armed: Iterable[str] = (),
        known: Iterable[str] | None = None,
        faults: str = "",
    ) -> None:
        self._system = system
        self._fork_server = fork_server
        self._faults = faults
        self._processes: dict[str, Process] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._killed: set[str] = set()
        self._visitor = system.anonymous()
        self._redis = system.redis()
        self.armed = {part: _of(part, armed) for part in PARTS}
        self._known = {part: _of(part, known) for part in PARTS} if known is not None else None
        self.died: list[str] = []
        self.fault: str | None = None

    @property
    def remaining(self) -> list[str]:
        return sorted(f"{part}: {name}" for part in PARTS for name in self.armed[part])

    def reached(self) -> Counter[str]:
        """Return how often each point was reached."""
        return Counter(
            f"{part}: {name}" for part in PARTS for name in _lines(self._file(part, "record"))
        )

    def check(self) -> None:
        """Raise AssertionError when a process ended without a crash point or a kill."""
        assert self.fault is None, self.fault

    async def disarm(self) -> None:
        """Remove all crash points."""
        searching, self._known = self._known is not None, None
        for part in PARTS:
            if searching or self.armed[part]:
                self.armed[part].clear()
                self.kill(part)
        await self.ready()

    def kill(self, part: str) -> None:
        """Kill a process with SIGKILL; it is restarted."""
        self._killed.add(part)
        self._processes[part].send(signal.SIGKILL)

    async def ready(self) -> None:
        await until(self._answers, seconds=20)

    async def _answers(self) -> bool:
        self.check()
        try:
            return (await self._visitor.get("/readyz")).status_code == 200
        except LOST:
            return False

    def start(self) -> None:
        for part in PARTS:
            self._tasks.append(asyncio.create_task(self._keep(part), name=f"keep-{part}"))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for process in self._processes.values():
            await process.kill()

    async def _keep(self, part: str) -> None:
        while True:
            before = len(_lines(self._file(part, "died")))
            process = self._processes[part] = self._launch(part)
            await process.ended()
            deaths = _lines(self._file(part, "died"))
            if len(deaths) > before:
                self.armed[part].discard(deaths[-1])
                if self._known is not None:
                    self._known[part].add(deaths[-1])
                self.died.append(f"{part}: {deaths[-1]}")
            elif part in self._killed:
                self._killed.discard(part)
            else:
                self.fault = f"{part} ended unexpectedly:\n{process.log_tail()}"
                return
            process.close()
            if part == "worker":
                await self._release_dead_workers_entries()

    def _launch(self, part: str) -> Process:
        commands = {"api": ("serve", "api", "--port", str(self._system.ports["api"]))}
        environment = {
            **clean_environment(),
            **self._system.environment,
            "LOG_FORMAT": "console",
            crash_points.CRASH_AT: "\n".join(sorted(self.armed[part])),
            crash_points.RECORD: str(self._file(part, "record")),
            crash_points.DIED: str(self._file(part, "died")),
            FAULTS_VARIABLE: self._faults,
        }
        if self._known is not None:
            environment[crash_points.KNOWN] = "\n".join(
                sorted(self._known[part] | self.armed[part])
            )
        return self._fork_server.start(
            commands.get(part, (part,)), environment, self._file(part, "log"), module=CRASHING
        )

    async def _release_dead_workers_entries(self) -> None:
        """Release the jobs and entries of a dead worker, instead of waiting for their timeouts."""
        redis = self._redis
        if jobs := await redis.keys("arq:in-progress:*"):
            await redis.delete(*jobs)
        try:
            groups = await redis.xinfo_groups(STREAM)
        except ResponseError:
            return
        for group in groups:
            for entry in await redis.xpending_range(STREAM, group["name"], "-", "+", 1000):
                await redis.xclaim(
                    STREAM,
                    group["name"],
                    entry["consumer"],
                    0,
                    [entry["message_id"]],
                    idle=60_000,
                    justid=True,
                )

    def _file(self, part: str, kind: str) -> Path:
        return self._system.folder / f"{part}.{kind}"


@asynccontextmanager
async def running(processes: Processes) -> AsyncIterator[Processes]:
    processes.start()
    try:
        await processes.ready()
        yield processes
    finally:
        await processes.stop()


def _of(part: str, armed: Iterable[str]) -> set[str]:
    return {name.removeprefix(f"{part}: ") for name in armed if name.startswith(f"{part}: ")}


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
