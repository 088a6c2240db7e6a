"""A show with 50,000 tickets: its page opens fast, light and stable, and has every ticket."""

import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.shop.axe import serious_findings
from tests.shop.budgets import (
    FIRST_PAINT_MS,
    JS_BUDGET_BYTES,
    LAYOUT_SHIFT,
    WATCH_SHIFTS,
    record_weight,
)
from tests.shop.conftest import Visit, opened_market
from tests.shop.instance import Running
from tests.shop.market import Market
from tests.shop.visitor import Visitor
from tests.system import System

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.asyncio(loop_scope="module"),
]
# 100 blocks with 20 rows of 25 seats. Of each block, the seats that were listed first, and are the
# cheapest, are sold: four rows are left.
STADIUM = """
    insert into tickets.tickets (
        show_id, seller_id, seller_name, price, currency, section, "row", seat, status, order_id
    )
    select $1, $2, 'seller', 1000 + 100 * (n / 2500), 'EUR',
           'Block ' || lpad((n % 100 + 1)::text, 3, '0'),
           (n / 100 / 25 + 1)::text, (n / 100 % 25 + 1)::text,
           case when n < 40000 then 'sold' else 'available' end,
           case when n < 40000 then uuidv7() end
    from generate_series(0, 49999) n
"""
# So many tickets without a section or a seat, each at a price of its own.
STANDING = """
    insert into tickets.tickets (show_id, seller_id, seller_name, price, currency)
    select $1, $2, 'seller', 1000 + n, 'EUR' from generate_series(0, 49999) n
"""
# When the first section of the list is in the document.
WATCH_LIST = """
    new MutationObserver((_, observer) => {
      if (!document.querySelector('.show-body .section')) return;
      globalThis.listedAt = performance.now();
      observer.disconnect();
    }).observe(document, {childList: true, subtree: true});
"""
# The list of a large show may be there this much later than that of a small one.
LISTED_RATIO = 2
MAX_NODES = 6_000
MAX_BYTES = 1_500_000


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stadium(stored: System, up: Running) -> AsyncIterator[str]:
    """For tests that change none of its tickets."""
    async with opened_market(up) as market:
        yield await fill(stored, market, "Stadium Night", STADIUM)


@pytest_asyncio.fixture(loop_scope="module")
async def own_stadium(stored: System, market: Market) -> AsyncIterator[str]:
    """For a test that changes its tickets."""
    yield await fill(stored, market, "Own Stadium Night", STADIUM)


async def fill(stored: System, market: Market, title: str, statement: str) -> str:
    show_id = await market.show(title)
    owner = await stored.connect()
    seller = (await market.seller.get("/api/users/currentuser")).json()["current_user"]["id"]
    await owner.execute("set statement_timeout = '60s'")
    await owner.execute(statement, UUID(show_id), UUID(seller), timeout=60)
    # The worker needs a minute for so many changes at once.
    await owner.execute("select tickets.fold_counts(1000000)", timeout=60)
    await owner.close()
    return show_id


async def open_large(visitor: Visitor, show_id: str) -> None:
    await visitor.open(f"/shows/{show_id}")
    await visitor.page.get_by_role("button", name="Block 001", exact=True).wait_for()
    await visitor.until_state("live")


async def nodes(visitor: Visitor) -> int:
    found: int = await visitor.page.evaluate("document.getElementsByTagName('*').length")
    return found


async def test_the_page_has_the_counts_of_all_and_reads_a_bounded_part(
    stadium: str, visit: Visit
) -> None:
    async with visit() as ben:
        read: list[Any] = []
        ben.page.on("response", lambda reply: read.append(reply) if "/api/" in reply.url else None)
        await open_large(ben, stadium)
        await expect(ben.page.locator(".share")).to_contain_text(
            "10000 available · 0 held · 40000 sold"
        )
        await expect(ben.page.locator(".section")).to_have_count(100)
        assert await nodes(ben) < MAX_NODES
        assert sum([len(await reply.body()) for reply in read]) < MAX_BYTES


