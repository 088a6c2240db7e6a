"""Child processes under supervision: started in order, restarted when they end, stopped in reverse.

Each child has its own session, so that a terminal's Ctrl-C reaches only the supervisor, which stops
the children in an order that loses nothing. On Linux the kernel signals each child when the
supervisor dies.
"""

import asyncio
import ctypes
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from backend.embedded.system_user import Credentials

PR_SET_PDEATHSIG = 1
RESTART_SECONDS = 0.5
MAX_RESTART_SECONDS = 10.0
HEALTHY_SECONDS = 20.0
REPLACE_SECONDS = 30.0
POLL_SECONDS = 0.05

Notice = Callable[[str], None]


class Program(NamedTuple):
    """A command to keep running. `stop_signal` ends it; after `stop_seconds` it is killed.

    On few cores, a process of higher `niceness` yields them to the others.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    credentials: Credentials = Credentials()
    niceness: int = 0
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 10.0


class ProcessError(Exception):
    """A program ended while it started; the message has the end of its log."""


class Processes:
    """The running programs, and their logs in the folder `logs`."""

    def __init__(self, logs: Path, notice: Notice) -> None:
        self._logs = logs
        self._notice = notice
        self._children: list[_Child] = []
        logs.mkdir(parents=True, exist_ok=True, mode=0o700)

    def start(self, program: Program) -> None:
        """Start the program, and restart it whenever it ends until `stop`."""
        self._children.append(_Child(program, self._logs / f"{program.name}.log", self._notice))

    def check(self, name: str) -> None:
        """Raises ProcessError when the program has ended since it was started."""
        for child in self._children:
            if child.program.name == name:
                child.check()

    async def replace(self, name: str, is_ready: Callable[[], Awaitable[bool]]) -> None:
        """Start a program again, beside the running one, which is stopped when the new one is
        ready. Raises ProcessError, and keeps the running one, when the new one is not ready within
        REPLACE_SECONDS.
        """
        at = next(at for at, child in enumerate(self._children) if child.program.name == name)
        old = self._children[at]
        new = _Child(old.program, self._logs / f"{name}.log", self._notice)
        try:
            async with asyncio.timeout(REPLACE_SECONDS):
                while not await is_ready():
                    new.check()
                    await asyncio.sleep(POLL_SECONDS)
        except BaseException as error:
            await new.stop()
            if isinstance(error, TimeoutError):
                raise ProcessError(f"the new {name} was not ready in time") from error
            raise
        self._children[at] = new
        await old.stop()

    async def stop(self) -> None:
        """Stop the programs one after the other, the last started first."""
        for child in reversed(self._children):
            await child.stop()
        self._children.clear()


class _Child:
    """One program and the task that restarts it."""

    def __init__(self, program: Program, log: Path, notice: Notice) -> None:
        self.program = program
        self._log = log
        # The output of earlier starts does not explain a failure now.
        self._log_start = log.stat().st_size if log.exists() else 0
        self._restarts = 0
        self._notice = notice
        self._process: asyncio.subprocess.Process | None = None
        self._task = asyncio.create_task(self._supervise(), name=f"supervise-{program.name}")

    def check(self) -> None:
        if self._task.done() and not self._task.cancelled():
            self._task.result()
        if self._restarts:
            raise ProcessError(
                f"{self.program.name} does not start. The end of {self._log}:\n{self._last_lines()}"
            )

    async def stop(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError, OSError):
            await self._task
        process = self._process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(self.program.stop_signal)
        try:
            await asyncio.wait_for(process.wait(), self.program.stop_seconds)
        except TimeoutError:
            seconds = self.program.stop_seconds
            self._notice(f"{self.program.name} did not stop within {seconds:.0f} s and was killed")
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    async def _supervise(self) -> None:
        clock = asyncio.get_running_loop().time
        delay = RESTART_SECONDS
        while True:
            started = clock()
            status = await self._run()
            self._restarts += 1
            self._notice(f"{self.program.name} {_ending(status)}; starting it again")
            if clock() - started > HEALTHY_SECONDS:
                delay = RESTART_SECONDS
                continue
            delay = min(delay * 2, MAX_RESTART_SECONDS)
            await asyncio.sleep(delay)

    async def _run(self) -> int:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.program.command,
                env=dict(self.program.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_prepare(os.getpid(), self.program.stop_signal, self.program.niceness),
                **self.program.credentials,
            )
        return await self._process.wait()

    def _last_lines(self, count: int = 15) -> str:
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-count:]) or "(it logged nothing)"


def _ending(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"


def _prepare(parent: int, parent_death: signal.Signals, niceness: int) -> Callable[[], None]:
    """Return the function that a child runs between fork and exec.

    On Linux it asks the kernel for the signal `parent_death` at its parent's death. Elsewhere the
    children of a killed supervisor keep running.
    """
    prctl = None
    with suppress(OSError, AttributeError):
        prctl = ctypes.CDLL(None).prctl

    def prepare() -> None:
        os.nice(niceness)
        if niceness:
            _set_autogroup(niceness)
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, parent_death, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

    return prepare


def _set_autogroup(niceness: int) -> None:
    """Set the niceness of the session where Linux schedules sessions as groups.

    There, a process's own niceness counts only within its session: see "The autogroup feature" in
    https://man7.org/linux/man-pages/man7/sched.7.html. An unprivileged user may write the file once
    in 100 ms for all processes together; where it can't be written, there are no groups.
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
