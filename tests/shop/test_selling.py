"""Selling: adding a show, listing blocks of tickets, changing them, and never losing the input."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Route, expect

from tests.shop.axe import serious_findings
from tests.shop.conftest import Visit
from tests.shop.market import Market
from tests.shop.visitor import Visitor

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.asyncio(loop_scope="module"),
]
LISTING = re.compile(r"/api/shows/[^/]+/tickets$")


@pytest_asyncio.fixture(loop_scope="module")
async def mira(market: Market, visit: Visit) -> AsyncIterator[Visitor]:
    """The market's seller at a browser."""
    async with visit() as visitor:
        await visitor.sign_in_as(market.seller.cookies)
        yield visitor


async def open_show(mira: Visitor, show_id: str) -> None:
    await mira.open(f"/sell?show={show_id}")
    await mira.page.get_by_role("heading", name="Your tickets").wait_for()
    await mira.until_state("live")


async def fill(mira: Visitor, **fields: str) -> None:
    """Fields of the form that lists tickets, by their names."""
    for name, text in fields.items():
        field = mira.page.locator(f".list-form [name={name}]")
        await (field.select_option(text) if name == "currency" else field.fill(text))


def listing(mira: Visitor) -> Locator:
    return mira.page.locator(".list-form button.primary")


async def places(market: Market, show_id: str) -> list[tuple[str | None, str | None, int, str]]:
    """Row, seat, price and currency of each ticket on sale, as the API lists them."""
    found: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        query = {"show_id": show_id, "limit": "100", "sort": "oldest", "cursor": cursor}
        page = (await market.buyer.get("/api/tickets", params=query)).json()
        found += page["items"]
        cursor = page["next_cursor"]
    return [
        (ticket["row"], ticket["seat"], ticket["price"], ticket["currency"]) for ticket in found
    ]


async def test_a_seller_adds_a_show_and_lists_two_rows_at_once(
    market: Market, mira: Visitor
) -> None:
    await mira.open("/sell")
    await mira.page.get_by_role("link", name="Add a show").click()
    await mira.page.get_by_role("button", name="Add the show").click()
    # All fields that lack something, at once.
    await expect(mira.page.locator("form [aria-invalid=true]")).to_have_count(4)
    await expect(mira.page.get_by_label("Title")).to_be_focused()
    await mira.page.get_by_label("Title").fill("Paper Moons")
    await mira.page.get_by_label("Venue").first.fill("Sumida Hall")
    await mira.page.get_by_label("City").fill("Tokyo")
    await mira.page.get_by_label("Time zone").select_option("Asia/Tokyo")
    await mira.page.get_by_role("button", name="Add the show").click()
    await expect(mira.page.get_by_label("Starts")).to_have_attribute("aria-invalid", "true")
    await mira.page.get_by_label("Starts").fill("2030-12-04T20:00")
    # The time at the venue, and the time of the seller.
    await mira.page.get_by_text("Wed 4 Dec · 20:00 · Wed 4 Dec, 12:00 your time").wait_for()
    await mira.page.get_by_role("button", name="Add the show").click()
    await mira.page.wait_for_url(re.compile(r"show=[0-9a-f-]{36}$"))
    show_id = mira.page.url.rpartition("=")[2]
    assert (await market.buyer.get(f"/api/shows/{show_id}")).json()[
        "starts_at"
    ] == "2030-12-04T11:00:00Z"

    await fill(mira, section="Balcony", rows="A\u2013B", seats="1\u20135", price="45.50")
    preview = mira.page.locator(".preview")
    await expect(preview).to_have_attribute("data-count", "10")
    await expect(preview).to_contain_text("10 tickets at €45.50 · €455.00 in all")
    await expect(preview.locator(".seat-map i")).to_have_count(10)
    await expect(listing(mira)).to_have_text("List 10 tickets")
    await listing(mira).click()
    await expect(mira.page.locator(".my-ticket")).to_have_count(10)
    assert await places(market, show_id) == [
        (row, str(seat), 4550, "EUR") for row in "AB" for seat in range(1, 6)
    ]
    await fill(mira, rows="b", seats="5\u20136")
    await listing(mira).click()
    seats = mira.page.locator(".list-form [name=seats]")
    await expect(seats).to_have_attribute("aria-invalid", "true")
    await mira.page.get_by_text("Balcony, row b, seat 5 is listed in this show already").wait_for()
    assert len(mira.errors) == 1  # Chromium reports the 409.
    mira.errors.clear()
    await mira.page.get_by_role("link", name="As buyers see it").click()
    await expect(mira.page.locator("[data-ticket][data-is=free]")).to_have_count(10)
    assert not mira.errors