async def test_an_open_section_folds_its_sold_seats_and_has_every_free_one(
    own_stadium: str, market: Market, visit: Visit
) -> None:
    async with visit() as ben:
        await open_large(ben, own_stadium)
        block = ben.page.get_by_label("Block 042", exact=True)
        await block.get_by_role("button", name="Block 042", exact=True).click()
        await block.get_by_text("400 sold").wait_for()
        free = block.locator("[data-seat][data-is=free]")
        await expect(free).to_have_count(100)
        # The last one that was listed.
        last = block.get_by_role("button", name="Seat 25, €29.00, available").last
        await last.click()
        await expect(ben.page.locator(".bill-line").first).to_contain_text("Block 042")
        await expect(last).to_have_attribute("aria-pressed", "true")
        # A hold of another buyer arrives by message.
        other = await free.first.get_attribute("data-seat")
        assert other is not None
        await market.hold(other)
        await expect(block.locator(f"[data-seat='{other}']")).to_have_attribute("data-is", "held")
        await expect(free).to_have_count(99)
        assert await nodes(ben) < MAX_NODES
        await block.get_by_role("button", name="Block 042", exact=True).click()
        await expect(free).to_have_count(0)


async def test_a_number_of_tickets_leads_to_the_cheapest_seats_together(
    stadium: str, visit: Visit
) -> None:
    async with visit() as ben:
        await open_large(ben, stadium)
        await ben.page.get_by_role("button", name="4", exact=True).click()
        proposals = ben.page.locator(".proposal")
        await expect(proposals).to_have_count(3)
        await proposals.first.click()
        await expect(ben.page.locator(".pick .bill-line")).to_have_count(5)
        seats = await ben.page.locator(".pick .bill-line").all_inner_texts()
        places = [re.search(r"(Block \d+) · Row (\d+) · seat (\d+)", each) for each in seats[:4]]
        assert len({(place[1], place[2]) for place in places if place}) == 1
        numbers = [int(place[3]) for place in places if place]
        assert numbers == list(range(numbers[0], numbers[0] + 4))
        assert "€26.00" in seats[0]


async def test_a_section_of_50_000_tickets_scrolls_with_a_bounded_page(
    stored: System, market: Market, visit: Visit
) -> None:
    show_id = await fill(stored, market, "Standing Night", STANDING)
    async with visit(width=360) as ben:
        await ben.open(f"/shows/{show_id}")
        rows = ben.page.locator("[data-ticket]")
        await rows.first.wait_for()
        await ben.until_state("live")
        most = 0
        for _ in range(12):
            await ben.page.mouse.wheel(0, 20_000)
            await ben.page.wait_for_timeout(150)
            most = max(most, await nodes(ben))
        assert most < MAX_NODES
        # It has read page after page, and the first ones have left the document.
        height = await ben.page.evaluate("document.documentElement.scrollHeight")
        assert height > 40_000
        await expect(rows.first).not_to_contain_text("€10.00")


async def test_a_large_show_has_no_serious_accessibility_error(stadium: str, visit: Visit) -> None:
    found = {}
    for width in (360, 1280):
        async with visit(width=width, reduced_motion=True) as ben:
            await open_large(ben, stadium)
            await ben.page.get_by_role("button", name="2", exact=True).click()
            await ben.page.get_by_role("button", name="Block 002", exact=True).click()
            await ben.page.locator("[data-seat][data-is=free]").first.wait_for()
            overflow = await ben.page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert overflow <= 0
            for theme in ("light", "dark"):
                await ben.page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
                await ben.page.locator(f"html.{theme}").wait_for(state="attached")
                found[width, theme] = await serious_findings(ben.page)
            assert not ben.errors
    assert not any(found.values()), found


@pytest.mark.parametrize("width", [360, 1280])
async def test_a_large_show_keeps_the_budgets_and_opens_nearly_as_fast_as_a_small_one(
    stadium: str, market: Market, visit: Visit, width: int
) -> None:
    small = await market.show()
    await market.tickets(small, 12)
    measured: list[tuple[float, float, float, float, int]] = []
    # The best of three: other tests may load the machine.
    for _ in range(3):
        listed: list[float] = []
        painted, shifted, scripts = 0.0, 0.0, 0
        for show_id in (small, stadium):
            async with visit(width=width) as ben:
                await ben.context.add_init_script(WATCH_SHIFTS)
                await ben.context.add_init_script(WATCH_LIST)
                weight = await record_weight(ben.page)
                await ben.open(f"/shows/{show_id}")
                await ben.page.locator(".show-body .section").first.wait_for()
                await ben.until_state("live")
                await ben.page.wait_for_load_state("networkidle")
                listed.append(await ben.page.evaluate("globalThis.listedAt"))
                painted = await ben.page.evaluate(
                    "performance.getEntriesByName('first-contentful-paint')[0].startTime"
                )
                shifted = await ben.page.evaluate("globalThis.shifted")
                scripts = weight["script"]
        measured.append((painted, listed[1], listed[0], shifted, scripts))
    assert min(painted for painted, *_ in measured) < FIRST_PAINT_MS, measured
    assert min(large / small for _, large, small, *_ in measured) < LISTED_RATIO, measured
    assert max(shifted for *_, shifted, _ in measured) < LAYOUT_SHIFT, measured
    assert 0 < max(scripts for *_, scripts in measured) < JS_BUDGET_BYTES, measured


