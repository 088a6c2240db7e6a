"""The seller's desk: live holds and sales, their sound, totals, and the CSV export."""

import asyncio
import csv
import io
import time
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Download, Page, expect

from tests.shop.conftest import HOLD_SECONDS, Visit
from tests.shop.market import Market
from tests.shop.visitor import Visitor

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.asyncio(loop_scope="module"),
]
COUNT_TONES = """
    globalThis.tones = 0;
    const start = OscillatorNode.prototype.start;
    OscillatorNode.prototype.start = function (...given) {
      globalThis.tones += 1;
      return start.apply(this, given);
    };
"""


async def open_desk(market: Market, visitor: Visitor) -> Page:
    await visitor.sign_in_as(market.seller.cookies)
    await visitor.open("/desk")
    await visitor.page.locator("[data-sale]").first.wait_for()
    await visitor.until_state("live")
    return visitor.page


async def sales(market: Market) -> dict[str, str]:
    """The last status of each ticket's sales, from the API."""
    listed = (await market.seller.get("/api/sales", params={"limit": 100})).json()["items"]
    return {sale["ticket_id"]: sale["status"] for sale in reversed(listed)}


async def shown(page: Page) -> dict[str, str]:
    rows: list[list[str]] = await page.locator("[data-sale]").evaluate_all(
        "rows => rows.map(row => [row.dataset.sale, row.dataset.is])"
    )
    return dict(rows)


async def tones(page: Page) -> int:
    found: int = await page.evaluate("globalThis.tones")
    return found


async def test_the_desk_shows_and_sounds_a_hold_and_a_sale_within_a_second(
    market: Market, visit: Visit
) -> None:
    show_id = await market.show("Night Piano")
    one, *others = await market.tickets(show_id)
    await market.pay(await market.hold(one))
    async with visit() as mira:
        await mira.context.add_init_script(COUNT_TONES)
        page = await open_desk(market, mira)
        revenue, held = page.locator("[data-total=revenue]"), page.locator("[data-total=held]")
        await expect(revenue).to_have_text("€50.00")
        await expect(held).to_have_text("0")
        sound = page.get_by_role("switch", name="Sound")
        await expect(sound).to_have_attribute("aria-checked", "false")
        await sound.click()
        hold_seconds, sale_seconds = [], []
        # The quickest of three counts: the machine's other work can delay one of them.
        for two, total in zip(others, ("€105.00", "€150.00", "€200.00"), strict=False):
            before = await tones(page)
            order = await market.hold(two)
            responded = time.monotonic()
            await page.locator(f"[data-sale='{two}'][data-is=held]").wait_for()
            await expect(held).to_have_text("1")
            hold_seconds.append(time.monotonic() - responded)
            assert await tones(page) == before + 1
            await expect(page.locator(f"[data-sale='{two}']")).to_contain_text("Balcony · Row A")
            await expect(page.locator(f"[data-sale='{two}']")).to_contain_text("Night Piano")
            await market.pay(order)
            responded = time.monotonic()
            await page.locator(f"[data-sale='{two}'][data-is=sold]").wait_for()
            await expect(revenue).to_have_text(total)
            await expect(held).to_have_text("0")
            sale_seconds.append(time.monotonic() - responded)
            assert await tones(page) == before + 3
        assert min(hold_seconds) < 1
        assert min(sale_seconds) < 1
        await expect(page.locator("[data-total=conversion]")).to_have_text("100%")
        # A bar for the one day with sales, and nothing on the days without.
        await expect(page.locator(".chart.revenue .recharts-bar-rectangle path")).to_have_count(1)
        await page.locator(".chart.conversion .recharts-bar-rectangle").first.wait_for()
        assert not mira.errors


async def test_the_sound_is_off_by_default_and_the_browser_remembers_the_switch(
    market: Market, visit: Visit
) -> None:
    show_id = await market.show()
    one, two, *_ = await market.tickets(show_id)
    async with visit() as mira:
        await mira.context.add_init_script(COUNT_TONES)
        await market.cancel(await market.hold(one))
        page = await open_desk(market, mira)
        await market.hold(two)
        await page.locator(f"[data-sale='{two}']").wait_for()
        assert await tones(page) == 0
        sound = page.get_by_role("switch", name="Sound")
        await sound.click()
        await expect(sound).to_have_attribute("aria-checked", "true")
        await page.reload()
        await expect(sound).to_have_attribute("aria-checked", "true")
        await sound.click()
        await page.reload()
        await expect(sound).to_have_attribute("aria-checked", "false")