async def test_a_seller_lists_tickets_without_seats_in_a_currency_without_cents(
    market: Market, mira: Visitor
) -> None:
    show_id = await market.show(city="Tokyo")
    await open_show(mira, show_id)
    await mira.page.get_by_role("button", name="No seats").click()
    await fill(mira, section="Standing", count="3", currency="JPY", price="1,200")
    await expect(mira.page.locator(".preview")).to_contain_text(
        "3 tickets at ¥1,200 · ¥3,600 in all"
    )
    await listing(mira).click()
    await expect(mira.page.locator(".my-ticket")).to_have_count(3)
    assert await places(market, show_id) == [(None, None, 1200, "JPY")] * 3


async def test_a_bad_price_is_shown_at_its_field_and_a_reload_keeps_the_draft(
    market: Market, mira: Visitor
) -> None:
    show_id = await market.show()
    await open_show(mira, show_id)
    await fill(mira, section="Stalls", rows="C", seats="7, 9", price="forty")
    price = mira.page.locator(".list-form [name=price]")
    for typed, message in (
        ("forty", "Write an amount such as €45.00."),
        ("0.10", "A ticket costs at least €0.50: cards can't be charged less."),
        (
            "2000000",
            "A ticket costs at most €666,666.66: cards can't be charged more with the fee.",
        ),
    ):
        await price.fill(typed)
        await listing(mira).click()
        await expect(price).to_have_attribute("aria-invalid", "true")
        await expect(price).to_be_focused()
        described = (await price.get_attribute("aria-describedby") or "").split()[-1]
        await expect(mira.page.locator(f"[id='{described}']")).to_have_text(message)
    assert not await serious_findings(mira.page)
    await mira.page.reload()
    for name, typed in {
        "section": "Stalls",
        "rows": "C",
        "seats": "7, 9",
        "price": "2000000",
    }.items():
        await expect(mira.page.locator(f".list-form [name={name}]")).to_have_value(typed)
    await price.fill("60")
    await fill(mira, face_value="50")
    await expect(mira.page.locator(".price-note")).to_contain_text("20% above the face value")
    await listing(mira).click()
    await expect(mira.page.locator(".my-ticket")).to_have_count(2)
    # The next block has other seats.
    await expect(mira.page.locator(".list-form [name=seats]")).to_have_value("")
    assert await places(market, show_id) == [("C", "7", 6000, "EUR"), ("C", "9", 6000, "EUR")]


async def test_a_block_whose_response_was_lost_is_completed_after_a_reload_without_duplicates(
    market: Market, mira: Visitor
) -> None:
    show_id = await market.show()
    await open_show(mira, show_id)
    batches = 0

    async def lose_the_second(route: Route) -> None:
        nonlocal batches
        batches += 1
        await route.fetch()
        await (route.continue_() if batches == 1 else route.abort())

    await mira.page.route(LISTING, lose_the_second)
    await fill(mira, rows="A-E", seats="1-50", price="30")
    await listing(mira).click()
    await mira.page.get_by_text("200 of them are on sale").wait_for()
    await mira.page.get_by_role("alert").get_by_text("The shop did not answer.").wait_for()
    await mira.page.unroute(LISTING)
    await mira.page.reload()
    await listing(mira).click()
    await mira.page.locator(".toast").get_by_text("250 tickets are on sale.").wait_for()
    found = await places(market, show_id)
    assert sorted(found) == sorted(
        (row, str(seat), 3000, "EUR") for row in "ABCDE" for seat in range(1, 51)
    )


