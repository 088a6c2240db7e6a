"""The profiles of compose.yaml: Prometheus scrapes every process, load tests end with a verdict."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from tests.deploy.compose import Compose, NoDocker, installed
from tests.system import PLAIN, free_port, until

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


def test_a_load_test_ends_with_its_verdict(started: Started) -> None:
    run = ("run", "--rm", "--no-deps", "-T", "load-headless", "smoke")
    assert "invariants broken" in started.compose(*run, seconds=LOAD_SECONDS)
