"""`gittix up`: starts, stops, refusals, and a purchase during which its processes are killed."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from backend.embedded.instance import environment_of
from backend.embedded.ports import PUSH_PORT, STRIPE_PORT
from backend.embedded.sockets import socket_folder
from loadtests.ports import free_port
from tests.embedded.running import Running, gittix, running, sign_up
from tests.push.watcher import Endpoint, Watcher
from tests.system import until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def data() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="gtup-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


class Market:
    """A seller, a buyer and a watcher of one show, over the public API and the gateway."""

    def __init__(
        self, up: Running, seller: httpx.AsyncClient, buyer: httpx.AsyncClient, show_id: str
    ) -> None:
        self.up = up
        self.seller = seller
        self.buyer = buyer
        self.show_id = show_id

    async def list_ticket(self) -> str:
        body = {"show_id": self.show_id, "price": 4500, "currency": "EUR"}
        response = await self.seller.post("/api/tickets", json=body)
        assert response.status_code == 201, response.text
        ticket_id: str = response.json()["id"]
        return ticket_id

    async def order(self, ticket_id: str) -> str:
        response = await self.buyer.post("/api/orders", json={"ticket_id": ticket_id})
        assert response.status_code == 201, response.text
        order_id: str = response.json()["id"]
        return order_id

    async def pay(self, order_id: str) -> httpx.Response:
        return await self.buyer.post(
            "/api/payments", json={"order_id": order_id, "payment_method": "pm_card_visa"}
        )

    async def status(self, order_id: str) -> str:
        status: str = (await self.buyer.get(f"/api/orders/{order_id}")).json()["status"]
        return status

    async def watch(self) -> Watcher:
        config = (await self.buyer.get("/api/push/config")).json()
        return Watcher(
            host="127.0.0.1",
            port=config["port"],
            key=config["key"],
            channels=[f"show-{self.show_id}"],
            auth=Endpoint(f"{self.up.url}/api/push/auth", {}),
        )


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def up() -> AsyncIterator[Running]:
    """An instance for the tests that need one that runs; its processes restart when killed."""
    with tempfile.TemporaryDirectory(prefix="gtup-", ignore_cleanup_errors=True) as folder:
        async with running(Path(folder), "--no-demo") as up:
            await up.until_up()
            yield up


@pytest_asyncio.fixture(loop_scope="module")
async def market(up: Running) -> AsyncIterator[Market]:
    async with AsyncExitStack() as stack:
        seller = await stack.enter_async_context(up.visitor())
        buyer = await stack.enter_async_context(up.visitor())
        await sign_up(seller, "seller")
        await sign_up(buyer, "buyer")
        show = {
            "title": "Harbour Lights",
            "venue": "Harbour Hall",
            "city": "Rotterdam",
            "starts_at": "2030-12-04T20:00:00+01:00",
            "timezone": "Europe/Amsterdam",
        }
        response = await seller.post("/api/shows", json=show)
        assert response.status_code == 201, response.text
        yield Market(up, seller, buyer, response.json()["id"])


async def test_a_second_start_finds_the_data_and_a_stop_leaves_nothing_running(data: Path) -> None:
    ports = (free_port(), free_port(), free_port())
    async with running(data, ports=ports) as up:
        await up.until_up()
        assert up.url.removeprefix("http://127.0.0.1") in up.output
        assert "mira@gittix.example" in up.output
        async with up.visitor() as visitor:
            shows = (await visitor.get("/api/shows")).json()["items"]
            assert len(shows) >= 8
            assert len({show["city"] for show in shows}) >= 5
            assert len({show["currency"] for show in shows}) >= 4
            assert sum(show["available"] + show["held"] + show["sold"] for show in shows) >= 200
            signed_in = await visitor.post(
                "/api/users/signin",
                json={"email": "ana@gittix.example", "password": "try-gittix-now"},
            )
            assert signed_in.status_code == 200
            await sign_up(visitor, "newcomer")
        status, checked = await gittix("check", "--data", str(data))
        assert status == 0, checked
        status, seeded = await gittix(
            "seed", "--shows", "3", "--tickets", "40", "--data", str(data)
        )
        assert status == 0, seeded
        async with up.visitor() as visitor:
            found = (await visitor.get("/api/shows", params={"limit": 100})).json()["items"]
        assert len(found) == len(shows) + 3
        status, env = await gittix("env", "--data", str(data))
        assert status == 0
        assert dict(line.split("=", 1) for line in env.splitlines())["REDIS_URL"].startswith(
            "unix://"
        )
        status, tail = await gittix(
            "events", "tail", "-n", "60", "--no-follow", "--data", str(data)
        )
        assert status == 0
        assert "user.registered" in tail
        assert await up.stop() == 0
        assert "Stopped" in up.output
        assert up.pids() == {}
    async with running(data, "--no-demo", ports=ports) as up:
        await up.until_up()
        async with up.visitor() as visitor:
            again = await visitor.post(
                "/api/users/signin",
                json={"email": "newcomer@example.com", "password": "correct horse battery"},
            )
            assert again.status_code == 200
            kept = (await visitor.get("/api/shows", params={"limit": 100})).json()["items"]
            assert len(kept) == len(shows) + 3


@pytest.mark.asyncio(loop_scope="module")
async def test_the_api_reports_the_health_of_every_process_and_names_a_dead_one(
    up: Running,
) -> None:
    async with up.visitor() as visitor:
        ready = (await visitor.get("/readyz")).json()
        assert ready["status"] == "ready"
        assert (ready["checks"]["relay.relay"], ready["checks"]["notifier.notifier.notifier"]) == (
            "active",
            "active",
        )
        metrics = (await visitor.get("/metrics")).text
        for process in ("api", "push", "relay", "worker", "consumers", "notifier"):
            assert f'process_cpu_seconds_total{{process="{process}"}}' in metrics

        async def relay_health() -> tuple[int, str | None]:
            ready = await visitor.get("/readyz")
            return ready.status_code, ready.json()["checks"].get("relay")

        async def is_gone() -> bool:
            return await relay_health() == (503, "does not answer")

        async def is_back() -> bool:
            return await relay_health() == (200, None)

        up.kill("relay")
        await until(is_gone)
        assert (await visitor.get("/healthz")).status_code == 200
        await until(is_back, seconds=30)


@pytest.fixture
def awkward_folder() -> Iterator[Path]:
    """A data folder below one that only root may enter, with a path too long for sockets."""
    closed = Path(tempfile.mkdtemp(prefix="gtup-"))
    data = closed / ("long" * 20) / "päth"
    yield data
    shutil.rmtree(socket_folder(data), ignore_errors=True)
    shutil.rmtree(closed)


async def test_an_instance_runs_in_an_awkward_folder_with_its_default_ports_in_use(
    awkward_folder: Path,
) -> None:
    data = awkward_folder
    async with AsyncExitStack() as stack:
        for port in (PUSH_PORT, STRIPE_PORT):
            # Another program of this machine may use it already, which is the same condition.
            with suppress(OSError):
                await stack.enter_async_context(await _listen(port))
        up = await stack.enter_async_context(
            running(data, "--no-demo", "--no-frontend", ports=(free_port(), None, None))
        )
        await up.until_up()
        environment = environment_of(data)
        push_port = int(environment["PUSHER_PORT"])
        stripe_url = environment["STRIPE_API_BASE"]
        assert push_port > PUSH_PORT
        assert f"ws://localhost:{push_port} " in up.output
        assert f"Port {PUSH_PORT} is in use: the push gateway is on {push_port}" in up.output
        assert stripe_url in up.output
        assert f"Port {STRIPE_PORT} is in use: the Stripe sandbox is on" in up.output
        async with up.visitor() as visitor:
            assert (await visitor.get("/api/push/config")).json()["port"] == push_port
            assert (await visitor.get(f"http://127.0.0.1:{push_port}/readyz")).status_code == 200
            assert (await visitor.get(f"{stripe_url}/healthz")).status_code == 200
            assert (await visitor.get("/readyz")).json()["status"] == "ready"
        status, checked = await gittix("check", "--data", str(data))
        assert status == 0, checked
        assert await up.stop() == 0


async def test_a_requested_port_in_use_is_refused(data: Path) -> None:
    port = free_port()
    async with await _listen(port):
        status, output = await gittix(
            "up", "--data", str(data), "--push-port", str(port), "--port", str(free_port())
        )
    assert status == 1
    assert f"Port {port} is in use" in output
    assert "--push-port" in output
    assert "Traceback" not in output


async def test_a_data_folder_in_use_is_refused(data: Path) -> None:
    async with running(data, "--no-demo") as up:
        await up.until_printed("Postgres 18")
        status, output = await gittix(
            *("up", "--data", str(data), "--port", str(free_port())),
            *("--push-port", str(free_port()), "--stripe-port", str(free_port())),
        )
        assert status == 1
        assert "Another gittix up is using" in output
        # Ctrl-C during the start stops every process too.
        assert await up.stop() == 0
        assert up.pids() == {}


async def test_a_command_without_an_instance_or_a_setting_names_it(data: Path) -> None:
    status, output = await gittix("env", "--data", str(data / "nowhere"))
    assert status == 2
    assert "gittix up --data" in output
    status, output = await gittix("up", "--port", "banana", "--data", str(data))
    assert status == 2
    assert "'--port': 'banana' is not a valid port" in output
    status, output = await gittix("serve", "orders")
    assert status == 2
    assert "ORDERS_DATABASE_URL" in output
    assert "Traceback" not in output


@pytest.mark.asyncio(loop_scope="module")
async def test_a_purchase_completes_though_each_process_is_killed_during_it(market: Market) -> None:
    up = market.up
    async with await market.watch() as watcher:
        await watcher.subscribed(f"show-{market.show_id}")

        # The relay dies between the hold and the payment: committed events are still published.
        ticket_id = await market.list_ticket()
        killed = up.kill("relay")
        order_id = await market.order(ticket_id)
        paid = await market.pay(order_id)
        assert paid.status_code == 201
        assert await market.status(order_id) == "completed"
        await _sees(watcher, "ticket.sold", ticket_id)
        assert up.pids()["relay"] != killed

        # The worker dies while a 3-D Secure payment waits for its webhook.
        ticket_id = await market.list_ticket()
        order_id = await market.order(ticket_id)
        body = {"order_id": order_id, "payment_method": "pm_card_authenticationRequired"}
        asked = await market.buyer.post("/api/payments", json=body)
        assert asked.json()["status"] == "requires_action"
        up.kill("worker")
        intent_id = asked.json()["client_secret"].partition("_secret")[0]
        async with httpx.AsyncClient(timeout=10) as bank:
            sandbox = f"http://127.0.0.1:{up.stripe_port}/sandbox/payment_intents/{intent_id}"
            url = f"{sandbox}/authenticate"
            assert (await bank.post(url, json={"outcome": "succeed"})).status_code == 200
        await until(lambda: _is(market, order_id, "completed"), seconds=30)
        await _sees(watcher, "ticket.sold", ticket_id)

        # The notifier dies between an order and the message of its hold: the next one sends it.
        ticket_id = await market.list_ticket()
        up.kill("notifier")
        order_id = await market.order(ticket_id)
        await _sees(watcher, "ticket.held", ticket_id)

        # The gateway dies between hold and payment: pusher-js reconnects and receives the sale.
        ticket_id = await market.list_ticket()
        order_id = await market.order(ticket_id)
        await _sees(watcher, "ticket.held", ticket_id)
        up.kill("push")
        await up.until_printed("push was ended by SIGKILL")
        await watcher.subscribed(f"show-{market.show_id}", seconds=40)
        assert (await market.pay(order_id)).status_code == 201
        await _sees(watcher, "ticket.sold", ticket_id)
        assert await market.status(order_id) == "completed"

    status, checked = await gittix("check", "--data", str(up.folder))
    assert status == 0, checked


async def _listen(port: int) -> asyncio.Server:
    return await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", port)


async def _sees(watcher: Watcher, event: str, ticket_id: str) -> Any:
    async with asyncio.timeout(30):
        while True:
            seen = await watcher.event(event, seconds=30)
            if seen.data["ticket"]["id"] == ticket_id:
                return seen


async def _is(market: Market, order_id: str, status: str) -> bool:
    return await market.status(order_id) == status
