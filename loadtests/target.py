"""The system under load: its addresses and, if known, its environment."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import msgspec
from rich.console import Console

from backend.embedded.instance import DEFAULT_FOLDER, InstanceError, environment_of
from loadtests.instance import instance

REACH_SECONDS = 10.0


class TargetError(Exception):
    """The target can't be used; the message gives the problem and the remedy."""


class Target(NamedTuple):
    """`environment` is empty when only the address is known."""

    url: str
    push_url: str
    environment: Mapping[str, str]

    @property
    def jwt_private_key(self) -> str:
        return self.environment.get("JWT_PRIVATE_KEY", "")

    @property
    def database_known(self) -> bool:
        return knows_database(self.environment)


def knows_database(environment: Mapping[str, str]) -> bool:
    """Whether `gittix check` can run with this environment."""
    return any(environment.get(name) for name in ("DATABASE_URL", "CHECK_DATABASE_URL"))


class PushConfig(msgspec.Struct, frozen=True):
    key: str
    host: str
    port: int
    tls: bool
    cluster: str


@contextmanager
def target(
    url: str | None,
    push_url: str | None,
    data: Path | None,
    settings: Mapping[str, str],
    console: Console,
) -> Iterator[Target]:
    """The system at `url`, else the instance in the folder, else a new one. Raises TargetError."""
    if url:
        console.print(f"Loading {url}", highlight=False)
        yield reach(url, push_url, os.environ if knows_database(os.environ) else {})
        return
    folder = data or DEFAULT_FOLDER
    environment = _running(folder)
    if environment is None:
        console.print(
            f"Nothing runs in {folder}: starting an instance for this run, with RATE_LIMITS=off …"
        )
        with instance(**settings) as own:
            yield reach(own["API_URL"], push_url, own)
        return
    if environment.get("RATE_LIMITS") != "off":
        raise TargetError(
            f"The instance in {folder} limits rates, and all users here have one IP address. "
            "Start it with RATE_LIMITS=off, or stop it: the run then starts its own instance."
        )
    console.print(
        f"Loading the instance in {folder}, {environment['PUBLIC_ORIGIN']}", highlight=False
    )
    yield reach(environment["PUBLIC_ORIGIN"], push_url, environment)


def reach(url: str, push_url: str | None, environment: Mapping[str, str]) -> Target:
    """Read the push configuration of the system at this address. Raises TargetError."""
    url = url.rstrip("/")
    try:
        answer = httpx.get(f"{url}/api/push/config", timeout=REACH_SECONDS)
        answer.raise_for_status()
        config = msgspec.json.decode(answer.content, type=PushConfig)
    except msgspec.DecodeError as error:
        raise TargetError(
            f"{url}/api/push/config is not GitTix's. Check that GitTix runs at this address."
        ) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise TargetError(
            f"{url} does not answer as GitTix: {error}. Check that it runs at this address."
        ) from error
    if not push_url:
        push_url = (
            f"{'wss' if config.tls else 'ws'}://{config.host or httpx.URL(url).host}:{config.port}"
        )
    return Target(
        url,
        f"{push_url.rstrip('/')}/app/{config.key}?protocol=7&client=gittix-load&version=1",
        environment,
    )


def _running(folder: Path) -> Mapping[str, str] | None:
    """The environment of the instance in this folder, if it answers."""
    try:
        environment = environment_of(folder)
        httpx.get(
            f"{environment['PUBLIC_ORIGIN']}/readyz", timeout=REACH_SECONDS
        ).raise_for_status()
    except (InstanceError, httpx.HTTPError):
        return None
    return environment


def check_command() -> list[str]:
    return [sys.executable, "-m", "backend.cli", "check", "--json"]