async def test_a_free_ticket_can_be_changed_and_withdrawn_and_a_held_one_shows_why_not(
    market: Market, mira: Visitor
) -> None:
    show_id = await market.show()
    one, two, three = await market.tickets(show_id, 3)
    await market.pay(await market.hold(three))
    await open_show(mira, show_id)
    await market.hold(one)
    await mira.until(one, "held")
    await expect(mira.row(one)).to_contain_text("It stays as it is while somebody holds it.")
    await expect(mira.row(three)).to_contain_text("A buyer has it, so it stays as it is.")
    for taken in (one, three):
        assert await mira.row(taken).get_by_role("button").count() == 0
    seconds = int(
        await mira.row(one).locator("[data-seconds]").get_attribute("data-seconds") or "-9"
    )
    assert abs(seconds - (await market.ticket(one))["seconds_left"]) <= 1.5

    await mira.row(two).get_by_role("button", name="Change").click()
    await mira.row(two).locator("[name=price]").fill("70")
    await mira.row(two).get_by_role("button", name="Save").click()
    await expect(mira.row(two).locator(".ticket-price")).to_have_text("€70.00")
    assert (await market.ticket(two))["price"] == 7000

    await mira.row(two).get_by_role("button", name="Change").click()
    await mira.row(two).get_by_role("button", name="Withdraw").click()
    assert not await serious_findings(mira.page)
    await mira.row(two).get_by_role("button", name="Take it off sale").click()
    await expect(mira.row(two)).to_have_count(0)
    assert (await market.ticket(two))["status"] == "withdrawn"


async def test_a_hold_during_a_change_keeps_the_typed_values(market: Market, mira: Visitor) -> None:
    show_id = await market.show()
    [ticket_id] = await market.tickets(show_id, 1)
    await open_show(mira, show_id)
    row = mira.row(ticket_id)
    await row.get_by_role("button", name="Change").click()
    await row.locator("[name=price]").fill("61")
    order = await market.hold(ticket_id)
    await mira.until(ticket_id, "held")
    await expect(row.get_by_role("button", name="Save")).to_be_disabled()
    await row.get_by_text("What you typed is kept.").wait_for()
    await market.cancel(order)
    await mira.until(ticket_id, "free")
    await expect(row.locator("[name=price]")).to_have_value("61")
    await row.get_by_role("button", name="Save").click()
    await expect(row.locator(".ticket-price")).to_have_text("€61.00")


async def test_a_show_that_was_changed_elsewhere_is_not_overwritten_unseen(
    market: Market, mira: Visitor
) -> None:
    show_id = await market.show("Old Title")
    await open_show(mira, show_id)
    await mira.page.get_by_role("button", name="Change the show").click()
    await mira.page.get_by_label("Title").fill("New Title")
    elsewhere = await market.seller.put(f"/api/shows/{show_id}", json={"city": "Delft"})
    assert elsewhere.status_code == 200
    await mira.page.get_by_role("button", name="Save").click()
    await mira.page.get_by_role("alert").get_by_text("changed elsewhere").wait_for()
    await expect(mira.page.get_by_label("Title")).to_have_value("New Title")
    await expect(mira.page.get_by_label("City")).to_have_value("Delft")
    await mira.page.get_by_role("button", name="Save").click()
    await mira.page.get_by_role("heading", name="New Title").wait_for()
    found = (await market.buyer.get(f"/api/shows/{show_id}")).json()
    assert (found["title"], found["city"]) == ("New Title", "Delft")


