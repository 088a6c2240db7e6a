"""A sale through a real nginx: two processes of each service, real pusher-js, a real browser."""

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest
import websockets
from playwright.async_api import Browser, async_playwright
from websockets.asyncio.client import ClientConnection

from backend.push.protocol import Close
from tests import factories
from tests.deploy.fleet import Fleet, Process
from tests.deploy.nginx import Nginx, ingress
from tests.push.watcher import Watcher
from tests.replies import code
from tests.shop import chromium
from tests.shop.visitor import visiting
from tests.system import PUSHER_KEY, until
from tests.test_purchase import theatre

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="module"),
]
# The gateway pings a silent socket after 30 s and closes it after 30 s more.
SILENT_SECONDS = 60.0


async def test_a_ticket_is_held_paid_and_sold_with_its_messages(fleet: Fleet, nginx: Nginx) -> None:
    async with theatre(fleet.system, parts=()) as stage:
        ticket = await stage.listed()
        order = await factories.order(stage.shop.buyer, ticket["id"])
        paid = await factories.payment(stage.shop.buyer, order["id"])
        assert paid["status"] == "captured"
        await stage.receive_sale(ticket)
        await stage.assert_shown_is_fresh(stage.buyer, ticket)

    async def webhook_is_accepted() -> bool:
        webhooks = [line for line in nginx.access_log() if line["path"] == "/api/payments/webhook"]
        return bool(webhooks) and all(line["status"] == 200 for line in webhooks)

    # The signature covers the bytes of the body.
    await until(webhook_is_accepted)


async def test_pages_satisfy_their_content_security_policy_in_a_browser(fleet: Fleet) -> None:
    seller = fleet.system.person("seller")
    show = await factories.show(seller)
    ticket = await factories.ticket(seller, show["id"])
    async with browsing() as browser, visiting(browser, fleet.system.url) as ana:
        await ana.sign_up("ana")
        # Installed before any script of the page, so that no violation is missed.
        await ana.context.add_init_script(
            "addEventListener('securitypolicyviolation', (it) =>"
            " console.error(`violates ${it.violatedDirective}: ${it.blockedURI}`))"
        )
        for path in ("/", "/signin", "/signup", "/orders", "/sell", "/desk"):
            await ana.open(path)
            await ana.page.wait_for_load_state("networkidle")
        await ana.open_show(show["id"])
        await ana.pick(ticket["id"])
        await ana.hold()
        await ana.page.wait_for_url(re.compile("/checkout/"))
        await ana.page.locator("[data-stage]").wait_for()
        await ana.until_state("live")
        await ana.open("/api/docs")
        await ana.page.get_by_text("/api/orders/{id}/refund").wait_for()
        assert ana.errors == []
        assert ana.hosts == {f"127.0.0.1:{fleet.system.ports['api']}"}


async def test_a_page_has_the_policy_of_the_process_that_serves_it(
    fleet: Fleet, nginx: Nginx
) -> None:
    async with nginx.client() as client, fleet.services["frontend"][0].client() as direct:
        through, made = await client.get("/"), await direct.get("/")
    (policy,) = through.headers.get_list("content-security-policy")
    assert policy == made.headers["content-security-policy"]
    for name in (
        "x-frame-options",
        "x-content-type-options",
        "referrer-policy",
        "x-request-id",
        "vary",
        "etag",
    ):
        assert len(through.headers.get_list(name)) == 1, name


async def test_a_dead_process_is_skipped_and_the_last_ones_death_is_a_502(
    fleet: Fleet, nginx: Nginx
) -> None:
    seller = fleet.system.person("seller")
    show = await factories.show(seller)
    first, second = fleet.services["tickets"]
    async with nginx.client() as client:

        async def read_show() -> list[httpx.Response]:
            return list(
                await asyncio.gather(*(client.get(f"/api/shows/{show['id']}") for _ in range(20)))
            )

        await first.end(signal.SIGKILL)
        assert {reply.status_code for reply in await read_show()} == {200}
        for _ in range(5):
            await factories.ticket(seller, show["id"])
        await second.end(signal.SIGKILL)
        for reply in await read_show():
            assert code(reply) == (502, "temporarily_unavailable")
            assert reply.headers["retry-after"] == "1"
        await asyncio.gather(first.start(), second.start())
        await asyncio.gather(first.until_ready(), second.until_ready())

        async def service_answers() -> bool:
            # Slower than the request limit.
            await asyncio.sleep(0.2)
            return (await client.get(f"/api/shows/{show['id']}")).status_code == 200

        await until(service_answers)


