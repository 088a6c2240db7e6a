"""Orders that end unpaid, holding their tickets again, refunds, and the page of all orders."""

import re

import pytest
from playwright.async_api import expect

from tests.shop.conftest import Visit
from tests.shop.market import Market
from tests.shop.visitor import Json, Visitor

# Long enough for a page to open on a busy machine, short enough to wait for its end.
HOLD_SECONDS = 8

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    return {
        "HOLD_SECONDS": str(HOLD_SECONDS),
        "PAYMENT_GRACE_SECONDS": str(HOLD_SECONDS),
        "REFUND_WINDOW_SECONDS": "3600",
    }


async def test_an_expired_hold_is_not_charged_and_can_be_held_again(
    market: Market, visit: Visit
) -> None:
    async with visit() as ana:
        order = await _held(market, ana)
        await ana.open_checkout(order)
        await ana.until_stage("expired")
        await ana.page.get_by_role("heading", name="Time is up").wait_for()
        await ana.page.get_by_text("You were not charged.").wait_for()
        await ana.page.get_by_role("button", name="Hold it again").click()
        await ana.page.wait_for_url(lambda url: not url.endswith(order["id"]))
        await ana.until_stage("choosing")
        await ana.pay()
        await ana.until_stage("paid")
        # The checkout shows it, so no toast repeats it.
        assert await ana.page.locator(".toast").count() == 0


async def test_a_challenge_that_is_not_answered_in_time_charges_nothing(
    market: Market, visit: Visit
) -> None:
    async with visit() as ana:
        order = await _held(market, ana)
        await ana.open_checkout(order)
        await ana.pay("3184")
        await ana.until_stage("challenge")
        await ana.until_stage("expired", seconds=30)
        await ana.page.get_by_text("You were not charged.").wait_for()
        payment_id = (await ana.order(order))["payment_id"]
        payment = await ana.context.request.get(f"{ana.url}/api/payments/{payment_id}")
        assert (await payment.json())["status"] == "voided"


async def test_a_buyer_whose_ticket_another_holds_sees_its_state_live(
    market: Market, visit: Visit
) -> None:
    async with visit() as ana:
        order = await _held(market, ana)
        [ticket] = order["tickets"]
        await ana.open_checkout(order)
        await ana.until_stage("expired")
        rival = await market.hold(ticket["id"])
        await ana.page.get_by_role("heading", name="Somebody was faster").wait_for()
        await ana.page.get_by_text("You were not charged.").wait_for()
        await ana.page.get_by_text(re.compile(r"may be free in 0:0\d")).wait_for()
        again = ana.page.get_by_role("button", name="Hold it again")
        await expect(again).to_have_count(0)
        await market.cancel(rival)
        await again.wait_for()
        await market.pay(await market.hold(ticket["id"]))
        await ana.page.get_by_text("It has been sold since.").wait_for()
        await ana.page.get_by_role("link", name="See the show's tickets").click()
        await ana.page.wait_for_url(f"**/shows/{ticket['show_id']}")


async def test_my_orders_are_live_and_link_to_the_checkout_of_a_hold(
    market: Market, visit: Visit
) -> None:
    show_id = await market.show()
    one, two, *_ = await market.tickets(show_id)
    async with visit() as ana:
        await ana.sign_up("ana")
        await ana.open("/orders")
        await ana.page.get_by_text("No orders yet").wait_for()
        await ana.until_state("live")
        first = await ana.place(one)
        row = ana.page.locator(f"[data-order='{first['id']}']")
        await row.get_by_text("Harbour Lights").wait_for()
        await row.get_by_text(f"Order {first['number']}").wait_for()
        left = (await ana.order(first))["seconds_left"]
        shown = int(await row.locator("[data-seconds]").get_attribute("data-seconds") or "-99")
        assert abs(shown - left) <= 1.5
        second = await ana.place(two)
        await (
            ana.page.locator(f"[data-order='{second['id']}']")
            .get_by_role("link", name="checkout")
            .click()
        )
        # Leaving the page did not cancel the order.
        await ana.until_stage("choosing")
        await ana.pay()
        await ana.until_stage("paid")
        await ana.page.get_by_role("main").get_by_role("link", name="My orders").click()
        await row.get_by_text("Ran out, not charged").wait_for()
        await ana.page.get_by_role("link", name=re.compile("^Receipt for")).click()
        await ana.page.get_by_role("heading", name="It's yours").wait_for()
        # The show moves: the receipt has the venue that was bought, and the present one.
        await market.seller.put(f"/api/shows/{show_id}", json={"venue": "Quay Theatre"})
        await ana.open(f"/checkout/{second['number'].lower()}")
        summary = ana.page.get_by_role("region", name="Your order")
        await expect(summary.locator(".when")).to_contain_text("Harbour Hall")
        await expect(summary.locator("[data-show-change]")).to_contain_text("Quay Theatre")
        await expect(summary).to_contain_text(f"Order {second['number']}")


async def test_a_buyer_refunds_an_order_where_the_shop_allows_it(
    market: Market, visit: Visit
) -> None:
    async with visit() as ana:
        order = await _held(market, ana)
        await ana.open_checkout(order)
        await ana.pay()
        await ana.page.get_by_role("button", name="Refund").click()
        await ana.page.get_by_role("button", name="Yes, refund €52.50").click()
        await ana.until_stage("refunded")
        assert (await ana.order(order))["status"] == "refunded"


async def test_earlier_orders_are_loaded_page_by_page(market: Market, visit: Visit) -> None:
    show_id = await market.show()
    [ticket] = await market.tickets(show_id, 1)
    for _ in range(21):
        await market.cancel(await market.hold(ticket))
    async with visit() as ana:
        await ana.sign_in_as(market.buyer.cookies)
        await ana.open("/orders")
        rows = ana.page.locator("[data-order]")
        await expect(rows).to_have_count(20)
        await ana.page.get_by_role("button", name="Show more").click()
        await expect(rows).to_have_count(21)


async def test_a_visitor_is_invited_to_sign_in_to_see_orders(visit: Visit) -> None:
    async with visit() as ana:
        await ana.open("/orders")
        await ana.page.get_by_text("Sign in to see your orders").wait_for()
        await ana.page.get_by_role("main").get_by_role("link", name="Sign in").click()
        await ana.page.wait_for_url("**/signin?next=%2Forders")


async def _held(market: Market, visitor: Visitor) -> Json:
    show_id = await market.show()
    await visitor.sign_up("ana")
    return await visitor.place(*await market.tickets(show_id, 1))
