"""The processes of `gittix up`, forked by the fork server, on the stores of the test process.

Their arguments and settings are those of `gittix up`, the addresses of the stores apart. A start of
`gittix up` takes four times the CPU time: it imports all modules in each process, and starts stores
of its own.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol
from unittest.mock import patch

import httpx

from backend.embedded.instance import NOT_OVERRIDDEN, Instance
from backend.embedded.ports import HOST, Ports
from backend.embedded.processes import Program
from backend.embedded.secrets import new_secrets
from backend.embedded.services import api_program, background_programs
from tests.embedded.running import clean_environment
from tests.fork_server import ForkServer, Process
from tests.system import System, until

START_SECONDS = 30.0
# As `gittix up` waits; until then, a page finds the port closed.
RESTART_SECONDS = 1.0


class Running(Protocol):
    """A running instance, forked or started by `gittix up`."""

    @property
    def url(self) -> str: ...
    @property
    def push_port(self) -> int | None: ...
    @property
    def stripe_port(self) -> int | None: ...
    def visitor(self) -> httpx.AsyncClient: ...
    def pids(self) -> dict[str, int]: ...
    def kill(self, name: str) -> int: ...


class ForkedInstance:
    """The running programs. One that ends is started again."""

    def __init__(
        self, system: System, fork_server: ForkServer, programs: Sequence[Program]
    ) -> None:
        self.url = system.url
        self.push_port: int | None = system.ports["push"]
        self.stripe_port: int | None = system.ports["stripe"]
        self._folder = system.folder
        self._fork_server = fork_server
        self._processes: dict[str, Process] = {}
        self._back: dict[str, asyncio.Event] = {}
        self._tasks = [asyncio.create_task(self._keep(program)) for program in programs]

    def visitor(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=15)

    def pids(self) -> dict[str, int]:
        """The processes, by role."""
        return {name: process.pid for name, process in self._processes.items()}

    def kill(self, name: str) -> int:
        """Send SIGKILL to a process. Returns its pid."""
        process = self._processes[name]
        process.send(signal.SIGKILL)
        return process.pid

    @asynccontextmanager
    async def down(self, *names: str) -> AsyncIterator[None]:
        """Kill processes, and start them again when the block ends."""
        back = asyncio.Event()
        self._back |= dict.fromkeys(names, back)
        for name in names:
            self.kill(name)
        try:
            yield
        finally:
            back.set()

    async def ready(self) -> None:
        async with self.visitor() as visitor:
            await until(lambda: self._answers(visitor), seconds=START_SECONDS)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for process in self._processes.values():
            await process.kill()

    async def _answers(self, visitor: httpx.AsyncClient) -> bool:
        """Whether every process is ready: the API's reply includes the checks of the others."""
        urls = (
            f"{self.url}/readyz",
            f"http://{HOST}:{self.push_port}/readyz",
            f"http://{HOST}:{self.stripe_port}/healthz",
        )
        try:
            return all([(await visitor.get(url)).status_code == 200 for url in urls])
        except httpx.TransportError:
            await asyncio.sleep(0.05)
            return False

    async def _keep(self, program: Program) -> None:
        # The program's command is the interpreter, `-m backend.cli`, and the arguments.
        arguments = program.command[3:]
        log = self._folder / f"{program.name}.log"
        while True:
            process = self._fork_server.start(arguments, program.environment, log)
            self._processes[program.name] = process
            await process.ended()
            process.close()
            await asyncio.sleep(RESTART_SECONDS)
            if back := self._back.get(program.name):
                await back.wait()


@asynccontextmanager
async def forked_instance(
    system: System, fork_server: ForkServer, **settings: str
) -> AsyncIterator[ForkedInstance]:
    """Run the programs on the stores of `system` while the block runs."""
    instance = ForkedInstance(system, fork_server, _programs(system, settings))
    try:
        await instance.ready()
        yield instance
    finally:
        await instance.stop()


def _programs(system: System, settings: dict[str, str]) -> list[Program]:
    ports = Ports(system.ports["api"], system.ports["push"], system.ports["stripe"])
    instance = Instance(system.folder, new_secrets(), ports, run=system.folder)
    stores = {name: value for name, value in system.environment.items() if name in NOT_OVERRIDDEN}
    # As for `gittix up` in tests: without settings of the developer's shell.
    with patch.dict(os.environ, clean_environment(), clear=True):
        environment = instance.environment() | stores | settings
        return [
            *background_programs(instance, environment, push_processes=1),
            api_program(instance, environment, push_processes=1),
        ]
