"""The ingress starts with its environment or names the error, and follows address changes."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.deploy.dns import answering_dns
from tests.deploy.echo import Echo, echoing
from tests.deploy.nginx import SERVICES, environment, executable, ingress, prepared
from tests.system import until

FOLLOWING = (1, 27, 3)
FOLLOWED_SECONDS = 15.0
UPSTREAMS = dict.fromkeys(SERVICES, "127.0.0.1:9")


def start(
    folder: Path, settings: Mapping[str, str], *options: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [folder / "start", *options],
        env=dict(settings),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        (
            {"AUTH_UPSTREAM": ""},
            "AUTH_UPSTREAM is not set: give the service's addresses, such as auth:8000",
        ),
        (
            {"PUSH_UPSTREAM": "push"},
            'PUSH_UPSTREAM is "push", which is not host:port, several by spaces',
        ),
        ({"PUSH_UPSTREAM": "push:1;include /etc/passwd"}, "PUSH_UPSTREAM is"),
        ({"SANDBOX_UPSTREAM": "a:1 b:2"}, "SANDBOX_UPSTREAM is"),
        ({"TRUSTED_PROXIES": "everyone"}, "TRUSTED_PROXIES is"),
        ({"RATE_LIMITS": "maybe"}, 'RATE_LIMITS is "maybe", which is not on or off'),
        (
            {"REQUEST_RATE": "50"},
            'REQUEST_RATE is "50", which is not a rate such as 50r/s or 30r/m',
        ),
        ({"REQUEST_BURST": "1\n2"}, "REQUEST_BURST is"),
        ({"SERVER_NAME": "a;b"}, "SERVER_NAME is"),
        ({"RUN_FOLDER": "here"}, "RUN_FOLDER is"),
        (
            {"TLS_CERTIFICATE": "/etc/hostname"},
            'TLS_KEY is "", which is not an absolute path (TLS needs both',
        ),
        (
            {"TLS_CERTIFICATE": "/nowhere", "TLS_KEY": "/nowhere"},
            "TLS_CERTIFICATE is /nowhere, which can't be read",
        ),
        (
            {"WORKER_CONNECTIONS": "999999999"},
            "WORKER_CONNECTIONS is 999999999, which takes 1999999998 open files",
        ),
    ],
)
def test_the_error_names_a_missing_or_malformed_value(
    folder: Path, settings: dict[str, str], error: str
) -> None:
    place = prepared(folder)
    ended = start(place, environment(place, UPSTREAMS) | settings)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"ingress: {error}"), ended.stderr
    assert ended.stderr.count("ingress:") == 1


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {
            "TRUSTED_PROXIES": "10.0.0.0/8, ::1",
            "SANDBOX_UPSTREAM": "127.0.0.1:9",
            "SERVER_NAME": "a.example *.b.example",
        },
    ],
    ids=["defaults", "all"],
)
def test_nginx_and_gixy_report_no_problem(folder: Path, settings: dict[str, str]) -> None:
    place = prepared(folder)
    checked = start(place, environment(place, UPSTREAMS) | settings, "-t")
    assert checked.returncode == 0, checked.stderr
    assert "warn" not in checked.stderr
    linted = subprocess.run(
        [sys.executable, "-m", "gixy", "--format", "json", place / "nginx.conf"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert json.loads(linted.stdout) == [], linted.stdout
    assert linted.returncode == 0


def test_the_linter_reports_a_planted_problem(folder: Path) -> None:
    place = prepared(folder)
    template = place / "nginx.conf.template"
    template.write_text(template.read_text().replace("Host $host", "Host $http_host"))
    assert start(place, environment(place, UPSTREAMS), "-t").returncode == 0
    linted = subprocess.run(
        [sys.executable, "-m", "gixy", place / "nginx.conf"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "host_spoofing" in linted.stdout
    assert linted.returncode != 0


async def test_requests_follow_the_address_of_a_name(folder: Path) -> None:
    if version() >= FOLLOWING:
        await follows_a_name_server(folder)
    else:
        await reloads_when_an_address_has_changed(folder)


async def follows_a_name_server(folder: Path) -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(echoing("127.0.0.1"))
        second = await stack.enter_async_context(echoing("127.0.0.2", first.port))
        names = await stack.enter_async_context(answering_dns("127.0.0.1"))
        upstreams = UPSTREAMS | {"tickets": f"tickets.shop.example:{first.port}"}
        nginx = await stack.enter_async_context(
            ingress(folder, upstreams, RESOLVER=f"127.0.0.1:{names.port}")
        )
        client = await stack.enter_async_context(nginx.client())

        async def reaches(echo: Echo) -> bool:
            before = len(echo.seen)
            await client.get("/api/shows")
            return len(echo.seen) > before

        await until(lambda: reaches(first))
        workers = nginx.workers()
        names.address = "127.0.0.2"
        await until(lambda: reaches(second), seconds=FOLLOWED_SECONDS)
        assert nginx.workers() == workers


async def reloads_when_an_address_has_changed(folder: Path) -> None:
    """The test observes the reload, since nginx resolves names only then."""
    addresses = folder / "addresses"
    commands = folder / "commands"
    commands.mkdir()
    (commands / "getent").write_text(f"#!/bin/sh\ncat {addresses}\n")
    (commands / "getent").chmod(0o755)
    addresses.write_text("127.0.0.1 STREAM localhost\n")
    async with echoing() as echo:
        upstreams = UPSTREAMS | {"tickets": f"localhost:{echo.port}"}
        path = f"{commands}:{os.environ['PATH']}"
        async with ingress(folder, upstreams, PATH=path) as nginx, nginx.client() as client:
            before = nginx.workers()
            await asyncio.sleep(FOLLOWED_SECONDS / 2)
            assert nginx.workers() == before
            addresses.write_text("127.0.0.2 STREAM localhost\n")

            async def workers_are_new() -> bool:
                return bool(nginx.workers() - before)

            await until(workers_are_new, seconds=FOLLOWED_SECONDS)
            assert (await client.get("/api/shows")).status_code == 200


def version() -> tuple[int, ...]:
    printed = subprocess.run(
        [executable(), "-v"], capture_output=True, text=True, check=True
    ).stderr
    return tuple(int(part) for part in printed.split("/")[1].split()[0].split("."))
