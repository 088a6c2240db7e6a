"""The system under load: its addresses and, if known, its environment."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import msgspec
from rich.console import Console

from backend.embedded.instance import DEFAULT_FOLDER, InstanceError, environment_of
from loadtests.attacks.attacker import is_loopback
from loadtests.instance import instance
from loadtests.scenario import Scenario
from loadtests.users import source_address

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
    scenario: Scenario,
    console: Console,
) -> Iterator[Target]:
    """The system at `url`, else the instance in the folder, else a new one. Raises TargetError."""
    limits = scenario.instance.get("RATE_LIMITS", "off")
    if url:
        console.print(f"Loading {url}", highlight=False)
        if scenario.siege is not None:
            require_loopback(url)
        found = reach(url, push_url, os.environ if knows_database(os.environ) else {})
        if scenario.siege is not None:
            require_loopback(found.push_url)
        yield found
        return
    folder = data or DEFAULT_FOLDER
    environment = _running(folder)
    if environment is None:
        console.print(
            f"Nothing runs in {folder}: starting an instance for this run, "
            f"with RATE_LIMITS={limits} …"
        )
        with instance(**scenario.instance) as own:
            yield reach(own["API_URL"], push_url, own)
        return
    if environment.get("RATE_LIMITS", "on") != limits:
        reason = (
            "limits rates, and all users here have one IP address"
            if limits == "off"
            else "has no limits of rates, and this scenario attacks it"
        )
        raise TargetError(
            f"The instance in {folder} {reason}. Start it with RATE_LIMITS={limits}, or stop it: "
            "the run then starts its own instance."
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


def require_loopback(url: str) -> None:
    """Raises TargetError unless attacks on this address stay on this machine."""
    if not is_loopback(urlsplit(url).hostname or ""):
        raise TargetError(
            "This scenario attacks its target, so it runs only against an instance of this "
            "machine, at 127.0.0.1 or localhost."
        )
    if not source_address.available():
        raise TargetError(
            f"This machine has no addresses {source_address.NETWORK}.*, which the users of this "
            "scenario connect from. Run it on Linux."
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