async def test_a_new_socket_goes_to_the_gateway_with_fewer_sockets(
    fleet: Fleet, nginx: Nginx
) -> None:
    gateways = fleet.services["push"]

    async def no_socket_is_open() -> bool:
        return await sockets(gateways) == [0, 0]

    await until(no_socket_is_open)
    async with AsyncExitStack() as stack:
        for _ in range(4):
            await stack.enter_async_context(connected(nginx))
        assert await sockets(gateways) == [2, 2]
        sockets_by_gateway: dict[int, list[ClientConnection]] = {0: [], 1: []}
        for _ in range(6):
            before = await sockets(gateways)
            socket = await stack.enter_async_context(connected(nginx))
            after = await sockets(gateways)
            sockets_by_gateway[
                [new > old for new, old in zip(after, before, strict=True)].index(True)
            ].append(socket)
        assert await sockets(gateways) == [5, 5]
        for socket in sockets_by_gateway[0]:
            await socket.close()

        async def closed_sockets_are_gone() -> bool:
            return await sockets(gateways) == [2, 5]

        await until(closed_sockets_are_gone)
        for _ in range(3):
            await stack.enter_async_context(connected(nginx))
        assert await sockets(gateways) == [5, 5]


async def test_the_gateway_and_not_nginx_ends_a_silent_socket(fleet: Fleet, nginx: Nginx) -> None:
    seller = fleet.system.person("seller")
    show = await factories.show(seller)
    async with connected(nginx) as silent, watching(nginx, f"show-{show['id']}") as watcher:
        async with asyncio.timeout(SILENT_SECONDS + 15):
            assert json.loads(await silent.recv())["event"] == "pusher:ping"
            await silent.wait_closed()
        assert silent.close_code == Close.PONG_MISSING
        # pusher-js answers pings, so its socket stays open.
        await factories.ticket(seller, show["id"])
        await watcher.event("ticket.listed", f"show-{show['id']}")
        assert len(watcher.events("connected")) == 1


async def test_a_reload_keeps_sockets_for_the_shutdown_time(fleet: Fleet) -> None:
    seller = fleet.system.person("seller")
    show = await factories.show(seller)
    channel = f"show-{show['id']}"
    async with (
        ingress(fleet.system.folder, fleet.upstreams, WORKER_SHUTDOWN_SECONDS="4") as nginx,
        connected(nginx) as socket,
        watching(nginx, channel) as watcher,
    ):
        before = nginx.workers()
        await nginx.reload()
        assert nginx.workers() & before
        await factories.ticket(seller, show["id"])
        await watcher.event("ticket.listed", channel)
        await watcher.event("connected")
        assert watcher.events("state", None)[-1].data == "connected"
        async with watching(nginx, channel):
            assert nginx.workers() & before
        async with asyncio.timeout(10):
            await socket.wait_closed()

        async def old_workers_are_gone() -> bool:
            return not nginx.workers() & before

        await until(old_workers_are_gone)
        # It reconnects to a new worker.
        await watcher.event("connected", seconds=15)


@asynccontextmanager
async def browsing() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium.executable(), args=list(chromium.ARGUMENTS)
        )
        yield browser
        await browser.close()


@asynccontextmanager
async def connected(nginx: Nginx) -> AsyncIterator[ClientConnection]:
    """A client of the gateway that sends nothing by itself."""
    url = f"ws://127.0.0.1:{nginx.port}/app/{PUSHER_KEY}?protocol=7&client=tests&version=1"
    async with websockets.connect(url, proxy=None, ping_interval=None) as socket:
        assert json.loads(await socket.recv())["event"] == "pusher:connection_established"
        yield socket


@asynccontextmanager
async def watching(nginx: Nginx, channel: str) -> AsyncIterator[Watcher]:
    async with Watcher(
        host="127.0.0.1", port=nginx.port, key=PUSHER_KEY, channels=[channel]
    ) as watcher:
        await watcher.subscribed(channel, seconds=10)
        yield watcher


async def sockets(gateways: Sequence[Process]) -> list[int]:
    """The number of open sockets of each gateway."""

    async def open_at(gateway: Process) -> int:
        async with gateway.client() as client:
            metrics = (await client.get("/metrics")).text
        found = re.search(r"^gittix_push_sockets (\S+)$", metrics, re.MULTILINE)
        assert found is not None
        return int(float(found[1]))

    return list(await asyncio.gather(*map(open_at, gateways)))