async def test_a_seller_cannot_change_another_sellers_show_or_tickets(
    market: Market, visit: Visit
) -> None:
    show_id = await market.show("Brass in the Barn")
    [theirs] = await market.tickets(show_id, 1)
    async with visit(width=360) as ben:
        await ben.sign_up("ben")
        await ben.open("/sell")
        await ben.page.get_by_text("Nothing on sale yet").wait_for()
        await ben.page.get_by_label("Find the show").fill("brass barn")
        await ben.page.get_by_role("link", name="Brass in the Barn").first.click()
        await ben.page.get_by_text("None of yours yet").wait_for()
        assert await ben.page.get_by_role("button", name="Change the show").count() == 0
        assert await ben.row(theirs).count() == 0
        for path in (f"/api/shows/{show_id}", f"/api/tickets/{theirs}"):
            refused = await ben.context.request.put(
                ben.url + path, data={"title": "Mine"}, headers={"Origin": ben.url}
            )
            assert refused.status == 403
        await fill(ben, seats="4", price="20")
        await listing(ben).click()
        await expect(ben.page.locator(".my-ticket")).to_have_count(1)
        assert len(await places(market, show_id)) == 2


async def test_the_owner_of_a_show_hides_a_ticket_of_another_seller(
    market: Market, mira: Visitor, visit: Visit
) -> None:
    show_id = await market.show("Low Tide")
    await market.tickets(show_id, 1)
    async with visit() as ben, visit() as eve:
        await ben.sign_up("ben")
        spec = {"price": 6000, "currency": "EUR", "section": "Balcony", "row": "B", "seat": "1"}
        answer = await ben.context.request.post(
            f"{ben.url}/api/tickets", data=spec | {"show_id": show_id}, headers={"Origin": ben.url}
        )
        theirs = (await answer.json())["id"]
        await eve.open_show(show_id)
        await eve.until(theirs, "free")
        await open_show(ben, show_id)
        await open_show(mira, show_id)
        await mira.page.get_by_role("button", name=re.compile("^Hide")).click()
        await expect(eve.row(theirs)).to_have_count(0)
        await expect(ben.row(theirs)).to_contain_text("hidden by the show's owner")
        await eve.page.reload()
        await eve.until_state("live")
        await expect(eve.row(theirs)).to_have_count(0)
        await mira.page.reload()
        await mira.page.get_by_role("button", name=re.compile("^List again")).click()
        await eve.until(theirs, "free")
        await expect(ben.row(theirs)).to_contain_text("on sale")
        assert not [*mira.errors, *ben.errors, *eve.errors]


async def test_a_visitor_is_invited_to_sign_in_and_returns_to_the_page(visit: Visit) -> None:
    async with visit() as ben:
        for path, next_ in (("/sell?show=new", "/sell%3Fshow%3Dnew"), ("/desk", "/desk")):
            await ben.open(path)
            invitation = ben.page.get_by_role("main").get_by_role("link", name="Sign in")
            assert (await invitation.get_attribute("href") or "").replace(
                "%2F", "/"
            ) == f"/signin?next={next_}"


async def test_a_seller_prices_and_withdraws_many_tickets_at_once(
    market: Market, mira: Visitor
) -> None:
    show_id = await market.show()
    one, two, *others = await market.tickets(show_id, 6)
    await open_show(mira, show_id)
    await mira.page.get_by_role("button", name="Select many").click()
    await mira.page.get_by_role("checkbox", name="Select all of Balcony").check()
    count = mira.page.locator("[data-selected]")
    await expect(count).to_have_attribute("data-selected", "6")
    bar = mira.page.get_by_role("region", name="Change many tickets")
    await bar.get_by_label("New price in EUR").fill("a lot")
    await bar.get_by_role("button", name="Set price").click()
    await bar.get_by_role("alert").wait_for()
    # A buyer takes one of them: it leaves the selection.
    await market.hold(two)
    await expect(count).to_have_attribute("data-selected", "5")
    await bar.get_by_label("New price in EUR").fill("61.50")
    await bar.get_by_role("button", name="Set price").click()
    await expect(mira.page.locator(".my-ticket").get_by_text("€61.50")).to_have_count(5)
    await expect(count).to_have_attribute("data-selected", "0")
    assert await places(market, show_id) == [
        ("A", str(seat), 5500 if seat == 2 else 6150, "EUR") for seat in range(1, 7)
    ]
    for ticket_id in (one, *others[:2]):
        row = mira.page.locator(f".my-tickets [data-ticket='{ticket_id}']")
        await row.get_by_role("checkbox").check()
    await bar.get_by_role("button", name="Withdraw").click()
    await bar.get_by_role("button", name="Take 3 tickets off sale").click()
    await expect(mira.page.locator(".my-ticket")).to_have_count(3)
    assert len(await places(market, show_id)) == 3
    assert not mira.errors


