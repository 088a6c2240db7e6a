"""The ingress as a process: `ingress/start` as in its container, unprivileged, on free ports.

`python -m tests.deploy.nginx` installs Debian's nginx where there is none.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx

from loadtests.ports import free_port
from tests.system import PLAIN

SOURCES = Path(__file__).parents[2] / "ingress"
SERVICES = ("auth", "tickets", "orders", "payments", "push", "frontend")
NOBODY = "nobody"
START_SECONDS = 10.0
INSTALL_SECONDS = 300


class NoNginx(Exception):
    """nginx is not installed and cannot be installed; the message has the remedy."""


class Nginx:
    """One running ingress. Its access log is its standard output, as in a container."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = dict(environment)
        self.port = int(environment["LISTEN_PORT"])
        self.url = f"http://127.0.0.1:{self.port}"
        self.status_url = f"http://127.0.0.1:{environment['STATUS_PORT']}"
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        self._process = self._launch()
        async with asyncio.timeout(START_SECONDS), self.client() as client:
            while not await _answers(client, self.status_url):
                assert self._process.poll() is None, self.errors()
                await asyncio.sleep(0.02)

    async def stop(self, number: signal.Signals = signal.SIGTERM, *, seconds: float = 10.0) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            await asyncio.to_thread(self._process.wait, seconds)

    async def reload(self) -> None:
        """Wait until new workers have taken over; old ones keep their sockets for a while."""
        assert self._process is not None
        before = self.workers()
        self._process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(START_SECONDS):
            while not self.workers() - before:  # noqa: ASYNC110 - /proc has no events
                await asyncio.sleep(0.02)

    def workers(self) -> set[int]:
        """The process ids of all workers, with those that are shutting down."""
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return {int(child) for child in children if b"worker process" in _command(child)}

    def client(self, **options: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=20, verify=PLAIN, **options)

    def access_log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output().splitlines()]

    def output(self) -> str:
        return (self.folder / "stdout").read_text()

    def errors(self) -> str:
        return (self.folder / "stderr").read_text()

    def _launch(self) -> subprocess.Popen[bytes]:
        """Start without asyncio: uvloop cannot start a process as another user."""
        with (
            _owned_by_nobody(self.folder / "stdout") as out,
            _owned_by_nobody(self.folder / "stderr") as errors,
        ):
            return subprocess.Popen(
                (self.folder / "start",),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                start_new_session=True,
                user=_user(),
                cwd="/",
            )


def environment(folder: Path, upstreams: Mapping[str, str], **settings: str) -> dict[str, str]:
    """The environment of `ingress/start`: addresses of the services, free ports, and `settings`."""
    return {
        "PATH": os.environ["PATH"],
        "RUN_FOLDER": str(folder),
        "LISTEN_PORT": str(free_port()),
        "STATUS_PORT": str(free_port()),
        **{f"{service.upper()}_UPSTREAM": addresses for service, addresses in upstreams.items()},
        **settings,
    }


def prepared(folder: Path) -> Path:
    """A folder with the ingress's files, and a writable one beside them."""
    place = Path(tempfile.mkdtemp(prefix="ingress-", dir=folder))
    shutil.copytree(SOURCES, place, dirs_exist_ok=True)
    if (user := _user()) is not None:
        shutil.chown(place, user)
    return place


@asynccontextmanager
async def ingress(
    folder: Path, upstreams: Mapping[str, str], **settings: str
) -> AsyncIterator[Nginx]:
    """An nginx in front of these addresses, while the block runs."""
    executable()
    place = prepared(folder)
    nginx = Nginx(place, environment(place, upstreams, **settings))
    try:
        await nginx.start()
        yield nginx
    finally:
        await nginx.stop()


def executable() -> str:
    """Raises NoNginx: a test that cannot run must not pass."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if found is None or shutil.which("envsubst") is None:
        raise NoNginx(
            "The ingress's tests need nginx and envsubst: run make nginx, or install your"
            " system's packages."
        )
    return found


def install() -> None:
    """Install Debian's packages. Raises NoNginx."""
    commands = (
        ("apt-get", "update", "-qq"),
        (
            "apt-get",
            "install",
            "-y",
            "-qq",
            "--no-install-recommends",
            "nginx-light",
            "gettext-base",
        ),
    )
    try:
        for command in commands:
            subprocess.run(command, check=True, timeout=INSTALL_SECONDS, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError) as error:
        raise NoNginx(
            f"nginx could not be installed ({error}). Install nginx and envsubst by hand, then"
            " run the tests again."
        ) from error


def _user() -> str | None:
    return NOBODY if os.geteuid() == 0 else None


@contextmanager
def _owned_by_nobody(path: Path) -> Iterator[int]:
    """A log file that the ingress's user may open, since nginx opens it again by name."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        if (user := _user()) is not None:
            shutil.chown(path, user)
        yield descriptor
    finally:
        os.close(descriptor)


async def _answers(client: httpx.AsyncClient, url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return (await client.get(f"{url}/healthz")).status_code == 200
    return False


def _command(pid: str) -> bytes:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def main() -> int:
    try:
        executable()
    except NoNginx:
        print("Installing nginx for the ingress's tests …")
        try:
            install()
            executable()
        except NoNginx as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
