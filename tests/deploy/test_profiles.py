"""The profiles of compose.yaml: Prometheus scrapes every process, load tests end with a verdict."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from loadtests.ports import free_port
from tests.deploy.compose import Compose, NoDocker, docker, installed
from tests.system import PLAIN, until

pytestmark = pytest.mark.timeout(600)

LOAD_SECONDS = 180.0
SCRAPED = {
    "auth",
    "tickets",
    "orders",
    "payments",
    "push-1",
    "push-2",
    "frontend",
    "relay",
    "worker",
    "check",
}


class Started(NamedTuple):
    compose: Compose
    prometheus_url: str


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    ports = {name: str(free_port()) for name in ("PROMETHEUS_PORT", "LOCUST_PORT")}
    try:
        with installed(
            tmp_path_factory.mktemp("profiles"),
            profiles=("observability", "load"),
            RATE_LIMITS="off",
            **ports,
        ) as compose:
            compose.build()
            compose.build("load")
            compose.up()
            for service in ("check", "prometheus", "load"):
                compose.healthy(service)
            yield Started(compose, f"http://127.0.0.1:{ports['PROMETHEUS_PORT']}")
    except NoDocker as error:
        pytest.fail(str(error))


async def test_prometheus_scrapes_every_process_and_has_rules_and_dashboard(
    started: Started,
) -> None:
    async with httpx.AsyncClient(base_url=started.prometheus_url, verify=PLAIN) as client:

        async def query_api(path: str, **parameters: str) -> Any:
            return (await client.get(f"/api/v1/{path}", params=parameters)).json()["data"]

        async def all_are_up() -> bool:
            found = (await query_api("query", query="up == 1"))["result"]
            return {each["metric"]["service"] for each in found} == SCRAPED

        await until(all_are_up, seconds=60)
        assert (await query_api("rules"))["groups"]
        page = await client.get("/consoles/gittix.html")
        assert page.is_success
        assert "GitTix" in page.text


def test_the_tools_have_no_key_and_are_open_to_this_machine_alone(started: Started) -> None:
    compose = started.compose
    for service in ("prometheus", "load"):
        ports = compose.state(service)["HostConfig"]["PortBindings"].values()
        assert {port["HostIp"] for bound in ports for port in bound} == {"127.0.0.1"}
    secrets = compose.secrets()
    for service in ("check", "load", "prometheus"):
        environment = "\n".join(compose.state(service)["Config"]["Env"])
        known = {name for name, value in secrets.items() if value in environment}
        assert known <= {
            "CHECK_DATABASE_PASSWORD",
            "REDIS_PASSWORD",
            "PUSH_REDIS_PASSWORD",
            "STRIPE_SANDBOX_KEY",
        }, service


def test_no_argument_of_a_process_is_a_secret(started: Started) -> None:
    secrets = started.compose.secrets()
    for service in started.compose.services():
        arguments = docker("top", started.compose.container(service), "-eo", "pid,args")
        assert len(arguments.splitlines()) > 1
        assert not [name for name, value in secrets.items() if value in arguments], service


def test_the_check_cannot_change_a_row(started: Started) -> None:
    refused = docker(
        "exec",
        started.compose.container("check"),
        "python",
        "-c",
        "import asyncio, asyncpg, os\n"
        "async def write():\n"
        "    connection = await asyncpg.connect(os.environ['CHECK_DATABASE_URL'])\n"
        "    try:\n"
        "        await connection.execute('delete from tickets.tickets')\n"
        "    except asyncpg.InsufficientPrivilegeError:\n"
        "        print('refused')\n"
        "asyncio.run(write())",
    )
    assert refused.strip() == "refused"


async def test_the_document_of_the_api_is_sent_compressed(started: Started) -> None:
    async with httpx.AsyncClient(base_url=started.compose.url, verify=PLAIN) as client:
        for path in ("/api/docs", "/api/openapi.json"):
            reply = await client.get(path, headers={"Accept-Encoding": "gzip"})
            assert reply.headers["content-encoding"] == "gzip"
            assert reply.num_bytes_downloaded < len(reply.content) / 2


def test_a_load_test_ends_with_its_verdict(started: Started) -> None:
    run = ("run", "--rm", "--no-deps", "-T", "load-headless", "smoke")
    assert "invariants broken" in started.compose(*run, seconds=LOAD_SECONDS)
