"""Without a server the shop shows its pages and the reason, and it recovers by itself."""

import asyncio
import re
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.async_api import Error, Route, expect

from tests.shop.conftest import Visit
from tests.shop.instance import ForkedInstance
from tests.shop.market import Market
from tests.shop.visitor import NO_WORKER, PASSWORD, Visitor
from tests.system import until

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.asyncio(loop_scope="module"),
]
RECOVERED_SECONDS = 5
WOKEN_SECONDS = 1
# The page that shows it is a frame behind.
FRAME_SECONDS = 0.3
MENU = (("My orders", "/orders"), ("Sell", "/sell"), ("Desk", "/desk"), ("Browse", "/"))
HOLD = re.compile("^Hold ")
BUSY = {"status": 503, "code": "temporarily_unavailable"}
KEPT = """async () => {
  const all = [];
  for (const name of await caches.keys())
    for (const request of await (await caches.open(name)).keys()) all.push(request.url);
  return all;
}"""


@pytest.fixture(scope="module")
def service_worker() -> bool:
    return True


async def test_every_link_of_the_menu_shows_its_page_without_a_network(
    market: Market, visit: Visit
) -> None:
    show_id = await market.show()
    await market.tickets(show_id, 2)
    async with visit() as ben:
        await ben.open_show(show_id)
        await ben.until_kept()
        await ben.context.set_offline(True)
        for label, path in MENU:
            await ben.page.get_by_role("navigation").get_by_role("link", name=label).click()
            await ben.page.wait_for_url(f"{ben.url}{path}")
            await ben.page.locator("main :is(h1, h2)").first.wait_for()
            await ben.page.reload()
            await ben.page.locator("main :is(h1, h2)").first.wait_for()
            await ben.until_state("offline")
        for path in (f"/shows/{show_id}", "/checkout/1", "/signin", "/signup", "/account"):
            await ben.open(path)
            await ben.until_state("offline")
        await ben.page.get_by_role("link", name="API").click()
        await ben.page.get_by_role("heading", name="You are offline").wait_for()
        await ben.context.set_offline(False)
        await ben.page.get_by_text("/api/orders", exact=False).first.wait_for()


async def test_without_the_worker_a_reload_without_a_network_fails(
    market: Market, visit: Visit
) -> None:
    """The negative control of the test above."""
    async with visit() as ben:
        await ben.page.add_init_script(NO_WORKER)
        await ben.open("/")
        await ben.context.set_offline(True)
        with pytest.raises(Error, match="ERR_INTERNET_DISCONNECTED"):
            await ben.page.reload()


async def test_no_reply_of_the_api_is_kept(market: Market, visit: Visit) -> None:
    show_id = await market.show()
    await market.tickets(show_id, 2)
    async with visit() as ben:
        await ben.sign_up("ben")
        await ben.open_show(show_id)
        await ben.until_kept()
        # All of these are requested while the worker controls the page.
        for path in ("/orders", f"/shows/{show_id}", "/"):
            await ben.open(path)
            await ben.until_state("live")
        paths = {urlsplit(url).path for url in await ben.page.evaluate(KEPT)}
        assert {"/", "/orders", "/shows/_", "/404"} < paths
        assert not [path for path in paths if path.startswith("/api") or path == "/shop.json"]


async def test_while_the_api_is_down_nothing_can_be_held_and_the_page_recovers_within_5_seconds(
    market: Market, visit: Visit, up: ForkedInstance
) -> None:
    show_id = await market.show()
    wanted, other = await market.tickets(show_id, 2)
    async with visit() as ben:
        await ben.sign_up("ben")
        await ben.open_show(show_id)
        await ben.pick(wanted)
        async with up.down("api"):
            # Nothing shows it before the page needs the API: its messages come from the gateway.
            await ben.hold()
            await ben.until_state("unreachable")
            await expect(ben.row(other).get_by_role("checkbox")).to_be_disabled()
            await expect(ben.page.get_by_role("button", name=HOLD)).to_be_disabled()
            why = "You can hold tickets as soon as the shop answers."
            await ben.page.get_by_text(why).wait_for()
            assert await ben.page.get_by_role("alert").count() == 0
            await asyncio.sleep(20)
        await _answers(up)
        await _recovered(ben, "live")
        await expect(ben.row(other).get_by_role("checkbox")).to_be_enabled()
        await expect(ben.row(wanted).get_by_role("checkbox")).to_be_checked()
        await ben.page.get_by_role("alert").get_by_text("you will not hold anything").wait_for()
        await ben.hold()
        await ben.page.wait_for_url("**/checkout/*")


async def test_after_both_servers_were_down_the_page_is_caught_up_within_5_seconds(
    market: Market, visit: Visit, up: ForkedInstance
) -> None:
    show_id = await market.show()
    wanted, *_ = await market.tickets(show_id)
    async with visit() as ben:
        await ben.open_show(show_id)
        async with up.down("api", "push"):
            await ben.until_state("unreachable")
            await asyncio.sleep(30)
        await _answers(up)
        await _recovered(ben, "caught-up")
        await market.hold(wanted)
        await ben.until(wanted, "held")


async def test_without_the_gateway_the_page_reads_every_10_seconds_and_tickets_can_be_picked(
    market: Market, visit: Visit, up: ForkedInstance
) -> None:
    show_id = await market.show()
    wanted, other, *_ = await market.tickets(show_id)
    async with visit() as ben:
        await ben.open_show(show_id)
        async with up.down("push"):
            await ben.until_state("reconnecting")
            await ben.page.get_by_text("Live updates are interrupted.").wait_for()
            await market.pay(await market.hold(wanted))
            await ben.until(wanted, "sold", seconds=13)
            await ben.pick(other)
        await until(lambda: _gateway_answers(up), seconds=30)
        await _recovered(ben, "caught-up")
        assert await ben.page.get_by_text("Live updates are interrupted.").count() == 0


