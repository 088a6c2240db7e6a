"""One purchase in the logs of all processes: one id finds it, and no line has a secret."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from backend.embedded.postgres import Postgres
from tests.deploy.fleet import Fleet, running
from tests.deploy.nginx import Nginx
from tests.factories import SHOW, Json
from tests.push.watcher import Watcher
from tests.stores import PASSWORD, fresh_system
from tests.system import PUSHER_KEY, PUSHER_SECRET, STRIPE_KEY, WEBHOOK_SECRET, until

pytestmark = [pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="module")]

OF_SOMEBODY = frozenset(
    {
        "request",
        "event published",
        "event handled",
        "event notified",
        "message delivered",
        "job done",
    }
)


class Purchase:
    """A purchase: its correlation id, and the secrets that no log may contain."""

    def __init__(self, correlation_id: str) -> None:
        self.correlation_id = correlation_id
        self.secrets: set[str] = set()
        self.messages = ""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shop(
    postgres: Postgres, redis_socket: str, folder: Path
) -> AsyncIterator[tuple[Fleet, Nginx]]:
    place = folder / "logs"
    place.mkdir()
    async with (
        fresh_system(postgres, redis_socket, place) as system,
        running(system, replicas=1, environment={"LOG_LEVEL": "debug"}) as found,
    ):
        yield found


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def purchase(shop: tuple[Fleet, Nginx]) -> Purchase:
    fleet, nginx = shop
    made = Purchase(str(uuid4()))
    made.secrets |= {STRIPE_KEY, WEBHOOK_SECRET, PUSHER_SECRET, f":{PASSWORD}@"}
    made.secrets.add(fleet.system.environment["JWT_PRIVATE_KEY"])
    async with signed_up(nginx, made) as seller, signed_up(nginx, made) as buyer:
        show = await sent(seller, "/api/shows", SHOW)
        spec = {"price": 4500, "currency": "EUR"}
        listed = await sent(seller, f"/api/shows/{show['id']}/tickets", {"tickets": [spec] * 2})
        channel = f"show-{show['id']}"
        async with Watcher(
            host="127.0.0.1", port=nginx.port, key=PUSHER_KEY, channels=[channel]
        ) as watcher:
            await watcher.subscribed(channel)
            await bought(buyer, made, listed["items"][0]["id"])
            await watcher.event("ticket.sold", channel, seconds=20)
            await challenged(buyer, made, listed["items"][1]["id"])
            await until(lambda: webhook_is_handled(fleet, made), seconds=30)
            made.messages = json.dumps([seen.data for seen in watcher.seen])
    return made


async def test_the_correlation_id_is_in_the_log_of_each_process(
    shop: tuple[Fleet, Nginx], purchase: Purchase
) -> None:
    fleet, nginx = shop
    found = {
        process.name: {line["event"] for line in lines(process.log) if is_of(line, purchase)}
        for process in fleet.processes
    }
    assert "request" in {line["event"] for line in nginx.access_log() if is_of(line, purchase)}
    for service in ("frontend-1", "auth-1", "tickets-1", "orders-1", "payments-1"):
        assert "request" in found[service], service
    assert found["relay"] == {"event published"}
    assert {"event handled", "event notified", "job done"} <= found["worker"]
    assert "message delivered" in found["push-1"]


async def test_the_correlation_id_is_not_sent_to_watchers(purchase: Purchase) -> None:
    """A watcher of the show receives the change, and nothing that identifies a request."""
    assert "seconds_left" in purchase.messages
    assert purchase.correlation_id not in purchase.messages


async def test_each_line_names_its_process_and_its_user(
    shop: tuple[Fleet, Nginx], purchase: Purchase
) -> None:
    fleet, _ = shop
    for process in fleet.processes:
        written = lines(process.log)
        assert written, process.name
        service = "shop" if process.name.startswith("frontend") else process.name.partition("-")[0]
        for line in written:
            assert {"timestamp", "level", "version"} <= line.keys(), line
            assert line["service"] == f"gittix-{service}", line
            assert line["event"] not in OF_SOMEBODY or "correlation_id" in line, line


async def test_no_line_contains_a_secret(shop: tuple[Fleet, Nginx], purchase: Purchase) -> None:
    fleet, nginx = shop
    written = {process.name: process.log.read_text() for process in fleet.processes}
    written["ingress"] = nginx.output() + nginx.errors()
    assert len(purchase.secrets) > 10
    for name, text in written.items():
        for secret in purchase.secrets:
            assert secret not in text, f"{name} logged {secret}"


@asynccontextmanager
async def signed_up(nginx: Nginx, made: Purchase) -> AsyncIterator[httpx.AsyncClient]:
    """Sign a user up, fail once with a wrong password, and sign in."""
    async with nginx.client(headers={"X-Request-Id": made.correlation_id}) as client:
        credentials = {"email": f"{uuid4().hex}@example.com", "password": f"pass {uuid4().hex}"}
        with_wrong_password = credentials | {"password": f"wrong {uuid4().hex}"}
        made.secrets |= {credentials["password"], with_wrong_password["password"]}
        assert (await client.get("/signup")).is_success
        await sent(client, "/api/users/signup", credentials)
        made.secrets |= set(client.cookies.values())
        assert (await client.post("/api/users/signin", json=with_wrong_password)).is_client_error
        assert (await client.post("/api/users/signin", json=credentials)).is_success
        made.secrets |= set(client.cookies.values())
        yield client


async def bought(buyer: httpx.AsyncClient, made: Purchase, ticket_id: str) -> None:
    assert (await buyer.get(f"/api/tickets/{ticket_id}")).status_code == 200
    order = await sent(buyer, "/api/orders", {"ticket_id": ticket_id})
    await sent(buyer, "/api/payments", {"order_id": order["id"], "payment_method": "pm_card_visa"})
    authorised = await buyer.post(
        "/api/push/auth",
        data={"socket_id": "1.2", "channel_name": f"private-user-{order['buyer_id']}"},
    )
    assert authorised.status_code == 200, authorised.text
    made.secrets.add(authorised.json()["auth"])


async def challenged(buyer: httpx.AsyncClient, made: Purchase, ticket_id: str) -> None:
    """A payment with 3-D Secure; no log may contain its client secret."""
    order = await sent(buyer, "/api/orders", {"ticket_id": ticket_id})
    body = {"order_id": order["id"], "payment_method": "pm_card_authenticationRequired"}
    made.secrets.add((await sent(buyer, "/api/payments", body))["client_secret"])


async def sent(client: httpx.AsyncClient, path: str, body: Json) -> Json:
    reply = await client.post(path, json=body, headers={"Idempotency-Key": str(uuid4())})
    assert reply.status_code == 201, reply.text
    made: Json = reply.json()
    return made


async def webhook_is_handled(fleet: Fleet, made: Purchase) -> bool:
    """Whether a webhook's job has adopted the correlation id of the payment."""
    return any(
        is_of(line, made) and line.get("job") == "handle_webhook"
        for line in lines(fleet.workers["worker"].log)
    )


def is_of(line: Json, made: Purchase) -> bool:
    return line.get("correlation_id") == made.correlation_id


def lines(log: Path) -> list[Json]:
    return [json.loads(line) for line in log.read_text().splitlines()]
