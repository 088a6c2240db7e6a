"""The keyboard and a screen reader: skip links, the focus after each change, and one-key ways."""

import re
from uuid import uuid4

import pytest
from playwright.async_api import Locator, Route, expect

from tests.shop.conftest import Visit
from tests.shop.market import Market
from tests.shop.visitor import Visitor

HOLD_SECONDS = 60

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    return {"HOLD_SECONDS": str(HOLD_SECONDS)}


@pytest.mark.parametrize("path", ["/", "/signin", "/sell?show=new", "/shows/{show_id}?x=1"])
async def test_the_first_key_skips_to_the_content_and_keeps_the_address(
    market: Market, visit: Visit, path: str
) -> None:
    show_id = await market.show()
    await market.tickets(show_id, 2)
    async with visit() as ana:
        await ana.open(path.format(show_id=show_id))
        await ana.page.locator("h1, h2").first.wait_for()
        address = ana.page.url
        await ana.page.keyboard.press("Tab")
        link = ana.page.get_by_role("link", name="Skip to content")
        await expect(link).to_be_focused()
        await expect(link).to_be_in_viewport()
        await ana.page.keyboard.press("Enter")
        await expect(ana.page.locator("main")).to_be_focused()
        assert ana.page.url == address
        # The next key is inside the content, not in the header.
        await ana.page.keyboard.press("Tab")
        assert await ana.page.evaluate("document.activeElement.closest('main') !== null")
        assert not ana.errors


async def test_each_opened_page_has_the_focus_on_its_heading_and_starts_at_its_top(
    market: Market, visit: Visit
) -> None:
    title = f"Focus {uuid4().hex[:6]}"
    show_id = await market.show(title)
    await market.tickets(show_id, 40)
    async with visit() as seller:
        await seller.sign_in_as(market.seller.cookies)
        await seller.open("/")
        await seller.page.locator("[data-show]").first.wait_for()
        # A page that the browser loads keeps the browser's own focus.
        assert await seller.page.evaluate("document.activeElement === document.body")
        await seller.page.evaluate("scrollTo(0, document.body.scrollHeight)")
        for link, heading in (
            ("My orders", "My orders"),
            ("Sell", "Sell tickets"),
            (title, title),
            ("As buyers see it", title),
            ("Desk", re.compile("desk", re.IGNORECASE)),
        ):
            await seller.page.get_by_role("link", name=link).first.click()
            await expect(seller.page.get_by_role("heading", level=1, name=heading)).to_be_focused()
            assert await seller.page.evaluate("scrollY") == 0
        await seller.page.go_back()
        await expect(seller.page.get_by_role("heading", level=1, name=title)).to_be_focused()


async def test_the_focus_stays_where_the_user_moves_it_before_the_heading_comes(
    market: Market, visit: Visit
) -> None:
    show_id = await market.show(f"Late {uuid4().hex[:6]}")
    await market.tickets(show_id, 2)
    async with visit() as ana:
        await ana.open("/")
        card = ana.page.locator(f"[data-show='{show_id}'] a").first
        await card.wait_for()

        async def late(route: object) -> None:
            await ana.page.wait_for_timeout(700)
            await route.continue_()  # type: ignore[attr-defined]

        await ana.page.route(f"**/api/shows/{show_id}*", late)
        await card.click()
        await ana.page.wait_for_url(f"**/shows/{show_id}")
        link = ana.page.get_by_role("link", name="Browse")
        await link.focus()
        await ana.page.locator("main h1").wait_for()
        await expect(link).to_be_focused()


async def test_a_search_keeps_the_focus(market: Market, visit: Visit) -> None:
    await market.show()
    async with visit() as ana:
        await ana.open("/")
        search = ana.page.get_by_label("Search")
        await search.fill("Harbour")
        await ana.page.wait_for_url("**q=Harbour*")
        await expect(search).to_be_focused()


async def test_of_500_rows_the_keyboard_reaches_the_hold_by_one_key(
    market: Market, visit: Visit
) -> None:
    show_id = await market.show()
    await market.tickets(show_id, 500)
    async with visit() as ana:
        await ana.sign_up("ana")
        await ana.open_show(show_id)
        await ana.page.get_by_role("button", name="List seats of Row A").click()
        row = ana.page.get_by_role("checkbox").nth(3)
        await row.focus()
        await ana.page.keyboard.press("Space")
        status = ana.page.locator("#selection [role=status]").first
        await expect(status).to_contain_text("1 ticket is selected, €")
        await expect(status).to_contain_text("press H")
        await ana.page.keyboard.press("h")
        hold = ana.page.get_by_role("button", name=re.compile("^Hold "))
        await expect(hold).to_be_focused()
        await ana.page.keyboard.press("Escape")
        await expect(row).to_be_focused()
        # From the start of the page, a link leads there too.
        await ana.page.get_by_role("link", name="Skip to your selection").focus()
        await ana.page.keyboard.press("Enter")
        await expect(ana.page.get_by_role("complementary")).to_be_focused()
        assert "#" not in ana.page.url
        await ana.page.keyboard.press("Tab")
        await expect(hold).to_be_focused()
        await ana.page.keyboard.press("Enter")
        await ana.until_stage("choosing")
        await expect(ana.page.locator("h1")).to_be_focused()


