"""From finding a show to holding its tickets: search, filters, the pick, signing in on the way."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Route, expect

from tests.shop.conftest import Visit
from tests.shop.market import Market
from tests.shop.visitor import PASSWORD
from tests.system import until

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.asyncio(loop_scope="module"),
]
SHOWS_OF_A_PAGE = 24
COUNT_REJECTIONS = """
    globalThis.rejections = 0;
    addEventListener('unhandledrejection', () => { globalThis.rejections += 1; }, true);
"""


async def test_a_new_visitor_picks_tickets_signs_up_and_holds_them(
    market: Market, visit: Visit
) -> None:
    show_id = await market.show()
    one, two, *_ = await market.tickets(show_id)
    async with visit(width=360) as ana:
        await ana.open_show(show_id)
        await ana.pick(one, two)
        # 50.00 and 55.00 with a fee of five percent.
        await expect(ana.page.locator(".bill-total b")).to_have_text("€110.25")
        await ana.hold()
        await ana.page.wait_for_url(re.compile(r"/signin\?next="))
        await ana.page.get_by_role("link", name="Make an account").click()
        # The page before has fields of the same names, and is shown until this page is loaded.
        await ana.page.get_by_role("heading", name="Make an account").wait_for()
        await ana.page.get_by_label("Password").fill("short")
        await ana.page.get_by_role("button", name="Make an account").click()
        # Both at once, in the page's own words.
        await ana.page.get_by_text("Type an email address, such as ada@example.com.").wait_for()
        await ana.page.get_by_text("Choose a password of 8 characters or more.").wait_for()
        await expect(ana.page.get_by_label("Password")).to_have_attribute("aria-invalid", "true")
        await expect(ana.page.get_by_label("Email")).to_be_focused()
        await ana.page.get_by_label("Email").fill(f"ana-{show_id}@example.com")
        await ana.page.get_by_label("Password").fill(PASSWORD)
        await ana.page.get_by_role("button", name="Make an account").click()
        await ana.page.wait_for_url(f"**/shows/{show_id}")
        async with ana.page.expect_response(
            lambda response: response.url.endswith("/api/orders")
        ) as placed:
            await ana.hold()
        order = await (await placed.value).json()
        assert sorted(ticket["id"] for ticket in order["tickets"]) == sorted([one, two])
        assert order["total"] == 11025
        await ana.page.wait_for_url(f"**/checkout/{order['id']}")


async def test_a_buyer_who_is_second_keeps_the_other_picked_tickets(
    market: Market, visit: Visit
) -> None:
    show_id = await market.show()
    one, two, *_ = await market.tickets(show_id)
    async with visit() as ben:
        # Without a socket the page still offers the ticket.
        await ben.page.route_web_socket("**/app/**", lambda _socket: None)
        await ben.sign_up("ben")
        await ben.open(f"/shows/{show_id}")
        await ben.pick(one, two)
        await market.hold(one)
        await ben.hold()
        await ben.page.get_by_role("alert").get_by_text("Somebody was faster").wait_for()
        assert not await ben.row(one).get_by_role("checkbox").is_checked()
        assert await ben.row(two).get_by_role("checkbox").is_checked()


async def test_a_picked_ticket_that_another_buyer_holds_leaves_the_pick(
    market: Market, visit: Visit
) -> None:
    show_id = await market.show()
    one, two, *_ = await market.tickets(show_id)
    async with visit() as ben:
        await ben.open_show(show_id)
        await ben.pick(one, two)
        await market.hold(one)
        await (
            ben.page.locator(".toast")
            .get_by_text("Somebody was faster with Balcony · Row A · seat 1")
            .wait_for()
        )
        await expect(ben.page.locator(".bill-line").first).to_contain_text("seat 2")


async def test_a_price_that_rises_in_the_pick_is_said_and_confirmed_before_the_hold(
    market: Market, visit: Visit
) -> None:
    show_id = await market.show()
    one, two, *_ = await market.tickets(show_id)

    async def raise_price(ticket_id: str, price: int) -> None:
        answer = await market.seller.put(f"/api/tickets/{ticket_id}", json={"price": price})
        assert answer.status_code == 200

    async def raise_second(route: Route) -> None:
        await raise_price(two, 7000)
        await route.continue_()

    async with visit() as ana:
        await ana.sign_up("ana")
        await ana.open_show(show_id)
        await ana.pick(one, two)
        # 50.00 and 55.00 with a fee of five percent.
        await raise_price(one, 6000)
        pick = ana.page.get_by_label("Your pick")
        await pick.get_by_text("Row A · seat 1 rose from €50.00 to €60.00").wait_for()
        # The second rises after the button was pressed, before the API has the request.
        await ana.page.route("**/api/orders", raise_second, times=1)
        await ana.page.get_by_role("button", name="Hold at €120.75").click()
        await pick.get_by_text("The price has changed from €120.75 to €136.50.").wait_for()
        assert (await market.ticket(one))["status"] == "available"
        await ana.page.get_by_role("button", name="Hold at €136.50").click()
        await ana.page.wait_for_url("**/checkout/*")


async def test_a_ticket_that_the_visitor_holds_in_another_tab_is_shown_as_own(
    market: Market, visit: Visit
) -> None:
    show_id = await market.show()
    one, two, *_ = await market.tickets(show_id)
    async with visit() as ben, visit() as stranger:
        await stranger.sign_up("stranger")
        await ben.sign_in_as(market.buyer.cookies)
        await ben.open_show(show_id)
        await ben.pick(one, two)
        await market.hold(one)
        await ben.row(one).get_by_role("link", name="Check out").wait_for()
        # A notice appears for the ticket that another user holds, and for that one only.
        held = await stranger.context.request.post(f"{ben.url}/api/orders", data={"ticket_id": two})
        assert held.status == 201
        await expect(ben.page.locator(".toast")).to_have_text(
            [re.compile("^Somebody was faster with .*seat 2")]
        )


async def test_identical_tickets_share_a_row_and_are_picked_one_by_one(
    market: Market, visit: Visit
) -> None:
    show_id = await market.show()
    tickets = await market.tickets(show_id, 5, section="Standing", row=None, seat=None, price=3800)
    async with visit() as ben:
        await ben.open(f"/shows/{show_id}")
        alike = ben.page.locator("[data-alike]")
        await alike.get_by_text("5 alike").wait_for()
        await ben.until_state("live")
        # Not the first: the page would pick it next.
        await market.hold(tickets[-1])
        await alike.get_by_text("1 in someone's hands").wait_for()
        for left in (3, 2):
            await alike.get_by_role("button", name="Add one").click()
            await alike.get_by_text(f"{left} alike").wait_for()
        await expect(ben.page.locator(".bill-total b")).to_have_text("€79.80")
        await expect(ben.page.locator("[data-ticket]")).to_have_count(2)


async def test_tickets_are_picked_and_held_with_the_keyboard_alone(
    market: Market, visit: Visit
) -> None:
    show_id = await market.show()
    await market.tickets(show_id, 2)
    async with visit() as ben:
        await ben.sign_up("ben")
        await ben.open_show(show_id)
        for _ in range(40):
            await ben.page.keyboard.press("Tab")
            if await ben.page.evaluate("document.activeElement.type") == "checkbox":
                break
        await ben.page.keyboard.press("Space")
        for _ in range(10):
            await ben.page.keyboard.press("Tab")
            if (await ben.page.evaluate("document.activeElement.textContent")).startswith(
                "Hold it"
            ):
                break
        await ben.page.keyboard.press("Enter")
        await ben.page.wait_for_url("**/checkout/*")


async def test_the_address_holds_the_search_and_the_filters(market: Market, visit: Visit) -> None:
    await market.show("Glasshouse Sessions", city="Utrecht")
    await market.show("Glasshouse Encore", city="Delft")
    async with visit() as ben:
        await ben.open("/")
        await ben.page.get_by_label("Search").fill("glassh")
        await ben.page.wait_for_url("**/?q=glassh")
        await expect(ben.page.locator("[data-show]")).to_have_count(2)
        await ben.page.get_by_label("city").select_option("Delft")
        await expect(ben.page.locator("[data-show]")).to_have_count(1)
        await ben.page.reload()
        await expect(ben.page.locator("[data-show]")).to_have_count(1)
        await ben.page.go_back()
        await expect(ben.page.locator("[data-show]")).to_have_count(2)
        await ben.page.go_forward()
        await expect(ben.page.get_by_label("Search")).to_have_value("glassh")
        await ben.page.get_by_label("Search").fill("glasshuose")
        await ben.page.get_by_text("No show has exactly these words").wait_for()
        await expect(ben.page.locator("[data-show]")).to_have_count(1)
        await ben.page.get_by_label("Search").fill("nobody plays this")
        await ben.page.get_by_role("button", name="Without “nobody plays this”").click()
        await expect(ben.page.locator("[data-show]").first).to_be_visible()


async def test_the_filters_offer_every_city_category_and_month(
    market: Market, visit: Visit
) -> None:
    for number in range(SHOWS_OF_A_PAGE):
        await market.show(f"Matinee {number}", city="Zutphen")
    in_two_years = datetime.now(UTC) + timedelta(days=730)
    await market.show(
        "Far Away", city="Appingedam", category="opera", starts_at=in_two_years.isoformat()
    )
    async with visit() as ben:
        await ben.open("/")
        await expect(ben.page.locator("[data-show]")).to_have_count(SHOWS_OF_A_PAGE)
        found = ben.page.get_by_role("link", name="Far Away")
        await expect(found).to_have_count(0)
        for label, wanted in (
            ("City", "Appingedam"),
            ("Category", "opera"),
            ("Month", f"{in_two_years:%Y-%m}"),
        ):
            await ben.open("/")
            await ben.page.get_by_label(label, exact=True).select_option(wanted)
            await found.wait_for()
            await expect(ben.page.locator("[data-show]")).to_have_count(1)


async def test_a_search_without_shows_leads_to_the_nearest_date_and_city(
    market: Market, visit: Visit
) -> None:
    later = (datetime.now(UTC) + timedelta(days=40)).isoformat()
    await market.show("Alphorn Nacht", city="Zürich", starts_at=later)
    soon = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    await market.show("Alphorn Matinee", city="Basel", starts_at=soon)
    async with visit() as ben:
        await ben.open("/?q=alphorn&city=zurich&when=week")
        nothing = ben.page.locator(".state")
        await nothing.get_by_text("Nothing for “alphorn” in zurich in the next 7 days").wait_for()
        await nothing.get_by_role("link", name="Alphorn Nacht").wait_for()
        # The numbers of the filters are those of this search.
        await expect(ben.page.get_by_label("City").get_by_role("option")).to_have_text(
            ["All cities", "zurich", "Basel (1)"]
        )
        await nothing.get_by_role("button", name="Basel").click()
        await expect(ben.page.locator("[data-show]")).to_have_count(1)
        # Each filter can be left out alone.
        await ben.open("/?q=alphorn&city=zurich&when=week&category=sport")
        await nothing.get_by_role("button", name="All kinds").click()
        await nothing.get_by_role("button", name="Any date").click()
        await expect(ben.page.locator("[data-show]")).to_have_count(1)
        assert urlsplit(ben.page.url).query == "q=alphorn&city=zurich"


async def test_a_new_show_appears_on_an_open_list_that_it_belongs_to(
    market: Market, visit: Visit
) -> None:
    async with visit() as ben, visit() as ida:
        await ben.open("/?city=Doesburg")
        await ida.open("/?city=Zaltbommel")
        for one in (ben, ida):
            await one.until_state("live")
        reads: list[str] = []
        ida.page.on("request", lambda request: reads.append(request.url))
        for title in ("Early Bird", "Second Bird"):
            await market.show(title, city="Doesburg")
        for title in ("Early Bird", "Second Bird"):
            await ben.page.get_by_role("link", name=title).wait_for(timeout=10_000)
        # A list of another city reads at most once for each of them, and shows none.
        assert len([url for url in reads if "/api/shows?" in url]) <= 2
        await expect(ida.page.locator("[data-show]")).to_have_count(0)


async def test_the_page_of_a_show_offers_nothing_once_its_sales_end(
    market: Market, visit: Visit
) -> None:
    ends = datetime.now(UTC) + timedelta(seconds=6)
    show_id = await market.show(sales_end_at=ends.isoformat())
    await market.tickets(show_id, 2)
    async with visit() as ben:
        await ben.open_show(show_id)
        await ben.page.get_by_text("Your pick").wait_for()
        await ben.page.get_by_role("heading", name="Sales have ended").wait_for()
        await expect(ben.page.get_by_role("checkbox")).to_have_count(0)
        await expect(ben.page.get_by_text("Your pick")).to_have_count(0)


async def test_shows_stay_until_the_response_to_the_next_search(
    market: Market, visit: Visit
) -> None:
    await market.show("Winter Dance Gala")
    answer = asyncio.Event()

    async def late(route: Route) -> None:
        await answer.wait()
        await route.continue_()

    async with visit() as ben:
        await ben.open("/")
        cards = ben.page.locator("[data-show]")
        await cards.first.wait_for()
        await ben.page.route("**/api/shows?q=*", late)
        await ben.page.get_by_label("Search").fill("winter dance")
        await ben.page.locator(".shows[aria-busy=true]").wait_for()
        assert await cards.count() > 0
        answer.set()
        await ben.page.locator(".shows[aria-busy=false]").wait_for()
        await expect(cards).to_have_count(1)


async def test_a_search_that_is_typed_before_hydration_is_kept(
    market: Market, visit: Visit
) -> None:
    await market.show("Paper Lanterns")
    ready = asyncio.Event()

    async def late(route: Route) -> None:
        await ready.wait()
        await route.continue_()

    async with visit() as ben:
        await ben.page.route("**/*.js", late)
        await ben.page.goto(ben.url, wait_until="commit")
        await ben.page.get_by_label("Search").fill("lanterns")
        ready.set()
        await ben.page.wait_for_url("**/?q=lanterns")
        await expect(ben.page.get_by_label("Search")).to_have_value("lanterns")
        await ben.page.get_by_role("link", name="Paper Lanterns").wait_for()


async def test_a_failed_read_is_shown_and_can_be_retried(market: Market, visit: Visit) -> None:
    show_id = await market.show()
    await market.tickets(show_id, 1)
    async with visit() as ben:
        # A page with a socket retries by itself.
        await ben.page.route_web_socket("**/app/**", lambda _socket: None)
        await ben.page.route("**/api/tickets?*", lambda route: route.abort())
        await ben.open(f"/shows/{show_id}")
        await ben.page.get_by_text("The shop does not answer").first.wait_for()
        await ben.page.unroute("**/api/tickets?*")
        await ben.page.get_by_role("button", name="Try again").click()
        await ben.page.locator("[data-ticket]").wait_for()


async def test_an_offline_page_shows_it_and_becomes_live_again_by_itself(
    market: Market, visit: Visit
) -> None:
    show_id = await market.show()
    [wanted] = await market.tickets(show_id, 1)
    async with visit() as ben:
        await ben.open_show(show_id)
        await ben.context.set_offline(True)
        await ben.until_state("offline")
        await ben.page.get_by_text("You are offline.").wait_for()
        await market.hold(wanted)
        await ben.context.set_offline(False)
        await ben.until_state("live", seconds=30)
        assert await ben.tickets() == await market.as_shown(show_id)


async def test_two_tabs_are_one_viewer_and_so_are_two_browsers_of_a_user(
    market: Market, visit: Visit
) -> None:
    show_id = await market.show()
    await market.tickets(show_id, 1)
    async with visit() as ana, visit() as phone, visit() as ben:
        await ana.sign_up("ana")
        await phone.sign_in_like(ana)
        await ana.open_show(show_id)
        tab = await ana.tab()
        for visitor in (tab, phone):
            await visitor.open_show(show_id)
        for visitor in (ana, tab, phone):
            await visitor.page.get_by_text("Only you are looking").wait_for()
        await ben.open_show(show_id)
        second = await ben.tab()
        await second.open_show(show_id)
        for visitor in (ana, tab, phone, ben, second):
            await visitor.page.get_by_text("2 people looking").wait_for()
        # Three turns of the gateway's count.
        await asyncio.sleep(3)
        assert await ben.page.get_by_text("2 people looking").count() == 1
        await ben.page.close()
        await second.page.close()
        await tab.page.close()
        for visitor in (ana, phone):
            await visitor.page.get_by_text("Only you are looking").wait_for()


async def test_a_wrong_password_does_not_reveal_whether_the_account_exists(
    visit: Visit,
) -> None:
    async with visit() as ben:
        await ben.open("/signin?next=/%09/elsewhere.example/")
        await ben.page.get_by_label("Email").fill("nobody@example.com")
        await ben.page.get_by_label("Password").fill("wrong password")
        await ben.page.locator("form").get_by_role("button", name="Sign in").click()
        await ben.page.get_by_role("alert").get_by_text("don't go together").wait_for()
        # What is wrong is selected, and typing replaces it.
        await expect(ben.page.get_by_label("Password")).to_be_focused()
        await ben.page.keyboard.type("x")
        await expect(ben.page.get_by_label("Password")).to_have_value("x")


async def test_signing_in_redirects_to_no_other_site(visit: Visit) -> None:
    async with visit() as ben:
        await ben.sign_up("ben")
        answer = await (await ben.context.request.get(f"{ben.url}/api/users/currentuser")).json()
        await ben.context.clear_cookies()
        # A browser ignores the tab, and would read //elsewhere.example/.
        await ben.open("/signin?next=/%09/elsewhere.example/")
        await ben.page.get_by_label("Email").fill(answer["current_user"]["email"])
        await ben.page.get_by_label("Password").fill(PASSWORD)
        await ben.page.locator("form").get_by_role("button", name="Sign in").click()
        await ben.page.wait_for_url(f"{ben.url}/")


async def test_an_unknown_show_and_an_unknown_address_have_their_pages(visit: Visit) -> None:
    async with visit() as ben:
        await ben.open("/shows/00000000-0000-4000-8000-000000000000")
        await ben.page.get_by_text("There is no such show").wait_for()
        answer = await ben.page.goto(f"{ben.url}/nowhere")
        assert answer is not None
        assert answer.status == 404
        await ben.page.get_by_text("There is nothing here").wait_for()


async def test_an_unhandled_rejection_is_one_error_of_the_page(visit: Visit) -> None:
    """Reflex's handler reports it by a request that is rejected, which it reports as well."""
    async with visit() as ben:
        await ben.page.add_init_script(COUNT_REJECTIONS)
        await ben.open("/")
        await ben.until_state("live")
        await ben.page.evaluate("() => { Promise.reject(new Error('planted')); }")
        await asyncio.sleep(0.5)
        assert await ben.page.evaluate("globalThis.rejections") == 1
        assert any("planted" in error for error in ben.errors)


@pytest.mark.parametrize("path", ["/shows/{}", "/sell?show={}"])
async def test_a_page_whose_reads_fail_leaves_no_rejection_unhandled(
    market: Market, visit: Visit, path: str
) -> None:
    show_id = await market.show()
    failed: set[str] = set()

    async def both_failed() -> bool:
        return {f"/api/shows/{show_id}", "/api/tickets"} <= failed

    async with visit() as mira:
        await mira.sign_in_as(market.seller.cookies)
        await mira.page.add_init_script(COUNT_REJECTIONS)
        await mira.page.route(
            re.compile("/api/(shows|tickets)"), lambda route: route.abort("connectionrefused")
        )
        mira.page.on("requestfailed", lambda request: failed.add(urlsplit(request.url).path))
        await mira.open(path.format(show_id))
        await until(both_failed, seconds=15)
        await mira.until_state("unreachable")
        assert await mira.page.evaluate("globalThis.rejections") == 0
