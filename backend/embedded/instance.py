"""An embedded instance: a data directory, its secrets, its ports, and the environment that describes it.

Secrets are made once and kept beside the data, readable by their owner only. What the environment of `gittix up` says
(HOLD_SECONDS, RATE_LIMITS …) goes before what is derived here.
"""

import fcntl
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from backend.embedded.postgres import Postgres
from backend.embedded.redis import Redis, socket_path
from backend.embedded.secrets import Secrets, new_secrets, one_word
from backend.kernel.settings import NOUNS, Settings

DEFAULT_FOLDER = Path(".gittix")
HOST = "127.0.0.1"


class InstanceError(Exception):
    """The instance can't be used as asked; the message is a sentence that says what to do."""


class Ports(NamedTuple):
    api: int
    push: int
    stripe: int


class Instance(NamedTuple):
    folder: Path
    secrets: Secrets
    ports: Ports

    @property
    def postgres(self) -> Postgres:
        return Postgres(self.folder, self.secrets.postgres_password)

    @property
    def redis(self) -> Redis:
        return Redis(self.folder)

    @property
    def ledger(self) -> Path:
        """The Stripe sandbox's own store: Stripe is not ours, so neither is its data in our Postgres."""
        return self.folder / "stripe-sandbox.sqlite"

    def operations(self, process: str) -> Path:
        """The Unix socket at which a process without HTTP of its own shows its health and metrics."""
        return socket_path(self.folder / f"{process}.sock")

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.ports.api}"

    @property
    def sandboxed(self) -> bool:
        """Whether payments go to the sandbox here, and not to the Stripe account that this shell names."""
        return not os.environ.get("STRIPE_API_KEY")

    @property
    def _sandbox(self) -> dict[str, str]:
        url = f"http://{HOST}:{self.ports.stripe}"
        return {"STRIPE_API_BASE": url, "STRIPE_SANDBOX_URL": url}

    def environment(self) -> dict[str, str]:
        """The settings of every process of this instance, by variable name."""
        derived = {
            "DATABASE_URL": self.postgres.url(),
            **{
                f"{noun.upper()}_DATABASE_URL": self.postgres.url(
                    role=f"gittix_{noun}", password=self.secrets.role_passwords[noun]
                )
                for noun in NOUNS
            },
            "REDIS_URL": self.redis.url,
            "JWT_PRIVATE_KEY": one_word(self.secrets.jwt_private_key),
            "JWT_PUBLIC_KEYS": one_word(self.secrets.jwt_public_keys),
            "STRIPE_API_KEY": self.secrets.stripe_api_key,
            "STRIPE_WEBHOOK_SECRETS": self.secrets.stripe_webhook_secret,
            **(self._sandbox if self.sandboxed else {}),
            "PUSH_BACKEND": "gateway",
            "PUSHER_APP_ID": "1",
            "PUSHER_KEY": self.secrets.pusher_key,
            "PUSHER_SECRET": self.secrets.pusher_secret,
            "PUSHER_HOST": "localhost",
            "PUSHER_PORT": str(self.ports.push),
            "PUSHER_TLS": "false",
            "PUSHER_CLUSTER": "local",
            "PUBLIC_ORIGIN": self.origin,
            "ALLOWED_ORIGINS": ",".join(
                f"http://{host}:{port}"
                for host in ("localhost", HOST)
                for port in (self.ports.api, self.ports.push)
            ),
            "LOG_FORMAT": "console",
            "LOG_LEVEL": "warning",
        }
        names = [name.upper() for name in Settings.__struct_fields__]
        given = {
            name: os.environ[name]
            for name in names
            if os.environ.get(name) and name not in NOT_OVERRIDDEN
        }
        return derived | given

    @property
    def env_file(self) -> Path:
        """The environment as it was when the instance was last started."""
        return self.folder / "environment.json"

    def write_environment(self) -> None:
        _write_private(self.env_file, msgspec.json.encode(self.environment()))


# An embedded instance has its own stores, whatever else this shell points at.
NOT_OVERRIDDEN = frozenset(
    {"DATABASE_URL", "REDIS_URL", *(f"{noun.upper()}_DATABASE_URL" for noun in NOUNS)}
)


def open_instance(folder: Path, ports: Ports) -> Instance:
    """The instance in `folder`, made when there is none."""
    folder = folder.expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "secrets.json"
    if path.exists():
        kept = msgspec.json.decode(path.read_bytes(), type=Secrets)
    else:
        kept = new_secrets()
        _write_private(path, msgspec.json.encode(kept))
    return Instance(folder, kept, ports)


def environment_of(folder: Path) -> Mapping[str, str]:
    """The environment of the instance in `folder`. Raises InstanceError when none was ever started there."""
    path = folder.expanduser().resolve() / "environment.json"
    if not path.exists():
        raise InstanceError(
            f"There is no instance in {folder}. Start one with: gittix up --data {folder}"
        )
    return msgspec.json.decode(path.read_bytes(), type=dict[str, str])


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the instance for this process alone. Raises InstanceError while another has it."""
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InstanceError(
                f"Another gittix up is using {folder}. Stop it, or choose another folder with --data."
            ) from None
        yield


def check_port(port: int, option: str) -> None:
    """Raises InstanceError when something listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise InstanceError(
                f"Port {port} is in use. Stop what uses it, or choose another with {option}, "
                f"for example: gittix up {option} {port + 100}"
            ) from None


def _write_private(path: Path, content: bytes) -> None:
    """Whole or not at all, and for its owner only."""
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
