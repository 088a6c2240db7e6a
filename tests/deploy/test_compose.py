"""The whole system in containers: it starts, sells, survives kills and keeps its data."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from playwright.async_api import async_playwright

from tests.deploy.compose import ROOT, Compose, NoDocker, compose_command, installed
from tests.deploy.market import TRIED_SECONDS, Market
from tests.shop import chromium
from tests.shop.visitor import visiting
from tests.system import PLAIN

pytestmark = pytest.mark.timeout(600)

READY_SECONDS = 90.0
KILLED = (
    "postgres",
    "redis",
    "push-redis",
    "auth",
    "tickets",
    "orders",
    "payments",
    "push-1",
    "push-2",
    "relay",
    "worker",
    "frontend",
    "stripe-sandbox",
    "ingress",
)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Compose, float]]:
    """The system, and the seconds that its first `up` took with built images."""
    try:
        with installed(tmp_path_factory.mktemp("compose")) as compose:
            compose.build()
            yield compose, compose.up()
    except NoDocker as error:
        pytest.fail(str(error))


@pytest.fixture
def compose(started: tuple[Compose, float]) -> Compose:
    return started[0]


@pytest.fixture
async def market(compose: Compose) -> AsyncIterator[Market]:
    async with AsyncExitStack() as stack:
        sessions = [
            await stack.enter_async_context(
                httpx.AsyncClient(base_url=compose.url, timeout=15, verify=PLAIN)
            )
            for _ in range(2)
        ]
        market = Market(*sessions)
        await market.open()
        yield market


def test_compose_up_is_ready_in_time(
    started: tuple[Compose, float], record_property: Callable[[str, object], None]
) -> None:
    _, seconds = started
    assert seconds < READY_SECONDS
    record_property("seconds", round(seconds, 1))


async def test_a_purchase_through_the_ingress_reaches_pusher_js(
    compose: Compose, market: Market
) -> None:
    async with market.watcher(compose.port) as watcher:
        await watcher.subscribed(f"show-{market.show_id}")
        await watcher.subscribed(market.private)
        ticket_id = await market.ticket()
        await market.pay(await market.order(ticket_id))
        for event in ("ticket.listed", "ticket.held", "ticket.reserved", "ticket.sold"):
            seen = await watcher.event(event, f"show-{market.show_id}")
            assert seen.data["ticket"]["id"] == ticket_id
        for event in ("order.created", "payment.captured", "order.completed"):
            await watcher.event(event, market.private)
    assert compose.check()["status"] == "holds"


async def test_the_shop_loads_without_console_errors(compose: Compose, market: Market) -> None:
    await market.ticket()
    # By the host name in the pages' configuration: another name is another origin.
    url = f"http://localhost:{compose.port}"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium.executable(), args=list(chromium.ARGUMENTS)
        )
        async with visiting(browser, url) as visitor:
            await visitor.open_show(market.show_id)
            assert visitor.errors == []
            assert visitor.hosts == {f"localhost:{compose.port}"}
        await browser.close()


@pytest.mark.parametrize("service", KILLED)
async def test_a_killed_container_restarts_and_the_purchase_continues(
    compose: Compose, market: Market, service: str
) -> None:
    async with market.watcher(compose.port) as watcher:
        await watcher.subscribed(f"show-{market.show_id}")
        ticket_id = await market.ticket()
        order_id = await market.order(ticket_id)
        await asyncio.to_thread(compose.kill, service)
        await market.pay(order_id)
        await watcher.event("ticket.sold", f"show-{market.show_id}", seconds=TRIED_SECONDS)
    assert (await asyncio.to_thread(compose.check))["status"] == "holds"


async def test_down_and_up_keep_the_data(compose: Compose, market: Market) -> None:
    order_id = await market.order(await market.ticket())
    await market.pay(order_id)
    await asyncio.to_thread(compose.down)
    assert await asyncio.to_thread(compose.up) < READY_SECONDS
    # The session and the account are kept too.
    assert await market.status(order_id) == "completed"
    async with httpx.AsyncClient(base_url=compose.url, timeout=15, verify=PLAIN) as again:
        credentials = {"email": market.email, "password": "correct horse battery"}
        assert (await again.post("/api/users/signin", json=credentials)).status_code == 200
    assert compose.check()["status"] == "holds"


def test_no_process_is_root_or_can_write_or_install(compose: Compose) -> None:
    for service in compose.services():
        state = compose.state(service)
        host = state["HostConfig"]
        assert host["ReadonlyRootfs"], service
        assert host["CapDrop"] == ["ALL"], service
        assert "no-new-privileges:true" in host["SecurityOpt"], service
        assert all(
            port["HostIp"] == "127.0.0.1"
            for ports in host["PortBindings"].values()
            for port in ports
        ), service
        assert _inside(state["Id"], "id -u").strip() != "0", service
    for image in ("orders", "frontend"):
        container = compose.container(image)
        assert "No module named pip" in _inside(
            container, "/usr/bin/env python -m pip 2>&1 || true"
        )
        assert not _inside(container, "command -v uv pip gcc cc make npm node || true").strip()


def test_a_container_without_secrets_exits_with_a_sentence(
    compose: Compose, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.env"
    empty.touch()
    command = [*compose_command(), "--env-file", str(empty), "config"]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "make env" in refused.stderr


def test_logs_contain_no_secret(compose: Compose) -> None:
    secret = compose.secrets()
    assert len(secret) > 10
    logs = compose("logs", "--no-color")
    assert "worker" in logs
    assert [name for name, value in secret.items() if value in logs] == []


def _inside(container: str, command: str) -> str:
    result = subprocess.run(
        ["docker", "exec", container, "sh", "-c", command],
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout
