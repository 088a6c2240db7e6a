"""A show that its owner postpones or cancels, as its seller, its visitors and its buyers see it."""

import re

import pytest
from playwright.async_api import expect

from tests.shop.axe import serious_findings
from tests.shop.conftest import Visit
from tests.shop.market import Market

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.asyncio(loop_scope="module"),
]


async def test_the_owner_cancels_a_show_and_its_buyers_get_their_money_back(
    market: Market, visit: Visit
) -> None:
    show_id = await market.show()
    one, two, *_ = await market.tickets(show_id)
    async with visit() as ana, visit() as mira, visit() as visitor:
        await ana.sign_up("ana")
        order = await ana.place(one, two)
        await ana.open_checkout(order)
        await ana.pay()
        await ana.until_stage("paid")
        await visitor.open(f"/shows/{show_id}")
        await visitor.until_state("live")
        await mira.sign_in_as(market.seller.cookies)
        await mira.open(f"/sell?show={show_id}")
        await mira.page.get_by_role("button", name="Cancel the show").click()
        question = mira.page.get_by_role("region", name="Cancel this show?")
        await expect(question).to_contain_text("All 2 sold tickets are refunded in full.")
        assert await serious_findings(mira.page) == []
        await question.get_by_role("button", name="Leave it as it is").click()
        assert (await market.buyer.get(f"/api/shows/{show_id}")).json()["status"] == "on_sale"
        await mira.page.get_by_role("button", name="Cancel the show").click()
        await question.get_by_role("button", name="Yes, cancel it for good").click()
        await mira.page.locator("[data-winding-up='0']").wait_for(timeout=30_000)
        # Nobody reloads: the visitor's page, and the buyer's receipt.
        await visitor.page.get_by_text("This show does not take place.").wait_for()
        await ana.until_stage("refunded", seconds=30)
        await visitor.open("/")
        card = visitor.page.locator(f"[data-show='{show_id}']")
        await expect(card).to_contain_text("Cancelled")


async def test_a_buyer_returns_a_ticket_of_a_postponed_show(market: Market, visit: Visit) -> None:
    show_id, other_id = await market.show(), await market.show()
    [ticket], [other] = await market.tickets(show_id, 1), await market.tickets(other_id, 1)
    async with visit() as ana, visit(width=360) as phone, visit() as mira:
        await ana.sign_up("ana")
        order = await ana.place(ticket, other)
        await ana.open_checkout(order)
        await ana.pay()
        await ana.until_stage("paid")
        returning = ana.page.get_by_role("button", name=re.compile("^Return the ticket"))
        await expect(returning).to_have_count(0)
        await phone.sign_in_like(ana)
        await phone.open("/orders")
        await phone.until_state("live")
        await mira.sign_in_as(market.seller.cookies)
        await mira.open(f"/sell?show={show_id}")
        await mira.page.get_by_role("button", name="Postpone").click()
        question = mira.page.get_by_role("region", name="Postpone this show?")
        await question.get_by_role("button", name="Yes, postpone it").click()
        await mira.page.get_by_text("Postponed: set a new date").wait_for()
        # Nobody reloads: the receipt, and the list of orders on the phone.
        for buyer in (ana, phone):
            await buyer.page.get_by_text("This show is postponed").first.wait_for()
        await returning.click()
        await ana.page.get_by_role("button", name="Yes, return for €52.50").click()
        await ana.page.locator("[data-line='refunded']").wait_for()
        await expect(ana.page.locator("[data-line='sold']")).to_have_count(1)
        await expect(ana.page.locator("[data-refunded]")).to_contain_text("€52.50")
        await expect(returning).to_have_count(0)
        await ana.open("/orders")
        row = ana.page.locator(f"[data-order='{order['id']}']")
        await expect(row).to_contain_text("€52.50 refunded")
