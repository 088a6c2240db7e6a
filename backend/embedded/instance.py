"""An embedded instance: a data folder, its secrets, its ports and the environment made of them.

Secrets are created once and kept beside the data, readable by their owner only. The settings in the
environment of `gittix up` (HOLD_SECONDS, RATE_LIMITS …) override those derived here.
"""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from backend.embedded import data_folder
from backend.embedded.ports import HOST, Ports
from backend.embedded.postgres import Postgres
from backend.embedded.redis import Redis
from backend.embedded.secrets import Secrets, new_password, new_secrets, one_word
from backend.embedded.sockets import socket_folder
from backend.kernel.settings import ROLES, Settings

DEFAULT_FOLDER = Path(".gittix")
# An embedded instance has its own stores, so it ignores the URLs of others in the environment.
NOT_OVERRIDDEN = frozenset(
    {
        "DATABASE_URL",
        "REDIS_URL",
        "PUSH_REDIS_URL",
        *(f"{role.upper()}_DATABASE_URL" for role in ROLES),
    }
)


class InstanceError(Exception):
    """The instance can't be used as requested; the message gives the problem and the remedy."""


class Instance(NamedTuple):
    folder: Path
    secrets: Secrets
    ports: Ports
    run: Path

    @property
    def postgres(self) -> Postgres:
        return Postgres(self.folder, self.secrets.postgres_password, self.run)

    @property
    def redis(self) -> Redis:
        return Redis(self.folder, self.run)

    @property
    def ledger(self) -> Path:
        """The Stripe sandbox's SQLite file: like Stripe's data, it is not in our Postgres."""
        return self.folder / "stripe-sandbox.sqlite"

    def operations(self, process: str) -> Path:
        """The Unix socket for health and metrics of a process without an HTTP port."""
        return self.run / f"{process}.sock"

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.ports.api}"

    @property
    def sandboxed(self) -> bool:
        """Whether payments go to the sandbox, and not to the Stripe account of STRIPE_API_KEY."""
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
                f"{role.upper()}_DATABASE_URL": self.postgres.url(
                    role=f"gittix_{role}", password=self.secrets.role_passwords[role]
                )
                for role in ROLES
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
        """The environment of the instance's last start."""
        return self.folder / "environment.json"

    def write_environment(self) -> None:
        _write_private(self.env_file, msgspec.json.encode(self.environment()))


def open_instance(folder: Path, ports: Ports) -> Instance:
    """Return the instance in `folder`, created when there is none.

    Raises DataFolderError, SocketFolderError and InstanceError.
    """
    folder = data_folder.prepare(folder)
    path = folder / "secrets.json"
    if path.exists():
        kept = _completed(path, _read_secrets(path))
    else:
        kept = new_secrets()
        _write_private(path, msgspec.json.encode(kept))
    return Instance(folder, kept, ports, socket_folder(folder))


def environment_of(folder: Path) -> Mapping[str, str]:
    """The environment of the instance in `folder`. Raises InstanceError when there is none."""
    path = folder.expanduser().resolve() / "environment.json"
    if not path.exists():
        raise InstanceError(
            f"There is no instance in {folder}. Start one with: gittix up --data {folder}"
        )
    return msgspec.json.decode(path.read_bytes(), type=dict[str, str])


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock the instance for this process. Raises InstanceError while another holds the lock."""
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # For signals to the process: `kill -USR1 $(cat .gittix/lock)`.
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
        except BlockingIOError:
            raise InstanceError(
                f"Another gittix up is using {folder}. "
                "Stop it, or choose another folder with --data."
            ) from None
        yield


def _completed(path: Path, kept: Secrets) -> Secrets:
    """The secrets with a password for each role, also for those that are newer than the file."""
    missing = set(ROLES) - kept.role_passwords.keys()
    if not missing:
        return kept
    made = {role: new_password() for role in sorted(missing)}
    completed = msgspec.structs.replace(kept, role_passwords=kept.role_passwords | made)
    _write_private(path, msgspec.json.encode(completed))
    return completed


def _read_secrets(path: Path) -> Secrets:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Secrets)
    except msgspec.DecodeError as error:
        raise InstanceError(
            f"{path} is damaged, and the data can't be read without it. "
            "Restore it from a backup, or choose another folder with --data."
        ) from error


def _write_private(path: Path, content: bytes) -> None:
    """Write atomically, readable by the owner only."""
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