async def test_holds_count_down_as_the_api_does_and_leave_the_list_when_they_end(
    market: Market, visit: Visit
) -> None:
    show_id = await market.show()
    one, two, *_ = await market.tickets(show_id)
    await market.hold(one)
    async with visit() as mira:
        page = await open_desk(market, mira)
        await market.hold(two)
        for ticket_id in (one, two):
            left = page.locator(f"[data-hold='{ticket_id}'] [data-seconds]")
            await left.wait_for()
            for _ in range(2):
                seconds = int(await left.get_attribute("data-seconds") or "-9")
                assert abs(seconds - (await market.ticket(ticket_id))["seconds_left"]) <= 1.5
                await expect(left).not_to_have_attribute("data-seconds", str(seconds))
        for ticket_id in (one, two):
            await page.locator(f"[data-sale='{ticket_id}'][data-is=released]").wait_for(
                timeout=1000 * (HOLD_SECONDS + 5)
            )
        await expect(page.locator("[data-hold]")).to_have_count(0)
        await expect(page.locator("[data-total=conversion]")).to_have_text("0%")


async def test_a_hold_that_a_payment_extends_shows_its_new_time(
    market: Market, visit: Visit
) -> None:
    show_id = await market.show()
    [ticket_id] = await market.tickets(show_id, 1)
    order = await market.hold(ticket_id)
    async with visit() as mira:
        page = await open_desk(market, mira)
        await asyncio.sleep(2)
        # A card that requires 3-D Secure: the payment stays open.
        waiting = await market.buyer.post(
            "/api/payments",
            json={"order_id": order["id"], "payment_method": "pm_card_authenticationRequired"},
        )
        assert waiting.json()["status"] == "requires_action", waiting.text
        left = (await market.ticket(ticket_id))["seconds_left"]
        assert left > HOLD_SECONDS - 2
        await expect(page.locator(f"[data-hold='{ticket_id}'] [data-seconds]")).to_have_attribute(
            "data-seconds", str(int(left)), timeout=3000
        )


async def test_after_a_gateway_crash_the_desk_catches_up_with_the_api(
    market: Market, visit: Visit
) -> None:
    show_id = await market.show()
    one, two, three, *_ = await market.tickets(show_id)
    order = await market.hold(one)
    async with visit() as mira:
        page = await open_desk(market, mira)
        market.up.kill("push")
        await mira.until_state("reconnecting")
        await market.cancel(order)
        await market.pay(await market.hold(two))
        await market.hold(three)
        await mira.until_state("caught-up", seconds=40)
        assert await shown(page) == await sales(market)
        await expect(page.locator("[data-total=revenue]")).to_have_text("€55.00")


async def test_the_csv_export_has_every_sale_and_no_formula(
    market: Market, visit: Visit, tmp_path: Path
) -> None:
    show_id = await market.show('=HYPERLINK("http://x.example")', city="Den Haag, NL; \uff1d1+1")
    one, two, three, *_ = await market.tickets(show_id)
    [yen] = await market.tickets(
        show_id, 1, currency="JPY", price=9800, section='The "Box"', row=None
    )
    for ticket_id in (one, yen):
        await market.pay(await market.hold(ticket_id))
    await market.cancel(await market.hold(two))
    await market.hold(three)
    async with visit() as mira:
        page = await open_desk(market, mira)
        await expect(page.locator("[data-sale]").first).to_contain_text("HYPERLINK")
        for label, separator, price in (("Commas", ",", "50.00"), ("Semicolons", ";", "50,00")):
            await (await exported(page, label)).save_as(tmp_path / "sales.csv")
            text = (tmp_path / "sales.csv").read_bytes().decode("utf-8-sig")
            assert f'{separator}{price}{separator}"EUR"{separator}' in text
            rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=separator))
            assert {row["ticket"]: row["status"] for row in rows} == await sales(market)
            found: dict[str, dict[str, Any]] = {row["ticket"]: row for row in rows}
            numbers = {row["order"]: row["order number"] for row in rows}
            assert all(number.startswith("GT-") for number in numbers.values())
            assert {row["show"] for row in rows} == {'\'=HYPERLINK("http://x.example")'}
            assert {row["city"] for row in rows} == {"Den Haag, NL; '\uff1d1+1"}
            assert (found[one]["price"], found[one]["row"]) == (price, "A")
            assert (found[yen]["price"], found[yen]["currency"], found[yen]["section"]) == (
                "9800",
                "JPY",
                'The "Box"',
            )


