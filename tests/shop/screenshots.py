"""Takes screenshots of every page in both themes and both widths, for docs/screenshots.

They are taken of `gittix up` with its demo, after some tickets are held and sold, so that no page
is empty.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import httpx
from playwright.async_api import Browser, async_playwright

from backend.embedded.demo import PASSWORD
from tests.embedded.running import running
from tests.shop import chromium
from tests.shop.visitor import MEMBER, Json, Visitor, visiting

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
WIDTHS = (1280, 360)
SHOW = "Harbour Lights"


class Scene(NamedTuple):
    """A page, and the function that prepares it for its screenshot."""

    name: str
    prepare: Callable[[Visitor, str], Awaitable[None]]


async def browse(visitor: Visitor, _show_id: str) -> None:
    await visitor.open("/")
    await visitor.page.locator("[data-show]").first.wait_for()


async def show(visitor: Visitor, show_id: str) -> None:
    await visitor.open_show(show_id)
    free = visitor.page.locator("[data-is=free]").get_by_role("checkbox")
    for number in range(2):
        await free.nth(number).check()


async def orders(visitor: Visitor, _show_id: str) -> None:
    await _sign_in_as(visitor, "ana")
    await visitor.open("/orders")
    await visitor.page.locator("[data-order]").first.wait_for()


async def checkout(visitor: Visitor, show_id: str) -> None:
    await _sign_in_as(visitor, "ben")
    listed = await visitor.context.request.get(f"{visitor.url}/api/orders?status=pending")
    held = [order for order in (await listed.json())["items"] if order["seconds_left"] > 35]
    await visitor.open_checkout(held[0] if held else await _hold_two(visitor, show_id))


async def receipt(visitor: Visitor, _show_id: str) -> None:
    await _sign_in_as(visitor, "ana")
    listed = await visitor.context.request.get(f"{visitor.url}/api/orders?status=completed")
    await visitor.open_checkout((await listed.json())["items"][0])


async def desk(visitor: Visitor, _show_id: str) -> None:
    await _sign_in_as(visitor, "joost")
    await visitor.open("/desk")
    await visitor.page.locator("[data-sale]").first.wait_for()
    await visitor.page.locator(".chart.revenue .recharts-bar-rectangle path").first.wait_for()


async def sell(visitor: Visitor, show_id: str) -> None:
    await _sign_in_as(visitor, "joost")
    await visitor.open(f"/sell?show={show_id}")
    for name, text in (
        ("section", "Circle"),
        ("rows", "A\u2013F"),
        ("seats", "1\u201320"),
        ("price", "45"),
    ):
        await visitor.page.locator(f".list-form [name={name}]").fill(text)
    await visitor.page.evaluate("document.activeElement.blur(), scrollTo(0, 0)")


async def account(visitor: Visitor, show_id: str) -> None:
    await _sign_in_as(visitor, "ben")
    await browse(visitor, show_id)
    await visitor.page.get_by_text("Account", exact=True).click()


async def handle(visitor: Visitor, _show_id: str) -> None:
    await _sign_in_as(visitor, "ben")
    await visitor.open("/account")
    await visitor.page.get_by_label("Handle", exact=True).last.fill("seafront")
    await visitor.page.get_by_role("button", name="Change handle").click()
    await visitor.page.locator(".field .problem").wait_for()


async def sign_in(visitor: Visitor, _show_id: str) -> None:
    await visitor.open("/signin")


async def sign_up(visitor: Visitor, _show_id: str) -> None:
    await visitor.open("/signup")


# The first scenes show holds, which last for a minute.
SCENES = (
    Scene("desk", desk),
    Scene("show", show),
    Scene("orders", orders),
    Scene("checkout", checkout),
    Scene("receipt", receipt),
    Scene("sell", sell),
    Scene("browse", browse),
    Scene("account", account),
    Scene("handle", handle),
    Scene("signin", sign_in),
    Scene("signup", sign_up),
)


async def take(data: Path, folder: Path) -> None:
    async with running(data) as up, async_playwright() as playwright:
        await up.until_up()
        show_id = await _make_trades(up.url)
        browser = await playwright.chromium.launch(
            executable_path=chromium.executable(), args=list(chromium.ARGUMENTS)
        )
        for scene in SCENES:
            for dark in (False, True):
                for width in WIDTHS:
                    path = folder / f"{scene.name}-{'dark' if dark else 'light'}-{width}.png"
                    await _take_screenshot(
                        browser, up.url, scene, show_id, path, dark=dark, width=width
                    )
        await browser.close()


async def _take_screenshot(
    browser: Browser, url: str, scene: Scene, show_id: str, path: Path, *, dark: bool, width: int
) -> None:
    async with visiting(browser, url, dark=dark, width=width) as visitor:
        await scene.prepare(visitor, show_id)
        await visitor.until_state("live")
        await visitor.page.evaluate("document.fonts.ready")
        # The highlight of the last change ends.
        await visitor.page.wait_for_timeout(800)
        await visitor.page.screenshot(path=path)
        print(path)


async def _sign_in_as(visitor: Visitor, name: str) -> None:
    """Sign in as a user of the demo."""
    body = {"email": f"{name}@gittix.example", "password": PASSWORD}
    answer = await visitor.context.request.post(f"{visitor.url}/api/users/signin", data=body)
    assert answer.ok, await answer.text()
    await visitor.context.add_init_script(MEMBER)


async def _hold_two(visitor: Visitor, show_id: str) -> Json:
    query = f"show_id={show_id}&status=available&sort=-price"
    listed = await visitor.context.request.get(f"{visitor.url}/api/tickets?{query}")
    return await visitor.place(*(ticket["id"] for ticket in (await listed.json())["items"][-2:]))


async def _make_trades(url: str) -> str:
    """Sell some tickets of a show and hold others. Returns the show's id."""
    async with httpx.AsyncClient(base_url=url, timeout=15) as ana:
        body = {"email": "ana@gittix.example", "password": PASSWORD}
        (await ana.post("/api/users/signin", json=body)).raise_for_status()
        shows = (await ana.get("/api/shows", params={"q": SHOW})).json()["items"]
        show_id: str = shows[0]["id"]
        listed = (await ana.get("/api/tickets", params={"show_id": show_id, "limit": 100})).json()[
            "items"
        ]
        seats = {
            (ticket["row"], ticket["seat"]): ticket["id"] for ticket in listed if ticket["row"]
        }
        sold = await ana.post(
            "/api/orders", json={"ticket_ids": [seats["A", "4"], seats["A", "5"]]}
        )
        order = {"order_id": sold.json()["id"], "payment_method": "pm_card_visa"}
        (await ana.post("/api/payments", json=order)).raise_for_status()
        held = await ana.post(
            "/api/orders", json={"ticket_ids": [seats["A", "3"], seats["B", "1"]]}
        )
        held.raise_for_status()
    return show_id


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    data = Path(tempfile.mkdtemp(prefix="gtpics-"))
    # Postgres runs as a user of its own.
    data.chmod(0o755)
    try:
        asyncio.run(take(data, FOLDER))
    finally:
        shutil.rmtree(data, ignore_errors=True)


if __name__ == "__main__":
    main()
