"""`gittix up` as a user runs it: a process with its own ports and data folder."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from loadtests.ports import free_port

GITTIX = (sys.executable, "-m", "backend.cli")
TIMEOUT_SECONDS = 60.0

# The API's port, the gateway's and the sandbox's; `gittix up` chooses those that are None.
Ports = tuple[int, int | None, int | None]


class Running:
    """One running instance, its output so far, and clients for it."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path, ports: Ports) -> None:
        self.process = process
        self.folder = folder
        self.port, self.push_port, self.stripe_port = ports
        self.url = f"http://127.0.0.1:{self.port}"
        self._output: list[str] = []
        self._reading = asyncio.create_task(self._read())

    @property
    def output(self) -> str:
        return "".join(self._output)

    async def until_up(self) -> None:
        await self.until_printed("GitTix is up")

    async def until_printed(self, text: str, *, seconds: float = TIMEOUT_SECONDS) -> None:
        async with asyncio.timeout(seconds):
            while text not in self.output:
                assert self.process.returncode is None, self.output
                await asyncio.sleep(0.02)

    def visitor(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=15)

    def pids(self) -> dict[str, int]:
        """The processes of this instance, by role."""
        found: dict[str, int] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and (name := self._role(entry)):
                found.setdefault(name, int(entry.name))
        return found

    def kill(self, name: str) -> int:
        """Send SIGKILL to a process. Returns its pid."""
        pid = self.pids()[name]
        os.kill(pid, signal.SIGKILL)
        return pid

    async def stop(self) -> int:
        """Send SIGINT, as Ctrl-C does. Returns the exit status."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGINT)
        status = await asyncio.wait_for(self.process.wait(), 45)
        await self._reading
        return status

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while chunk := await self.process.stdout.read(4096):
            self._output.append(chunk.decode(errors="replace"))

    def _role(self, entry: Path) -> str | None:
        try:
            environment = (entry / "environ").read_bytes()
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return None
        ours = str(self.folder) in command or str(self.folder).encode() in environment
        if not ours or entry.name == str(self.process.pid):
            return None
        for role, pattern in ROLES.items():
            if re.search(pattern, command):
                return role
        return None


ROLES = {
    "postgres": r"bin/postgres -D",
    "redis": r"redis-server",
    "sandbox": r"backend\.cli sandbox",
    "api": r"backend\.cli serve api",
    "push": r"backend\.cli serve push",
    "relay": r"backend\.cli relay",
    "worker": r"backend\.cli worker jobs",
    "consumers": r"backend\.cli worker consumers",
    "notifier": r"backend\.cli worker notifier",
}


@asynccontextmanager
async def running(
    folder: Path,
    *options: str,
    ports: Ports | None = None,
    user: str | None = None,
    **environment: str,
) -> AsyncIterator[Running]:
    """Start `gittix up`, as this user if given, and stop it at the end of the block."""
    ports = ports or (free_port(), free_port(), free_port())
    up = await start(folder, ports, *options, user=user, **environment)
    try:
        yield up
    finally:
        if up.process.returncode is None:
            await up.stop()


async def start(
    folder: Path, ports: Ports, *options: str, user: str | None = None, **environment: str
) -> Running:
    names = ("--port", "--push-port", "--stripe-port")
    arguments = [
        part
        for name, port in zip(names, ports, strict=True)
        if port is not None
        for part in (name, str(port))
    ]
    process = await asyncio.create_subprocess_exec(
        *(*(as_user(user) if user else ()), *GITTIX, "up"),
        *("--data", str(folder), *arguments, *options),
        env=clean_environment() | environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    return Running(process, folder, ports)


def as_user(name: str) -> tuple[str, ...]:
    """The words before a command that root runs as this user. The user may read the installation,
    which may be below root's home.
    """
    capability = "+dac_read_search"
    return (
        *("setpriv", f"--reuid={name}", "--regid=nogroup", "--clear-groups"),
        *(f"--inh-caps={capability}", f"--ambient-caps={capability}", "--"),
    )


async def gittix(*arguments: str, **environment: str) -> tuple[int, str]:
    """Run a command to its end. Returns its exit status and its output."""
    process = await asyncio.create_subprocess_exec(
        *GITTIX,
        *arguments,
        env=clean_environment() | environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), TIMEOUT_SECONDS)
    assert process.returncode is not None
    return process.returncode, output.decode()


def clean_environment() -> dict[str, str]:
    """The environment of the tests without GitTix's own settings."""
    kept = {
        name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ
    }
    return kept | {"COLUMNS": "120", "NO_COLOR": "1"}


async def sign_up(visitor: httpx.AsyncClient, name: str) -> dict[str, Any]:
    body = {"email": f"{name}@example.com", "password": "correct horse battery"}
    response = await visitor.post("/api/users/signup", json=body)
    assert response.status_code == 201, response.text
    user: dict[str, Any] = response.json()["current_user"]
    return user
