"""`gittix up`, started and stopped; and what a kill -9 of its parts does to a purchase that is under way."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.embedded.running import Running, gittix, running, sign_up
from tests.push.watcher import Endpoint, Watcher
from tests.system import free_port, until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def data() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="gtup-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


class Market:
    """A seller with a ticket, a buyer, and a watcher on the show, all by public means."""

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


@pytest.fixture
async def market(data: Path) -> AsyncIterator[Market]:
    async with AsyncExitStack() as stack:
        up = await stack.enter_async_context(running(data, "--no-demo"))
        await up.until_up()
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


async def test_one_port_tells_of_every_process_and_which_of_them_is_gone(data: Path) -> None:
    async with running(data, "--no-demo") as up, up.visitor() as visitor:
        await up.until_up()
        ready = (await visitor.get("/readyz")).json()
        assert ready["status"] == "ready"
        assert (ready["checks"]["relay.relay"], ready["checks"]["notifier.notifier.notifier"]) == (
            "active",
            "active",
        )
        shown = (await visitor.get("/metrics")).text
        for process in ("api", "push", "relay", "worker", "consumers", "notifier"):
            assert f'process_cpu_seconds_total{{process="{process}"}}' in shown

        async def told() -> tuple[int, str | None]:
            ready = await visitor.get("/readyz")
            return ready.status_code, ready.json()["checks"].get("relay")

        async def is_gone() -> bool:
            return await told() == (503, "does not answer")

        async def is_back() -> bool:
            return await told() == (200, None)

        up.kill("relay")
        await until(is_gone)
        assert (await visitor.get("/healthz")).status_code == 200
        await until(is_back, seconds=30)


async def test_a_taken_metrics_port_prints_a_sentence(data: Path) -> None:
    port = free_port()
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", port)
    async with server:
        status, said = await gittix(
            "up", "--data", str(data), "--push-port", str(port), "--port", str(free_port())
        )
    assert status == 1
    assert f"Port {port} is in use" in said
    assert "--push-port" in said
    assert "Traceback" not in said


async def test_a_folder_in_use_is_a_sentence(data: Path) -> None:
    async with running(data, "--no-demo") as up:
        await up.until_said("Postgres 18")
        status, said = await gittix(
            *("up", "--data", str(data), "--port", str(free_port())),
            *("--push-port", str(free_port()), "--stripe-port", str(free_port())),
        )
        assert status == 1
        assert "Another gittix up is using" in said
        # Ctrl-C while it starts is no different.
        assert await up.stop() == 0
        assert up.pids() == {}


async def test_commands_say_what_is_missing(data: Path) -> None:
    status, said = await gittix("env", "--data", str(data / "nowhere"))
    assert status == 2
    assert "gittix up --data" in said
    status, said = await gittix("serve", "orders")
    assert status == 2
    assert "ORDERS_DATABASE_URL" in said
    assert "Traceback" not in said


async def test_a_purchase_survives_the_killing_of_each_part_in_its_middle(market: Market) -> None:
    up = market.up
    async with await market.watch() as watcher:
        await watcher.subscribed(f"show-{market.show_id}")

        # The relay dies between the hold and the payment; what was committed is told all the same.
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
            url = f"http://127.0.0.1:{up.stripe_port}/sandbox/payment_intents/{intent_id}/authenticate"
            assert (await bank.post(url, json={"outcome": "succeed"})).status_code == 200
        await until(lambda: _is(market, order_id, "completed"), seconds=30)
        await _sees(watcher, "ticket.sold", ticket_id)

        # The notifier dies between an order and its hold's news; the next one tells it.
        ticket_id = await market.list_ticket()
        up.kill("notifier")
        order_id = await market.order(ticket_id)
        await _sees(watcher, "ticket.held", ticket_id)

        # The gateway dies between hold and payment; pusher-js comes back by itself and hears the end.
        ticket_id = await market.list_ticket()
        order_id = await market.order(ticket_id)
        await _sees(watcher, "ticket.held", ticket_id)
        up.kill("push")
        await up.until_said("push was ended by SIGKILL")
        await watcher.subscribed(f"show-{market.show_id}", seconds=40)
        assert (await market.pay(order_id)).status_code == 201
        await _sees(watcher, "ticket.sold", ticket_id)
        assert await market.status(order_id) == "completed"

    status, checked = await gittix("check", "--data", str(up.folder))
    assert status == 0, checked


async def _sees(watcher: Watcher, event: str, ticket_id: str) -> Any:
    async with asyncio.timeout(30):
        while True:
            seen = await watcher.event(event, seconds=30)
            if seen.data["ticket"]["id"] == ticket_id:
                return seen


async def _is(market: Market, order_id: str, status: str) -> bool:
    return await market.status(order_id) == status