async def exported(page: Page, label: str) -> Download:
    """The file of this type."""
    await page.get_by_role("button", name="Export CSV").click()
    await page.get_by_role("radio", name=label).check()
    async with page.expect_download() as saved:
        await page.get_by_role("button", name="Save file").click()
    download = await saved.value
    assert download.suggested_filename.startswith("gittix-sales-")
    await expect(page.get_by_role("dialog")).to_be_hidden()
    return download


async def test_totals_are_of_the_chosen_currency_and_period(market: Market, visit: Visit) -> None:
    show_id = await market.show()
    [euros] = await market.tickets(show_id, 1)
    [yen] = await market.tickets(show_id, 1, currency="JPY", price=9800, seat="9")
    for ticket_id in (yen, euros):
        await market.pay(await market.hold(ticket_id))
    async with visit(width=360, dark=True) as mira:
        page = await open_desk(market, mira)
        revenue = page.locator("[data-total=revenue]")
        await expect(revenue).to_have_text("€50.00")
        await page.get_by_label("Currency").select_option("JPY")
        await expect(revenue).to_have_text("¥9,800")
        for period, words in (("Today", "Sales by hour"), ("30 days", "Sales by day")):
            await page.get_by_role("button", name=period).click()
            await page.locator("figcaption").get_by_text(words).wait_for()
            await expect(revenue).to_have_text("¥9,800")


async def test_an_empty_desk_fills_with_the_first_hold(market: Market, visit: Visit) -> None:
    show_id = await market.show()
    async with visit() as mira:
        await mira.sign_in_as(market.seller.cookies)
        await mira.open("/desk")
        await mira.page.get_by_text("Quiet so far").wait_for()
        await mira.until_state("live")
        [ticket_id] = await market.tickets(show_id, 1)
        await market.hold(ticket_id)
        await mira.page.locator(f"[data-sale='{ticket_id}'][data-is=held]").wait_for()
        await expect(mira.page.locator("[data-total=held]")).to_have_text("1")


async def test_another_user_receives_no_message_of_a_sellers_sales(
    market: Market, visit: Visit
) -> None:
    show_id = await market.show()
    one, two, *_ = await market.tickets(show_id)
    await market.cancel(await market.hold(one))
    async with visit() as mira, visit() as ben:
        page = await open_desk(market, mira)
        await ben.sign_up("ben")
        await ben.open("/desk")
        await ben.page.get_by_text("Quiet so far").wait_for()
        await ben.until_state("live")
        await market.hold(two)
        await page.locator(f"[data-sale='{two}']").wait_for()
        assert await ben.page.locator("[data-sale]").count() == 0
        assert not any("sale." in event for socket in ben.sockets for event in socket.events())


