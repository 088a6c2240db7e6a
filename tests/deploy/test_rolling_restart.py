"""Every process restarts under load: no request fails, and every browser reconnects."""

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from backend.embedded.postgres import Postgres
from tests import factories, stores
from tests.deploy import crowd
from tests.deploy.fleet import Fleet, Process, running
from tests.deploy.nginx import SOURCES, Nginx
from tests.embedded.running import clean_environment, gittix
from tests.payments.shop import Stripe
from tests.push.watcher import Watcher
from tests.system import PLAIN, PUSHER_KEY, STRIPE_KEY, Person, System, until

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

DELAY_SECONDS = 4.0
BUYERS = 8
SOCKETS = 20
# Longer than 40 s, after which the reconciler takes up payments without a process.
PATIENCE_SECONDS = 90.0


@pytest.fixture(scope="module")
def durable(folder: Path) -> Iterator[tuple[Postgres, str]]:
    """Durable stores, which the check demands; the stores of other tests are not."""
    place = folder / "durable"
    place.mkdir(mode=0o755)
    with stores.running_postgres(place) as postgres, stores.running_redis(place) as redis_url:
        yield postgres, redis_url


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shop(durable: tuple[Postgres, str], folder: Path) -> AsyncIterator[tuple[Fleet, Nginx]]:
    """Two processes of each service, relay and worker."""
    environment = crowd.ENVIRONMENT | {
        "SHUTDOWN_DELAY_SECONDS": str(DELAY_SECONDS),
        "DRAIN_SECONDS": "1",
        "DATABASE_POOL_SIZE": "4",
    }
    async with (
        stores.fresh_system(*durable, folder / "durable") as system,
        running(system, environment=environment, RATE_LIMITS="off") as found,
        second_workers(system) as others,
    ):
        found[0].workers = {**found[0].workers, **others}
        yield found


@asynccontextmanager
async def second_workers(system: System) -> AsyncIterator[dict[str, Process]]:
    common = clean_environment() | system.environment
    made = {
        name: Process(name, (name.partition("-")[0],), common, system.folder / f"{name}.log", None)
        for name in ("relay-2", "worker-2")
    }
    for process in made.values():
        await process.start()
    yield made


async def test_a_restart_of_every_process_under_load_fails_no_request(
    shop: tuple[Fleet, Nginx],
) -> None:
    fleet, nginx = shop
    seller = fleet.system.person("seller")
    show = await factories.show(seller)
    channel = f"show-{show['id']}"
    async with AsyncExitStack() as stack:
        browser = Watcher(host="127.0.0.1", port=nginx.port, key=PUSHER_KEY, channels=[channel])
        await stack.enter_async_context(browser)
        await browser.subscribed(channel)
        ends = [asyncio.create_task(closed_with(nginx)) for _ in range(SOCKETS)]
        async with crowd.playing(fleet.system, buyers=BUYERS) as users:
            for process in fleet.processes:
                assert await fleet.restart(process) == 0, process.log.read_text()[-2_000:]
                await until(orders_and_payments_grow(users), seconds=20)
        assert users.failures == [], users.answers
        # Each gateway was restarted, so each browser lost its socket and reconnected.
        assert set(await asyncio.gather(*ends)) == {4200}
        assert len(browser.events("connected")) >= 2
        await browser.subscribed(channel)
        ticket = await factories.ticket(seller, show["id"])
        assert (await browser.event("ticket.listed", channel)).data["ticket"]["id"] == ticket["id"]
    await until(lambda: in_order(fleet.system), seconds=PATIENCE_SECONDS)


@pytest.mark.parametrize(("number", "lost"), [(signal.SIGTERM, 0), (signal.SIGKILL, 2)])
async def test_payments_under_way_survive_a_shutdown_and_fail_with_a_kill(
    shop: tuple[Fleet, Nginx], number: signal.Signals, lost: int
) -> None:
    """The second case is the negative control: SIGKILL instead of a shutdown."""
    fleet, _ = shop
    async with bank(fleet.system) as stripe:
        seller = fleet.system.person("seller")
        tickets = [await factories.ticket(seller) for _ in range(4)]
        buyers = [fleet.system.person(f"buyer{number}") for number in range(len(tickets))]
        orders = [
            await factories.order(buyer, ticket["id"])
            for buyer, ticket in zip(buyers, tickets, strict=True)
        ]
        await stripe.faults(match="/confirm", latency_ms=1_500)
        paying = [
            asyncio.create_task(pay(buyer, order["id"]))
            for buyer, order in zip(buyers, orders, strict=True)
        ]
        await asyncio.sleep(0.7)
        await fleet.restart(fleet.services["payments"][0], number)
        statuses = await asyncio.gather(*paying)
        await stripe.faults(match="", latency_ms=0)
    # The ingress sends two of four requests to each of two servers.
    assert sorted(statuses) == [201] * (4 - lost) + [502] * lost
    await until(lambda: in_order(fleet.system), seconds=PATIENCE_SECONDS)


async def test_the_ingress_closes_idle_connections_before_the_server() -> None:
    """The delay is long enough: at its end nginx has no idle connection to the server."""
    (kept,) = re.findall(r"\bkeepalive_timeout (\d+)s; }", (SOURCES / "start").read_text())
    assert int(kept) < DELAY_SECONDS


async def closed_with(nginx: Nginx) -> int | None:
    """The close code of a socket through the ingress."""
    async with connect(
        f"ws://127.0.0.1:{nginx.port}/app/{PUSHER_KEY}?protocol=7", compression=None
    ) as socket:
        with suppress(ConnectionClosed):
            async for message in socket:
                if json.loads(message)["event"] == "pusher:ping":
                    await socket.send('{"event":"pusher:pong","data":{}}')
        return socket.close_code


def orders_and_payments_grow(users: crowd.Crowd) -> Callable[[], Awaitable[bool]]:
    """Return a condition: there are more orders and more payments than at this call."""
    before = users.created("/api/orders"), users.created("/api/payments")

    async def have_grown() -> bool:
        return (
            users.created("/api/orders") > before[0] and users.created("/api/payments") > before[1]
        )

    return have_grown


async def pay(buyer: Person, order_id: str) -> int:
    body = {"order_id": order_id, "payment_method": "pm_card_visa"}
    return (await buyer.post("/api/payments", body)).status_code


@asynccontextmanager
async def bank(system: System) -> AsyncIterator[Stripe]:
    headers = {"Authorization": f"Bearer {STRIPE_KEY}"}
    async with httpx.AsyncClient(
        base_url=system.stripe_url, headers=headers, timeout=10, verify=PLAIN
    ) as http:
        yield Stripe(http)


async def in_order(system: System) -> bool:
    """The output of `gittix check`."""
    status, _ = await gittix("check", **system.environment)
    return status == 0