async def test_a_server_that_is_busy_is_not_called_a_fault_of_the_network(
    market: Market, visit: Visit
) -> None:
    show_id = await market.show()
    await market.tickets(show_id, 2)
    async with visit() as ben:
        await ben.page.route("**/api/shows/*", lambda route: route.fulfill(status=503, json=BUSY))
        await ben.open(f"/shows/{show_id}")
        await ben.until_state("unavailable")
        await ben.page.get_by_text("The shop is not available right now").wait_for()
        assert await ben.page.get_by_text("network").count() == 0
        await ben.page.unroute("**/api/shows/*")
        await ben.page.locator("[data-ticket]").first.wait_for(timeout=RECOVERED_SECONDS * 1000)
        await ben.until_state("live")


async def test_a_signed_in_user_stays_one_while_the_api_is_down(
    visit: Visit, up: ForkedInstance
) -> None:
    async with visit() as ben:
        await ben.sign_up("ben")
        await ben.open("/orders")
        await ben.page.get_by_text("Account", exact=True).wait_for()
        await ben.until_kept()
        async with up.down("api"):
            await ben.page.reload()
            await ben.until_state("unreachable")
            assert await ben.page.get_by_role("link", name="Sign in").count() == 0
        await _answers(up)
        await _recovered(ben, "live")
        await ben.page.get_by_text("Account", exact=True).wait_for()


async def test_a_form_keeps_its_input_in_an_outage_and_is_sent_again(
    visit: Visit, up: ForkedInstance
) -> None:
    async with visit() as ben:
        email = await ben.sign_up("ben")
        await ben.context.clear_cookies()
        await ben.open("/signin")
        await ben.page.evaluate("localStorage.clear()")
        await ben.page.get_by_label("Email").fill(email)
        await ben.page.get_by_label("Password").fill(PASSWORD)
        submit = ben.page.locator("form").get_by_role("button", name="Sign in")
        async with up.down("api"):
            await submit.click()
            alert = ben.page.get_by_role("alert")
            await alert.get_by_text("What you typed is kept").wait_for()
        await _answers(up)
        await _recovered(ben, "live")
        await expect(ben.page.get_by_label("Password")).to_have_value(PASSWORD)
        await submit.click()
        await ben.page.wait_for_url(f"{ben.url}/")


async def test_a_hold_whose_reply_was_lost_is_made_once(market: Market, visit: Visit) -> None:
    show_id = await market.show()
    wanted, *_ = await market.tickets(show_id)

    async def lose(route: Route) -> None:
        await route.fetch()
        await route.abort()

    async with visit() as ben:
        await ben.sign_up("ben")
        await ben.open_show(show_id)
        await ben.pick(wanted)
        await ben.page.route("**/api/orders", lose)
        await ben.hold()
        await ben.page.get_by_text("you will not hold anything twice").wait_for()
        # Its message came from the gateway.
        await ben.row(wanted).get_by_role("link", name="Check out").click()
        await ben.until_stage("choosing")
        orders = await (await ben.context.request.get(f"{ben.url}/api/orders")).json()
        assert [len(order["tickets"]) for order in orders["items"]] == [1]


async def _answers(up: ForkedInstance) -> None:
    async with up.visitor() as visitor:
        await until(lambda: _replies(visitor, f"{up.url}/readyz"), seconds=30)


async def _gateway_answers(up: ForkedInstance) -> bool:
    async with up.visitor() as visitor:
        return await _replies(visitor, f"http://127.0.0.1:{up.push_port}/readyz")


async def _replies(visitor: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await visitor.get(url)).status_code == 200
    except httpx.TransportError:
        await asyncio.sleep(0.05)
        return False


async def _recovered(visitor: Visitor, state: str) -> None:
    """The page is right within five seconds of the server's return, which is now."""
    await visitor.until_state(state, seconds=RECOVERED_SECONDS + FRAME_SECONDS)


async def test_a_page_under_the_worker_is_right_within_a_second_of_waking(
    market: Market, visit: Visit
) -> None:
    """Frozen, as a phone freezes a tab in the background; and without a network."""
    show_id = await market.show()
    first, second, third, fourth, *_ = await market.tickets(show_id)
    async with visit() as ben:
        await ben.open_show(show_id)
        await ben.until_kept()
        session = await ben.context.new_cdp_session(ben.page)
        await session.send("Page.setWebLifecycleState", {"state": "frozen"})
        await market.hold(first)
        await session.send("Page.setWebLifecycleState", {"state": "active"})
        await ben.until(first, "held", seconds=WOKEN_SECONDS + FRAME_SECONDS)
        await ben.context.set_offline(True)
        await ben.until_state("offline")
        await market.hold(second)
        await ben.context.set_offline(False)
        await ben.until(second, "held", seconds=WOKEN_SECONDS + FRAME_SECONDS)
        await market.hold(third)
        await ben.until(third, "held")
        # As the back/forward cache restores it, which Chromium's headless shell lacks.
        sockets = len(ben.sockets)
        await ben.page.evaluate(
            "dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))"
        )
        await market.hold(fourth)
        await ben.until(fourth, "held", seconds=WOKEN_SECONDS + FRAME_SECONDS)
        assert len(ben.sockets) == sockets + 1