async def test_a_chosen_proposal_that_another_buyer_takes_is_announced_and_replaced(
    market: Market, visit: Visit
) -> None:
    show_id = await market.show()
    tickets = await market.tickets(show_id, 6, price=4000)
    await market.tickets(show_id, 6, row="B", price=5000)
    async with visit() as ben:
        await ben.sign_up("ben")
        await ben.open_show(show_id)
        await ben.page.get_by_role("button", name="2", exact=True).click()
        await ben.page.get_by_role("button", name="Row A · seats 1 to 2").click()
        pick = ben.page.get_by_label("Your pick")
        await expect(pick.locator(".bill-line").first).to_contain_text("Row A · seat 1")
        await market.hold(tickets[1])
        alert = pick.get_by_role("alert")
        await expect(alert).to_have_text(
            "Somebody was faster with Balcony · Row A · seat 2."
            " Your pick is now Balcony · Row A · seats 3 to 4 for €80.00."
        )
        await expect(pick.locator(".bill-line").first).to_contain_text("Row A · seat 3")
        # The visitor confirms the new pick by its price. Without a socket, the hold is refused.
        await market.hold(*tickets[2:])
        await expect(alert).to_contain_text("Your pick is now Balcony · Row B · seats 1 to 2")
        await pick.get_by_role("button", name="Hold at €105.00").click()
        await ben.page.wait_for_url("**/checkout/*")


async def test_a_refused_hold_of_a_proposal_leads_to_the_next_one(
    market: Market, visit: Visit
) -> None:
    show_id = await market.show()
    tickets = await market.tickets(show_id, 4, price=4000)
    async with visit() as ben:
        await ben.page.route_web_socket("**/app/**", lambda _socket: None)
        await ben.sign_up("ben")
        await ben.open(f"/shows/{show_id}")
        await ben.page.get_by_role("button", name="2", exact=True).click()
        await ben.page.get_by_role("button", name="Row A · seats 1 to 2").click()
        await market.hold(tickets[0])
        await ben.hold()
        pick = ben.page.get_by_label("Your pick")
        await pick.get_by_role("alert").get_by_text("Your pick is now").wait_for()
        await expect(pick.locator(".bill-line").first).to_contain_text("Row A · seat")
        await expect(pick.locator(".bill-line")).to_have_count(3)


async def test_the_keys_move_between_the_seats_of_a_strip(market: Market, visit: Visit) -> None:
    show_id = await market.show()
    await market.tickets(show_id, 6)
    async with visit() as ben:
        await ben.open_show(show_id)
        strip = ben.page.get_by_role("toolbar", name="Row A: 6 available")
        await expect(strip.locator("[tabindex='0']")).to_have_count(1)
        await strip.locator("[tabindex='0']").focus()
        await ben.page.keyboard.press("ArrowRight")
        await ben.page.keyboard.press("Space")
        await expect(ben.page.locator(".bill-line").first).to_contain_text("seat 2")
        await ben.page.keyboard.press("End")
        await expect(strip.get_by_role("button", name="Seat 6")).to_be_focused()
        await expect(strip.locator("[tabindex='0']")).to_have_count(1)


async def test_the_sellers_page_of_a_large_show_has_the_newest_tickets_and_reads_older_ones(
    own_stadium: str, market: Market, visit: Visit
) -> None:
    newest, *_ = await market.tickets(own_stadium, 1, section="Extra", row="Z")
    async with visit() as mira:
        await mira.sign_in_as(market.seller.cookies)
        await mira.open(f"/sell?show={own_stadium}")
        await mira.row(newest).first.wait_for()
        await mira.page.locator("[data-counts]").get_by_text("newest 1000").wait_for()
        await mira.page.get_by_role("button", name="Show older tickets").click()
        await mira.page.locator("[data-counts]").get_by_text("newest 2000").wait_for()
