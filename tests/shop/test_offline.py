"""Without a server the shop shows its pages and the reason, and it recovers by itself."""

from urllib.parse import urlsplit

import pytest
from playwright.async_api import Error

from tests.shop.conftest import Visit
from tests.shop.market import Market

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.asyncio(loop_scope="module"),
]
MENU = (("My orders", "/orders"), ("Sell", "/sell"), ("Desk", "/desk"), ("Browse", "/"))
KEPT = """async () => {
  const all = [];
  for (const name of await caches.keys())
    for (const request of await (await caches.open(name)).keys()) all.push(request.url);
  return all;
}"""


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
        await ben.page.goto(f"{ben.url}/shows/{show_id}")
        await ben.page.locator("header .pill").wait_for()


async def test_without_the_worker_a_reload_without_a_network_fails(
    market: Market, visit: Visit
) -> None:
    """The negative control of the test above."""
    async with visit() as ben:
        await ben.page.add_init_script("delete Navigator.prototype.serviceWorker")
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