async def test_the_table_by_show_filters_totals_lists_and_export(
    market: Market, visit: Visit, tmp_path: Path
) -> None:
    piano, derby = await market.show("Night Piano"), await market.show("The Derby")
    one, two, three, four, *_ = await market.tickets(piano)
    [goal] = await market.tickets(derby, 1, price=8000)
    for ticket_id in (one, two, goal):
        await market.pay(await market.hold(ticket_id))
    await market.hold(three)
    assert (await market.seller.delete(f"/api/tickets/{four}")).status_code == 204
    async with visit() as mira:
        page = await open_desk(market, mira)
        row = page.locator(f"[data-show-row='{piano}']")
        for cell, count in (("listed", 5), ("free", 2), ("held", 1), ("sold", 2), ("refunded", 0)):
            await expect(row.locator(f"[data-cell={cell}]")).to_have_text(str(count))
        await expect(row.locator("[data-cell=revenue]")).to_have_text("€105.00")
        revenue = page.locator("[data-total=revenue]")
        await expect(revenue).to_have_text("€185.00")
        await expect(page.get_by_text("Net sales in EUR, last 7 days")).to_be_visible()
        await row.get_by_role("button", name="Night Piano").click()
        await expect(revenue).to_have_text("€105.00")
        await expect(page.locator("[data-total=conversion]")).to_have_text("100%")
        await expect(page.locator("[data-sale]")).to_have_count(3)
        await expect(page.get_by_label("Show", exact=True)).to_have_value(piano)
        await (await exported(page, "Commas")).save_as(tmp_path / "piano.csv")
        assert tickets_in(tmp_path / "piano.csv") == {one, two, three}
        await page.get_by_label("Show", exact=True).select_option(derby)
        await expect(revenue).to_have_text("€80.00")
        await expect(page.locator("[data-sale]")).to_have_count(1)
        await expect(page.locator("[data-hold]")).to_have_count(0)
        await page.get_by_role("button", name="Export CSV").click()
        await page.get_by_role("radio", name="The Derby, last 7 days").wait_for()
        await page.get_by_role("radio", name="All sales").check()
        async with page.expect_download() as saved:
            await page.get_by_role("button", name="Save file").click()
        await (await saved.value).save_as(tmp_path / "all.csv")
        assert tickets_in(tmp_path / "all.csv") == {one, two, three, goal}
        assert not mira.errors


def tickets_in(path: Path) -> set[str]:
    return {row["ticket"] for row in csv.DictReader(io.StringIO(path.read_text("utf-8-sig")))}


@pytest.mark.parametrize("relist", [True, False])
async def test_a_seller_refunds_a_sale_from_the_desk(
    market: Market, visit: Visit, *, relist: bool
) -> None:
    show_id = await market.show()
    one, two, *_ = await market.tickets(show_id)
    await market.pay(await market.hold(one, two))
    async with visit() as mira:
        page = await open_desk(market, mira)
        await page.get_by_role("button", name="Refund Balcony · Row A · seat 1").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_text("This ticket").wait_for()
        await dialog.get_by_role(
            "radio", name="Put it on sale again" if relist else "Take it off sale"
        ).check()
        await dialog.get_by_label("Reason").fill("The seat is broken")
        # The price and its part of the fee.
        await dialog.get_by_role("button", name="Refund €52.50").click()
        await expect(dialog).to_be_hidden()
        await page.locator(f"[data-sale='{one}'][data-is=refunded]").wait_for()
        await page.locator(f"[data-sale='{two}'][data-is=sold]").wait_for()
        await expect(page.locator("[data-total=revenue]")).to_have_text("€55.00")
        await expect(page.locator("[data-total=refunds]")).to_have_text("€50.00")
        await expect(page.get_by_text("1 ticket; gross sales €105.00")).to_be_visible()
        status = "available" if relist else "withdrawn"
        assert (await market.ticket(one))["status"] == status
        assert not mira.errors
        # The rest of the order is one ticket, so no choice is left.
        await page.get_by_role("button", name="Refund Balcony · Row A · seat 2").click()
        await expect(dialog.get_by_text("This ticket", exact=True)).to_have_count(0)
        await dialog.get_by_role("button", name="Keep the sale").click()
        await expect(dialog).to_be_hidden()
        assert (await market.ticket(two))["status"] == "sold"


async def test_all_tickets_of_an_order_are_refunded_at_once(market: Market, visit: Visit) -> None:
    show_id = await market.show()
    one, two, *_ = await market.tickets(show_id)
    await market.pay(await market.hold(one, two))
    async with visit(width=360, dark=True) as mira:
        page = await open_desk(market, mira)
        await page.get_by_role("button", name="Refund Balcony · Row A · seat 2").click()
        await page.get_by_role("radio", name="All 2 tickets of yours").check()
        await page.get_by_role("button", name="Refund €110.25").click()
        for ticket_id in (one, two):
            await page.locator(f"[data-sale='{ticket_id}'][data-is=refunded]").wait_for()
        await expect(page.locator("[data-total=revenue]")).to_have_text("€0.00")
        assert not mira.errors
