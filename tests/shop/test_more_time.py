"""Accounts that need more time extend a hold once, by a button or a key at the checkout."""

import re
from uuid import uuid4

import pytest
from playwright.async_api import expect

from tests.shop.conftest import Visit
from tests.shop.market import Market
from tests.shop.test_checkout import RECORD_ANNOUNCED
from tests.shop.visitor import Json, Visitor

HOLD_SECONDS = 40

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    return {"HOLD_SECONDS": str(HOLD_SECONDS)}


async def held(market: Market, visitor: Visitor, *, needs: bool = True) -> Json:
    """A hold of an account with the setting."""
    (ticket,) = await market.tickets(await market.show(), 1)
    await visitor.sign_up("ana")
    if needs:
        await switch_on(visitor)
    return await visitor.place(ticket)


async def switch_on(visitor: Visitor) -> None:
    answer = await visitor.context.request.put(
        f"{visitor.url}/api/users/currentuser", data={"needs_more_time": True}
    )
    assert answer.ok


async def test_the_key_adds_the_time_once_on_every_screen(market: Market, visit: Visit) -> None:
    async with visit() as ana, visit() as ben, visit() as elsewhere:
        order = await held(market, ana)
        line = order["tickets"][0]
        await elsewhere.sign_in_like(ana)
        await ben.open_show(line["show_id"])
        await ben.until(line["id"], "held")
        await ana.context.add_init_script(RECORD_ANNOUNCED)
        for visitor in (ana, elsewhere):
            await visitor.open_checkout(order)
        before = await ana.seconds()
        # A radio button takes no text, so the key works there too.
        await ana.page.get_by_label(re.compile("4242")).focus()
        await ana.page.keyboard.press("m")
        button = ana.page.get_by_role("button", name="40 seconds added")
        await expect(button).to_have_attribute("aria-disabled", "true")
        assert before + 35 <= await ana.seconds() <= 2 * HOLD_SECONDS
        await agree(ana)
        # The other device of the buyer, and another shopper, have the new end by push.
        await elsewhere.page.get_by_role("button", name="40 seconds added").wait_for()
        await agree(elsewhere)
        left = ben.row(line["id"]).locator("[data-seconds]")
        await expect(left).to_have_attribute("data-seconds", re.compile("^[67][0-9]$"))
        announced = await ana.page.evaluate("announced")
        assert re.fullmatch(r"40 seconds added\. \d\d seconds left to pay\.", announced[-1])
        # A second press does nothing.
        await ana.page.keyboard.press("m")
        await button.click(force=True)
        assert (await ana.order(order))["version"] == 2
        await ana.pay()
        await ana.until_stage("paid")
        assert not ana.errors


async def agree(visitor: Visitor) -> None:
    """The arc of the ring and its digits show the same part of the hold and its extension."""
    arc, digits = await visitor.page.evaluate(
        """() => {
          const ring = document.querySelector(".countdown-ring");
          const offset = ring.querySelector(".left").style.strokeDashoffset;
          return [100 - Number(offset), Number(ring.querySelector("b").textContent)];
        }"""
    )
    assert arc == pytest.approx(100 * digits / (2 * HOLD_SECONDS), abs=2)


async def test_a_screen_reader_is_offered_the_key_at_30_seconds(
    market: Market, visit: Visit
) -> None:
    async with visit(width=360) as ana:
        await ana.page.clock.install()
        await ana.open_checkout(await held(market, ana))
        await ana.context.set_offline(True)
        await ana.page.clock.fast_forward((await ana.seconds() - 29) * 1000)
        announcer = ana.page.locator("[data-announcer]")
        await expect(announcer).to_have_text("30 seconds left to pay. Press M for 40 seconds more.")
        # Offline, the button has no effect and a note gives the reason; online it works.
        button = ana.page.get_by_role("button", name="Add 40 seconds")
        await button.click()
        await ana.page.get_by_role("alert").get_by_text("No time was added.").wait_for()
        await expect(button).to_be_focused()


async def test_a_buyer_without_the_setting_is_led_to_it(market: Market, visit: Visit) -> None:
    async with visit() as ana:
        order = await held(market, ana, needs=False)
        await ana.open_checkout(order)
        await expect(ana.page.get_by_role("button", name=re.compile("^Add "))).to_have_count(0)
        await ana.page.keyboard.press("m")
        await ana.page.get_by_role("link", name="Switch it on in your account").click()
        switch = ana.page.get_by_role("switch", name="I need more time to pay")
        await expect(switch).not_to_be_checked()
        await switch.click()
        await expect(switch).to_be_checked()
        await ana.page.locator(".toast").get_by_text("You can add 40 seconds").wait_for()
        await ana.page.locator(".hold-pill").click()
        await ana.page.get_by_role("button", name="Add 40 seconds").click()
        await ana.page.get_by_role("button", name="40 seconds added").wait_for()
        assert (await ana.order(order))["extended_at"]


async def test_the_key_types_in_a_field_that_takes_text(market: Market, visit: Visit) -> None:
    async with visit() as ana:
        order = await held(market, ana)
        await ana.open_checkout(order)
        field = f"field-{uuid4().hex}"
        await ana.page.evaluate(
            """id => {
              const field = document.createElement("input");
              field.id = id;
              document.querySelector("main").append(field);
              field.focus();
            }""",
            field,
        )
        await ana.page.keyboard.press("m")
        await expect(ana.page.locator(f"#{field}")).to_have_value("m")
        for combination in ("Control+m", "Alt+m"):
            await ana.page.locator("h1").click()
            await ana.page.keyboard.press(combination)
        assert (await ana.order(order))["version"] == 1


async def test_an_extension_that_the_budget_refuses_is_explained(
    market: Market, visit: Visit
) -> None:
    async with visit() as ana:
        order = await held(market, ana)
        await ana.open_checkout(order)
        await ana.page.route(
            "**/api/orders/*/extend",
            lambda route: route.fulfill(
                status=429,
                content_type="application/problem+json",
                json={"code": "cooling_down", "title": "", "status": 429},
            ),
        )
        await ana.page.keyboard.press("m")
        await (
            ana.page.get_by_role("alert").get_by_text("this hold cannot be made longer").wait_for()
        )
