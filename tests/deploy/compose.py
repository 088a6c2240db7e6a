"""compose.yaml as an operator runs it: its own .env, a free port, a project name of its own.

with installed(folder) as compose:
    compose.up()
    compose.kill("orders")
"""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from backend.embedded.secrets import fill
from loadtests.ports import free_port

ROOT = Path(__file__).parents[2]
BUILD_SECONDS = 900
CALL_SECONDS = 300
HEALTHY_SECONDS = 90.0
WITHOUT_DOCKER = (
    "the tests of compose.yaml need Docker: install docker and its compose plugin, start the"
    " daemon, and see that `docker info` and `docker compose version` (or `docker-compose"
    " version`) answer"
)
# The classic builder would build unused stages.
BUILDKIT = {"DOCKER_BUILDKIT": "1", "COMPOSE_DOCKER_CLI_BUILD": "1"}


class NoDocker(Exception):
    """The message has the remedy."""


class Compose:
    def __init__(
        self, project: str, env_file: Path, port: int, profiles: Sequence[str] = ()
    ) -> None:
        self.project = project
        self.env_file = env_file
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._command = [*compose_command(), "--project-name", project, "--env-file", str(env_file)]
        self._command += [word for profile in profiles for word in ("--profile", profile)]

    def build(self, *services: str) -> None:
        """Build the images of these services; without any, the two that all others share."""
        self("build", *(services or ("migrate", "frontend")), seconds=BUILD_SECONDS)

    def up(self) -> float:
        """Start everything and wait until the ingress is ready. Returns the seconds."""
        began = time.monotonic()
        self("up", "--detach", "--no-build")
        self.healthy("ingress")
        return time.monotonic() - began

    def down(self, *options: str) -> None:
        self("down", *options)

    def services(self) -> list[str]:
        """The running services."""
        project_label = f"label=com.docker.compose.project={self.project}"
        return docker(
            "ps", "--filter", project_label, "--format", '{{.Label "com.docker.compose.service"}}'
        ).split()

    def kill(self, service: str) -> None:
        """Send SIGKILL to every process of the container except its init, which then exits.

        `docker kill` counts as an operator's stop, after which Docker restarts nothing.
        """
        before = self.state(service)
        docker("exec", self.container(service), "sh", "-c", "kill -9 -1", check=False)
        deadline = time.monotonic() + HEALTHY_SECONDS
        while (now := self.state(service))["RestartCount"] == before["RestartCount"]:
            assert time.monotonic() < deadline, f"{service} was not started again: {now['State']}"
            time.sleep(0.2)
        self.healthy(service)

    def healthy(self, service: str) -> None:
        deadline = time.monotonic() + HEALTHY_SECONDS
        while (state := self.state(service)["State"])["Health"]["Status"] != "healthy":
            assert time.monotonic() < deadline, f"{service} is {state}\n{self.log(service)}"
            time.sleep(0.2)

    def check(self) -> dict[str, Any]:
        """The output of `gittix check`."""
        output = self("run", "--rm", "--no-deps", "-T", "check", "check", "--json", check=False)
        line = next(line for line in output.splitlines() if line.startswith("{"))
        found: dict[str, Any] = json.loads(line)
        return found

    def secrets(self) -> dict[str, str]:
        """The secrets of `.env` by their names."""
        values = dict(
            line.split("=", 1)
            for line in self.env_file.read_text().splitlines()
            if line[:1].isupper()
        )
        return {
            name: value
            for name, value in values.items()
            if name.endswith(("_PASSWORD", "_SECRET", "_PRIVATE_KEY", "SANDBOX_KEY"))
        }

    def state(self, service: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(docker("inspect", self.container(service)))[0]
        return found

    def container(self, service: str) -> str:
        return self("ps", "--quiet", service).strip()

    def log(self, service: str) -> str:
        return self("logs", "--tail=30", service)

    def __call__(self, *arguments: str, seconds: float = CALL_SECONDS, check: bool = True) -> str:
        """Run a command of compose. Returns its output."""
        return _run([*self._command, *arguments], seconds=seconds, check=check)


@contextmanager
def installed(folder: Path, *, profiles: Sequence[str] = (), **settings: str) -> Iterator[Compose]:
    """An installation with its own secrets, removed after the block. Raises NoDocker."""
    port = free_port()
    env_file = folder / "compose.env"
    env_file.touch(0o600)
    text = fill((ROOT / ".env.example").read_text())
    for name, value in {"PORT": str(port), **settings}.items():
        text = re.sub(rf"(?m)^{name}=.*$", f"{name}={value}", text)
    env_file.write_text(text)
    compose = Compose(f"gittix-test-{uuid4().hex[:8]}", env_file, port, profiles)
    try:
        yield compose
    finally:
        compose.down("--volumes", "--remove-orphans")


def compose_command() -> list[str]:
    """The compose of this machine: the plug-in or the older program. Raises NoDocker."""
    if _works("docker", "info"):
        for command in (["docker", "compose"], ["docker-compose"]):
            if _works(*command, "version"):
                return command
    raise NoDocker(WITHOUT_DOCKER)


def _works(*command: str) -> bool:
    return (
        shutil.which(command[0]) is not None
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


def docker(*arguments: str, check: bool = True) -> str:
    return _run(["docker", *arguments], seconds=CALL_SECONDS, check=check)


def _run(command: list[str], *, seconds: float, check: bool) -> str:
    result = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | BUILDKIT,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert not (check and result.returncode), (
        f"{' '.join(command)}: {result.stdout[-2000:]}{result.stderr[-2000:]}"
    )
    return result.stdout