async def test_no_focused_row_is_under_the_bar_of_a_phone(market: Market, visit: Visit) -> None:
    show_id = await market.show()
    await market.tickets(show_id, 40)
    async with visit(width=360) as ana:
        await ana.open_show(show_id)
        rows = ana.page.get_by_role("checkbox")
        await rows.first.check()
        bar = ana.page.get_by_role("complementary")
        for _ in range(25):
            await ana.page.keyboard.press("Tab")
            focused = ana.page.locator(":focus")
            if await focused.get_attribute("type") == "checkbox":
                assert await bottom(focused) <= await top(bar)


async def bottom(element: Locator) -> float:
    box = await element.bounding_box()
    assert box is not None
    return box["y"] + box["height"]


async def top(element: Locator) -> float:
    box = await element.bounding_box()
    assert box is not None
    return box["y"]


async def test_a_saved_and_a_withdrawn_ticket_leave_the_focus_in_the_list(
    market: Market, visit: Visit
) -> None:
    show_id = await market.show()
    first, second, third = await market.tickets(show_id, 3)
    async with visit() as seller:
        await seller.sign_in_as(market.seller.cookies)
        await seller.open(f"/sell?show={show_id}")
        await seller.row(first).get_by_role("button", name=re.compile("^Change")).click()
        await seller.row(first).get_by_label("Row", exact=True).fill("B")
        await seller.row(first).get_by_role("button", name="Save").press("Enter")
        change = seller.row(first).get_by_role("button", name=re.compile("^Change"))
        await expect(change).to_be_focused()
        # The next row's button, then that of the row before, then the heading of the list.
        for gone, focused in ((second, third), (third, first)):
            await withdraw(seller, gone)
            change = seller.row(focused).get_by_role("button", name=re.compile("^Change"))
            await expect(change).to_be_focused()
        await withdraw(seller, first)
        await expect(seller.page.get_by_role("heading", name="Your tickets")).to_be_focused()
        assert not seller.errors


async def test_a_message_before_the_reply_leaves_the_focus_in_the_list(
    market: Market, visit: Visit
) -> None:
    show_id = await market.show()
    first, second = await market.tickets(show_id, 2)
    async with visit() as seller:
        await seller.sign_in_as(market.seller.cookies)
        await seller.open(f"/sell?show={show_id}")
        await seller.until_state("live")

        async def after_the_message(route: Route) -> None:
            if route.request.method != "DELETE":
                await route.continue_()
                return
            reply = await route.fetch()
            await seller.row(first).wait_for(state="detached")
            await route.fulfill(response=reply)

        await seller.page.route(f"**/api/tickets/{first}", after_the_message)
        await withdraw(seller, first)
        change = seller.row(second).get_by_role("button", name=re.compile("^Change"))
        await expect(change).to_be_focused()
        # The page has the reply.
        await seller.page.locator(".toast").wait_for()
        await expect(change).to_be_focused()


async def test_a_ticket_that_moves_to_another_section_keeps_the_focus(
    market: Market, visit: Visit
) -> None:
    show_id = await market.show()
    first, _ = await market.tickets(show_id, 2)
    async with visit() as seller:
        await seller.sign_in_as(market.seller.cookies)
        await seller.open(f"/sell?show={show_id}")
        change = seller.row(first).get_by_role("button", name=re.compile("^Change"))
        await change.press("Enter")
        await seller.row(first).get_by_label("Section", exact=True).fill("Floor")
        await seller.row(first).get_by_role("button", name="Save").press("Enter")
        await seller.page.get_by_role("region", name="Floor").wait_for()
        await expect(change).to_be_focused()


async def withdraw(seller: Visitor, ticket_id: str) -> None:
    row = seller.row(ticket_id)
    await row.get_by_role("button", name=re.compile("^Change")).press("Enter")
    await row.get_by_role("button", name="Withdraw", exact=True).press("Enter")
    # The button that had the focus is gone; the harmless one of the two has it.
    await expect(row.get_by_role("button", name="Keep it on sale")).to_be_focused()
    await row.get_by_role("button", name="Take it off sale").press("Enter")
    await row.wait_for(state="detached")


async def test_a_changed_show_and_a_listed_block_keep_a_place_for_the_focus(
    market: Market, visit: Visit
) -> None:
    show_id = await market.show()
    async with visit() as seller:
        await seller.sign_in_as(market.seller.cookies)
        await seller.open(f"/sell?show={show_id}")
        change = seller.page.get_by_role("button", name="Change the show")
        for button in ("Save", "Leave it as it is"):
            await change.press("Enter")
            form = seller.page.locator(".change-show")
            await form.get_by_label("Title").fill(f"Harbour {uuid4().hex[:4]}")
            await form.get_by_role("button", name=button).press("Enter")
            await expect(change).to_be_focused()
        listing = seller.page.locator(".list-form")
        for name, value in (("section", "Circle"), ("rows", "A"), ("seats", "1"), ("price", "45")):
            await listing.locator(f"[name={name}]").fill(value)
        submit = listing.get_by_role("button", name="List the ticket")
        await submit.press("Enter")
        await seller.page.locator("[data-ticket]").wait_for()
        await expect(listing.locator("button.primary")).to_be_focused()


async def test_a_changed_handle_leaves_the_focus_in_its_form(visit: Visit) -> None:
    async with visit() as ana:
        await ana.sign_up("ana")
        await ana.open("/account")
        form = ana.page.get_by_role("form", name="Handle")
        field = form.locator("input")
        await field.fill(f"focus-{uuid4().hex[:6]}")
        await form.get_by_role("button").press("Enter")
        await ana.page.locator(".toast").wait_for()
        # The button is disabled while nothing is changed.
        await expect(field).to_be_focused()
