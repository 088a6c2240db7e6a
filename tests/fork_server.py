"""A fork server: starts processes of GitTix in milliseconds, forked from a process that imported
all modules.

The imports of a process take half a second of CPU time, and the suite starts some hundreds of
them. A forked process has no open connections, runs the same command in its own session, and can be
killed with SIGKILL like any other.
"""

import asyncio
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import argon2

from backend.auth import passwords

ROOT = Path(__file__).parents[1]
PR_SET_PDEATHSIG = 1
END_SECONDS = 15.0
GITTIX = "backend.cli"
# The same command with crash points.
CRASHING = "tests.crash.launcher"
# Modules that commands and libraries import only when they run.
IMPORTED_WHEN_RUN = (
    "anyio._backends._asyncio",
    "httpcore",
    "backend.events.relay",
    "backend.bootstrap",
    "backend.stripe_sandbox.app",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.http.httptools_impl",
    "workers.main",
)
# A hash of production takes 35 ms. The tests of `tests/auth` and `tests/embedded` hash as
# production does; those with forked processes test no hash.
CHEAP_HASHER = argon2.PasswordHasher(memory_cost=8, time_cost=1, parallelism=1)


class Process:
    """One forked process.

    Its parent is the fork server, so this process waits for its end by a pidfd.
    """

    def __init__(self, pid: int, log: Path) -> None:
        self.pid = pid
        self.log = log
        try:
            self._fd: int | None = os.pidfd_open(pid)
        except ProcessLookupError:
            self._fd = None

    @property
    def alive(self) -> bool:
        return self._fd is not None and not select.select([self._fd], [], [], 0)[0]

    async def ended(self) -> None:
        if self._fd is None:
            return
        loop = asyncio.get_running_loop()
        over = asyncio.Event()
        loop.add_reader(self._fd, over.set)
        try:
            await over.wait()
        finally:
            loop.remove_reader(self._fd)

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended: another process may have its pid by then."""
        if self._fd is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._fd, number)

    async def kill(self) -> None:
        self.send(signal.SIGKILL)
        await asyncio.wait_for(self.ended(), END_SECONDS)
        self.close()

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def log_tail(self, count: int = 20) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-count:])


class ForkServer:
    def __init__(self, requests: IO[str], replies: IO[str]) -> None:
        self._requests = requests
        self._replies = replies

    def start(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        *,
        module: str = GITTIX,
    ) -> Process:
        """Run `gittix <arguments>` with exactly this environment; `module`: GITTIX or CRASHING."""
        request = {
            "module": module,
            "arguments": list(arguments),
            "environment": dict(environment),
            "log": str(log),
        }
        self._requests.write(json.dumps(request) + "\n")
        self._requests.flush()
        reply = self._replies.readline()
        assert reply, "the fork server has ended"
        return Process(int(reply), log)


@contextmanager
def running_fork_server() -> Iterator[ForkServer]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.fork_server"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield ForkServer(process.stdin, process.stdout)
        process.stdin.close()
        process.wait(END_SECONDS)


def serve() -> None:
    """Fork a process for each line of stdin and print its pid; the children die with this one."""
    commands = {name: importlib.import_module(name).main for name in (GITTIX, CRASHING)}
    for name in IMPORTED_WHEN_RUN:
        importlib.import_module(name)
    passwords.HASHER = CHEAP_HASHER
    # Its decoy is a hash, made once for all processes.
    passwords.Passwords().close()
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    parent = os.getpid()
    for line in sys.stdin:
        request = json.loads(line)
        command = commands[request.pop("module")]
        pid = os.fork()
        if pid == 0:
            _set_up_child(parent, **request)
            _run(command)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


def _set_up_child(parent: int, arguments: list[str], environment: dict[str, str], log: str) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    nothing, output = (
        os.open(os.devnull, os.O_RDONLY),
        os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
    )
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["gittix", *arguments]


def _run(command: object) -> None:
    status = 1
    try:
        assert callable(command)
        command()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve()
