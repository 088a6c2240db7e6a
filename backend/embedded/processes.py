"""Child processes that are kept alive: started in order, restarted when they die, stopped in reverse.

Each child has a session of its own, so that a Ctrl-C in the terminal reaches the supervisor alone, which then stops
them in an order that loses nothing; and each is told by the kernel when the supervisor itself is gone.
"""

import asyncio
import ctypes
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

PR_SET_PDEATHSIG = 1
RESTART_SECONDS = 0.5
MAX_RESTART_SECONDS = 10.0
HEALTHY_SECONDS = 20.0

Notice = Callable[[str], None]


class Program(NamedTuple):
    """What to run. `stop_signal` asks it to end; after `stop_seconds` it is killed.

    Where processes share few cores, one of a higher `niceness` leaves them to the others.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    user: str | None = None
    niceness: int = 0
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 10.0
    prepare: Callable[[], object] | None = None


class ProcessError(Exception):
    """A program ended when it should have started; the message has the end of its log."""


class Processes:
    def __init__(self, logs: Path, notice: Notice) -> None:
        self._logs = logs
        self._notice = notice
        self._running: list[_Kept] = []
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, program: Program) -> None:
        self._running.append(_Kept(program, self._logs / f"{program.name}.log", self._notice))

    def check(self, name: str) -> None:
        """Raises ProcessError when the program has ended since it was started."""
        for kept in self._running:
            if kept.program.name == name and kept.restarts:
                raise ProcessError(f"{name} does not start. {kept.log}:\n{kept.last_lines()}")

    async def stop(self) -> None:
        for kept in reversed(self._running):
            await kept.stop()
        self._running.clear()


class _Kept:
    """One program and the task that keeps it alive."""

    def __init__(self, program: Program, log: Path, notice: Notice) -> None:
        self.program = program
        self.log = log
        self.restarts = 0
        self._notice = notice
        self._process: asyncio.subprocess.Process | None = None
        self._task = asyncio.create_task(self._keep(), name=f"keep-{program.name}")

    async def _keep(self) -> None:
        clock = asyncio.get_running_loop().time
        delay = RESTART_SECONDS
        while True:
            started = clock()
            code = await self._run()
            self.restarts += 1
            ending = (
                f"was ended by {signal.Signals(-code).name}"
                if code < 0
                else f"ended with status {code}"
            )
            self._notice(f"{self.program.name} {ending}; starting it again")
            delay = (
                RESTART_SECONDS
                if clock() - started > HEALTHY_SECONDS
                else min(delay * 2, MAX_RESTART_SECONDS)
            )
            await asyncio.sleep(delay if clock() - started < HEALTHY_SECONDS else 0)

    async def _run(self) -> int:
        if self.program.prepare is not None:
            await asyncio.to_thread(self.program.prepare)
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.program.command,
                env=dict(self.program.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=self.program.user,
                preexec_fn=_prepare(os.getpid(), self.program.stop_signal, self.program.niceness),
            )
        return await self._process.wait()

    async def stop(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        process = self._process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(self.program.stop_signal)
        try:
            await asyncio.wait_for(process.wait(), self.program.stop_seconds)
        except TimeoutError:
            self._notice(
                f"{self.program.name} did not stop in {self.program.stop_seconds:.0f} s and was killed"
            )
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    def last_lines(self, count: int = 15) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-count:])


def _prepare(parent: int, with_signal: signal.Signals, niceness: int) -> Callable[[], None]:
    """What a child does first. Linux tells it when its parent dies; elsewhere a killed supervisor leaves it behind."""
    prctl = None
    with suppress(OSError, AttributeError):
        prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        os.nice(niceness)
        if niceness:
            _set_autogroup(niceness)
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, with_signal, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

    return ask


def _set_autogroup(niceness: int) -> None:
    """Where Linux schedules sessions as groups, a process's own niceness only counts within its session.

    https://man7.org/linux/man-pages/man7/sched.7.html, "The autogroup feature". The kernel lets an ordinary user write
    this every 100 ms, for all processes together; where it can't be written at all there are no groups.
    """
    for _ in range(20):
        try:
            Path("/proc/self/autogroup").write_text(str(niceness))
        except BlockingIOError:
            time.sleep(0.05)
        except OSError:
            return
        else:
            return