async def test_each_of_many_tickets_that_a_buyer_was_faster_to_take_is_named(
    market: Market, mira: Visitor
) -> None:
    show_id = await market.show()
    [one, two, _three] = await market.tickets(show_id, 3)
    await open_show(mira, show_id)
    await mira.page.get_by_role("button", name="Select many").click()
    await mira.page.get_by_role("button", name="Select all 3 available").click()

    async def hold_first(route: Route) -> None:
        """The hold commits before the change, and its message is later than the reply."""
        await market.hold(one, two)
        await route.continue_()

    await mira.page.route("**/api/tickets/changes", hold_first)
    bar = mira.page.get_by_role("region", name="Change many tickets")
    await bar.get_by_role("button", name="Withdraw").click()
    await bar.get_by_role("button", name=re.compile("off sale")).click()
    refused = bar.locator("[data-refused]")
    await expect(refused).to_have_count(2)
    await expect(refused.first).to_have_text("Balcony · Row A · seat 1: a buyer was faster")
    await expect(mira.page.locator(".my-ticket")).to_have_count(2)
    assert not mira.errors


async def test_the_bar_of_many_tickets_fits_a_phone_in_the_dark(
    market: Market, visit: Visit
) -> None:
    show_id = await market.show()
    await market.tickets(show_id, 4)
    async with visit(width=360, dark=True) as phone:
        await phone.sign_in_as(market.seller.cookies)
        await open_show(phone, show_id)
        await phone.page.get_by_role("button", name="Select many").click()
        await phone.page.get_by_role("checkbox", name="Select Balcony · Row A · seat 2").check()
        await expect(phone.page.locator("[data-selected]")).to_have_attribute("data-selected", "1")
        assert await phone.page.evaluate("document.documentElement.scrollWidth") <= 360
        assert await serious_findings(phone.page) == []


# A browser that is older than the name of a time zone.
WITHOUT_ZONE = """
    const { DateTimeFormat, supportedValuesOf } = Intl;
    const missing = "Europe/Amsterdam";
    Intl.DateTimeFormat = new Proxy(DateTimeFormat, {
      construct(target, [locale, options]) {
        if (options?.timeZone === missing) throw new RangeError(`Invalid time zone: ${missing}`);
        return new target(locale, { timeZone: "UTC", ...options });
      },
    });
    Intl.supportedValuesOf = (key) => supportedValuesOf(key).filter((name) => name !== missing);
"""


async def test_a_show_whose_zone_the_browser_lacks_keeps_its_times(
    market: Market, mira: Visitor
) -> None:
    show_id = await market.show(starts_at="2030-12-04T20:00:00+01:00")
    await mira.context.add_init_script(WITHOUT_ZONE)
    await open_show(mira, show_id)
    await mira.page.get_by_role("button", name="Change the show").click()
    form = mira.page.locator(".change-show")
    await expect(form.get_by_label("Starts, by the clocks there")).to_have_value("2030-12-04T20:00")
    await form.get_by_label("Title").fill("Winter Lights")
    await form.get_by_role("button", name="Save").click()
    await mira.page.locator(".toast").get_by_text("The show is changed.").wait_for()
    # A new time could not be read in that zone, so it is refused and kept.
    await mira.page.get_by_role("button", name="Change the show").click()
    await form.get_by_label("Starts, by the clocks there").fill("2030-12-05T20:00")
    await form.get_by_role("button", name="Save").click()
    await form.get_by_text("does not know the time zone").wait_for()
    await expect(form.get_by_label("Starts, by the clocks there")).to_be_focused()
    show = (await market.seller.get(f"/api/shows/{show_id}")).json()
    assert (show["title"], show["starts_at"]) == ("Winter Lights", "2030-12-04T19:00:00Z")
    assert not mira.errors
