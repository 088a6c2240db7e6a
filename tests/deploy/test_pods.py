"""The rendered pods of k8s/overlays/dev: they start with their restrictions, wait, sell and end."""

import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deploy.compose import NoDocker, compose_command
from tests.deploy.market import Market
from tests.deploy.pods import Cluster, build_images, cluster, names
from tests.k8s.rendered import pod, render
from tests.system import PLAIN, until

pytestmark = pytest.mark.timeout(900)

# Longer than a process takes to find that the migration is complete.
WAITING_SECONDS = 6.0
STORES = ("postgres", "redis", "push-redis", "stripe-sandbox")


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Everything; the migration starts after the pods that wait for it."""
    try:
        compose_command()
    except NoDocker as error:
        pytest.fail(str(error))
    build_images()
    folder: Path = tmp_path_factory.mktemp("pods")
    # Postgres and nginx run as other users and read files that are mounted from here.
    for each in (folder, *folder.parents[:2]):
        each.chmod(0o755)
    with cluster(render("dev", folder), folder) as started:
        for name in STORES:
            started.start(name)
            started.until_ready(name)
        _migrate_under_a_waiting_service(started)
        # nginx before 1.27.3 must resolve every name at its start.
        behind = [
            name
            for name in names(started.rendered, "Deployment", "StatefulSet")
            if name not in (*STORES, "ingress")
        ]
        for group in (behind, ["ingress"]):
            with ThreadPoolExecutor() as pool:
                list(pool.map(started.start, group))
                list(pool.map(started.until_ready, group))
        yield started


def _migrate_under_a_waiting_service(started: Cluster) -> None:
    waits = pod(started.rendered.workload("orders"))["initContainers"][0]
    waiting = started.begin("orders", waits | {"name": "early"})
    time.sleep(WAITING_SECONDS)
    assert started.running(waiting), "orders does not wait for the migration"
    started.begin("migrate", pod(started.rendered.workload("migrate"))["containers"][0])
    assert started.wait(waiting) == 0


def test_every_pod_is_ready_and_alive(started: Cluster) -> None:
    workloads = names(started.rendered, "Deployment", "StatefulSet")
    assert {name: started.alive(name) for name in workloads} == dict.fromkeys(workloads, True)


@pytest.fixture
async def market(started: Cluster) -> AsyncIterator[Market]:
    async with AsyncExitStack() as stack:
        url = f"http://{started.address('ingress')}:8080"
        sessions = [
            await stack.enter_async_context(
                httpx.AsyncClient(base_url=url, timeout=15, verify=PLAIN)
            )
            for _ in range(2)
        ]
        market = Market(*sessions)
        await market.open()
        yield market


async def test_a_ticket_is_sold_through_the_ingress(started: Cluster, market: Market) -> None:
    async with market.watcher(8080, host=started.address("ingress")) as watcher:
        await watcher.subscribed(f"show-{market.show_id}")
        ticket_id = await market.ticket()
        await market.pay(await market.order(ticket_id))
        for event in ("ticket.listed", "ticket.held", "ticket.reserved", "ticket.sold"):
            seen = await watcher.event(event, f"show-{market.show_id}")
            assert seen.data["ticket"]["id"] == ticket_id


async def test_prometheus_finds_every_pod_and_loads_the_rules(started: Cluster) -> None:
    scraped = set(names(started.rendered, "Deployment")) - {"ingress"}
    async with httpx.AsyncClient(
        base_url=f"http://{started.address('prometheus')}:9090", verify=PLAIN
    ) as client:

        async def query_api(path: str, **parameters: str) -> Any:
            return (await client.get(f"/api/v1/{path}", params=parameters)).json()["data"]

        async def up() -> bool:
            found = (await query_api("query", query="up == 1"))["result"]
            return {each["metric"]["service"] for each in found} == scraped

        await until(up, seconds=60)
        assert (await query_api("rules"))["groups"]
        assert (await client.get("/consoles/gittix.html")).is_success


def test_every_pod_ends_by_itself_within_its_grace_period(started: Cluster) -> None:
    """Defined last, because it stops every pod."""
    workloads = [
        name for name in names(started.rendered, "Deployment", "StatefulSet") if name not in STORES
    ]
    with ThreadPoolExecutor() as pool:
        ended = dict(zip(workloads, pool.map(started.end, workloads), strict=True))
    assert ended == dict.fromkeys(workloads, 0)
