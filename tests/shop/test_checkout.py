"""The checkout: paying, declined cards, 3-D Secure; on several devices, by keyboard, announced."""

import math
import re
from uuid import uuid4

import pytest
from playwright.async_api import Request, Route, expect

from tests.shop.conftest import Visit
from tests.shop.market import Market
from tests.shop.visitor import Json, Visitor

HOLD_SECONDS = 40
GRACE_SECONDS = 60

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.asyncio(loop_scope="module"),
]
# Records the texts of the countdown that a screen reader announces.
RECORD_ANNOUNCED = """
    globalThis.announced = [];
    new MutationObserver(changes => {
      for (const { target } of changes) {
        const element = target.nodeType === Node.TEXT_NODE ? target.parentElement : target;
        const words = element?.closest?.("[data-announcer]")?.textContent;
        if (words && globalThis.announced.at(-1) !== words) globalThis.announced.push(words);
      }
    }).observe(document, { subtree: true, childList: true, characterData: true });
"""


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    return {"HOLD_SECONDS": str(HOLD_SECONDS), "PAYMENT_GRACE_SECONDS": str(GRACE_SECONDS)}


async def test_a_good_card_pays_and_the_page_shows_a_receipt(market: Market, visit: Visit) -> None:
    async with visit() as ana:
        order = await _held(market, ana, count=2)
        await ana.open_checkout(order)
        await expect(ana.page.locator("h1")).to_have_text(
            re.compile(r"They're yours for \d\d seconds")
        )
        summary = ana.page.get_by_label("Your order")
        # 50.00 and 55.00 with a fee of five percent.
        for words in ("Harbour Lights", "seat 1", "€50.00", "Service fee", "€5.25", "€110.25"):
            await expect(summary).to_contain_text(words)
        await ana.pay()
        await ana.until_stage("paid")
        assert (await ana.order(order))["status"] == "completed"
        handed_over = ana.page.locator(".paid-ticket")
        await expect(handed_over).to_have_count(2)
        for words in ("Harbour Lights", "Balcony", "Row A · seat 1"):
            await expect(handed_over.first).to_contain_text(words)
        await ana.page.reload()
        await ana.page.get_by_role("heading", name="They're yours").wait_for()
        await expect(summary).to_contain_text(order["number"])
        assert not ana.errors


@pytest.mark.parametrize("is_shown", [False, True])
async def test_a_show_that_moved_is_said_before_money(
    is_shown: bool, market: Market, visit: Visit
) -> None:
    """Also when a message has moved it in the summary, where the buyer may not have noticed it."""
    async with visit() as ana:
        order = await _held(market, ana)
        await ana.open_checkout(order)
        show_id = order["tickets"][0]["show_id"]
        moved = await market.seller.put(f"/api/shows/{show_id}", json={"venue": "River Hall"})
        assert moved.status_code == 200
        if is_shown:
            await expect(ana.page.locator(".show-change")).to_contain_text("River Hall")
        await ana.pay()
        alert = ana.page.get_by_role("alert").filter(has_text="Harbour Lights has moved.")
        await expect(alert).to_contain_text("It is now")
        await expect(alert).to_contain_text("River Hall, Rotterdam")
        assert (await ana.order(order))["status"] == "pending"
        await ana.pay()
        await ana.until_stage("paid")


@pytest.mark.parametrize("is_shown", [False, True])
async def test_a_show_that_moved_between_pick_and_hold_is_said_before_the_hold(
    is_shown: bool, market: Market, visit: Visit
) -> None:
    """Also when a message has moved it on the page, where the visitor may not have noticed that."""
    async with visit() as ana:
        show_id = await market.show()
        (ticket,) = await market.tickets(show_id, 1)
        await ana.sign_up("ana")
        await ana.open_show(show_id)
        await ana.pick(ticket)
        moved = await market.seller.put(f"/api/shows/{show_id}", json={"venue": "River Hall"})
        assert moved.status_code == 200
        if is_shown:
            await expect(ana.page.locator(".when")).to_contain_text("River Hall")
        await ana.hold()
        alert = ana.page.get_by_role("alert").filter(has_text="The show has changed. It is now")
        await expect(alert).to_contain_text("River Hall, Rotterdam. Nothing is held yet")
        await expect(ana.page.locator(".when")).to_contain_text("River Hall")
        assert (await market.ticket(ticket))["status"] == "available"
        await ana.hold()
        await ana.until_stage("choosing")


async def test_a_declined_card_shows_the_reason_extends_the_hold_and_another_card_pays(
    market: Market, visit: Visit
) -> None:
    async with visit(width=360) as ana:
        order = await _held(market, ana)
        await ana.open_checkout(order)
        await ana.pay("9995")
        await ana.page.get_by_role("alert").get_by_text("The bank said no to that card.").wait_for()
        await ana.page.get_by_text("You were not charged.").wait_for()
        await expect(ana.page.get_by_label(re.compile("9995"))).to_be_checked()
        # The payment attempt has extended the hold.
        assert HOLD_SECONDS < await ana.seconds() <= GRACE_SECONDS
        await ana.page.reload()
        await ana.page.get_by_role("alert").get_by_text("said no to that card").wait_for()
        await ana.pay()
        await ana.until_stage("paid")


POST_PAYMENT = """
async (body) => {
  const headers = { "Content-Type": "application/json" };
  const init = { method: "POST", headers, body: JSON.stringify(body) };
  return (await fetch("/api/payments", init)).status;
}
"""


async def test_an_order_with_five_declined_cards_shows_that_it_has_no_attempts_left(
    market: Market, visit: Visit
) -> None:
    async with visit() as ana:
        order = await _held(market, ana)
        await ana.open_checkout(order)
        body = {"order_id": order["id"], "payment_method": "pm_card_chargeDeclined"}
        for _ in range(5):
            assert await ana.page.evaluate(POST_PAYMENT, body) == 402
        await ana.pay()
        alert = ana.page.get_by_role("alert")
        await alert.get_by_text("Too many payments of this order failed.").wait_for()
        await alert.get_by_text("You were not charged.").wait_for()


@pytest.mark.parametrize("width", [360, 1280])
async def test_a_3d_secure_challenge_is_approved_and_the_order_paid(
    market: Market, visit: Visit, width: int
) -> None:
    async with visit(width=width) as ana:
        order = await _held(market, ana)
        await ana.open_checkout(order)
        await ana.pay("3184")
        await ana.until_stage("challenge")
        await ana.answer_bank("Approve")
        await ana.until_stage("paid")
        assert (await ana.order(order))["status"] == "completed"


async def test_a_rejected_challenge_charges_nothing_and_the_same_card_can_be_tried_again(
    market: Market, visit: Visit
) -> None:
    async with visit() as ana:
        order = await _held(market, ana)
        await ana.open_checkout(order)
        await ana.pay("3184")
        await ana.answer_bank("Decline")
        await ana.page.get_by_role("alert").get_by_text("did not get your approval").wait_for()
        assert (await ana.order(order))["status"] == "awaiting_payment"
        await ana.pay("3184")
        await ana.answer_bank("Approve")
        await ana.until_stage("paid")


async def test_every_tab_and_device_shows_the_same_time_and_the_same_state(
    market: Market, visit: Visit
) -> None:
    async with visit() as ana, visit(width=360, wrong_by_ms=300_000) as phone:
        order = await _held(market, ana)
        await phone.sign_in_like(ana)
        tab = Visitor(ana.url, ana.context, await ana.context.new_page())
        every = (ana, tab, phone)
        for one in every:
            await one.open_checkout(order)
        left = (await ana.order(order))["seconds_left"]
        shown = [await one.seconds() for one in every]
        assert all(abs(seconds - math.ceil(left)) <= 1 for seconds in shown), (left, shown)
        await ana.pay("3184")
        for one in every:
            await one.until_stage("challenge")
        await tab.page.reload()
        await tab.until_stage("challenge")
        await phone.answer_bank("Approve")
        for one in every:
            await one.until_stage("paid")


async def test_a_cancelled_order_frees_its_ticket_at_once_and_it_can_be_held_again(
    market: Market, visit: Visit
) -> None:
    async with visit() as ana:
        order = await _held(market, ana)
        await ana.open_checkout(order)
        await ana.page.get_by_role("button", name="let it go").click()
        await ana.until_stage("cancelled")
        await ana.page.get_by_text("You were not charged.").wait_for()
        [ticket] = order["tickets"]
        assert (await market.ticket(ticket["id"]))["status"] == "available"
        await ana.page.get_by_role("button", name="Hold it again").click()
        await ana.page.wait_for_url(lambda url: not url.endswith(order["id"]))
        await ana.until_stage("choosing")
        assert (await market.ticket(ticket["id"]))["status"] == "held"


async def test_a_payment_whose_response_was_lost_is_repeated_with_the_same_key(
    market: Market, visit: Visit
) -> None:
    sent: list[Request] = []

    async def lose_first(route: Route) -> None:
        if route.request.method != "POST":
            await route.continue_()
            return
        sent.append(route.request)
        await (route.abort() if len(sent) == 1 else route.continue_())

    async with visit() as ana:
        order = await _held(market, ana)
        await ana.open_checkout(order)
        await ana.page.route("**/api/payments", lose_first)
        await ana.pay()
        await ana.page.get_by_role("alert").get_by_text("you will not be charged twice").wait_for()
        await ana.pay()
        await ana.until_stage("paid")
        first, second = [request.headers["idempotency-key"] for request in sent]
        assert first == second


async def test_an_order_is_paid_with_the_keyboard_alone(market: Market, visit: Visit) -> None:
    async with visit() as ana:
        await ana.open_checkout(await _held(market, ana))
        await _tab_to(ana, "document.activeElement.type === 'radio'")
        await ana.page.keyboard.press("ArrowDown")
        await expect(ana.page.get_by_label(re.compile("3184"))).to_be_checked()
        await ana.page.keyboard.press("ArrowUp")
        await _tab_to(ana, "document.activeElement.textContent.startsWith('Pay ')")
        await ana.page.keyboard.press("Enter")
        await ana.until_stage("paid")
        await expect(ana.page.get_by_role("heading", name="It's yours")).to_be_focused()


async def test_the_time_is_announced_at_30_10_and_0_seconds_without_a_layout_shift(
    market: Market, visit: Visit
) -> None:
    async with visit(width=360) as ana:
        await ana.context.add_init_script(RECORD_ANNOUNCED)
        await ana.page.clock.install()
        await ana.open_checkout(await _held(market, ana))
        levels = ana.page.locator("[data-level]")
        await expect(levels).to_have_attribute("data-level", "calm")
        # Offline, the page gets no server time that would contradict the fast clock.
        await ana.context.set_offline(True)
        button = ana.page.get_by_role("button", name=re.compile("^Pay "))
        places = [await button.bounding_box()]
        for left, level in ((29, "soon"), (20, "soon"), (9, "last"), (3, "last")):
            await ana.page.clock.fast_forward((await ana.seconds() - left) * 1000)
            await expect(levels).to_have_attribute("data-level", level)
            places.append(await button.bounding_box())
        assert places == places[:1] * 5
        await ana.page.clock.fast_forward(5000)
        await ana.until_stage("expired")
        announcer = ana.page.locator("[data-announcer]")
        await expect(announcer).to_have_text("Time is up.")
        # A polite region does not interrupt the sentence that a screen reader reads.
        await expect(announcer).to_have_attribute("role", "status")
        assert await ana.page.evaluate("announced") == [
            "30 seconds left to pay.",
            "10 seconds left.",
            "Time is up.",
        ]


async def test_a_hold_is_in_the_header_of_every_page_and_in_the_title_until_it_ends(
    market: Market, visit: Visit
) -> None:
    async with visit() as ana:
        order = await _held(market, ana)
        pill = ana.page.locator(".hold-pill")
        show = f"/shows/{order['tickets'][0]['show_id']}"
        checkout = f"/checkout/{order['id']}"
        for path in ("/", show, "/orders", "/sell", "/desk"):
            await ana.open(path)
            await expect(pill).to_contain_text("Pay now")
            assert await pill.get_attribute("href") == checkout
            await expect(ana.page).to_have_title(re.compile(r"^0:\d\d · .*GitTix"))
            left = (await ana.order(order))["seconds_left"]
            shown = int(await pill.get_attribute("data-seconds") or "-99")
            assert abs(shown - math.ceil(left)) <= 1
        tab = await ana.tab()
        await tab.open("/")
        await tab.until_state("live")
        other = await ana.place(*await market.tickets(await market.show(), 1))
        for one in (ana, tab):
            await expect(one.page.locator(".hold-pill")).to_contain_text("and 1 more")
            assert await one.page.locator(".hold-pill").get_attribute("href") == checkout
        await pill.click()
        await ana.until_stage("choosing")
        await expect(pill).not_to_contain_text("Pay now")
        await ana.pay()
        await ana.until_stage("paid")
        for one in (ana, tab):
            await expect(one.page.locator(".hold-pill")).to_contain_text("Pay now")
            await expect(one.page.locator(".hold-pill")).to_have_attribute(
                "href", f"/checkout/{other['id']}"
            )
        await ana.context.request.delete(f"{ana.url}/api/orders/{other['id']}")
        for one in (ana, tab):
            await expect(one.page.locator(".hold-pill")).to_have_count(0)
            await expect(one.page).to_have_title(re.compile(r"^[^\d]"))


async def test_on_a_phone_the_time_the_total_and_the_button_that_pays_are_in_view(
    market: Market, visit: Visit
) -> None:
    async with visit(width=360) as ana:
        order = await _held(market, ana, count=2)
        await ana.open_checkout(order)
        bar = ana.page.locator(".pay-bar")
        await expect(bar).to_contain_text("€110.25")
        await expect(bar).to_contain_text("2 tickets, all-in")
        await expect(bar.locator(".pay-bar-time")).to_have_text(re.compile(r"^0:\d\d$"))
        button = bar.get_by_role("button", name="Pay €110.25")
        await expect(button).to_be_in_viewport(ratio=1)
        # The last link of the page is not under the bar.
        last = ana.page.locator("footer a")
        await last.focus()
        link, top = await last.bounding_box(), await bar.bounding_box()
        assert link
        assert top
        assert link["y"] + link["height"] <= top["y"]
        await button.click()
        await ana.until_stage("paid")
        await expect(bar).to_have_count(0)


async def test_another_buyers_order_and_a_missing_one_have_the_same_page(
    market: Market, visit: Visit
) -> None:
    async with visit() as ana, visit() as eve:
        order = await _held(market, ana)
        await eve.sign_up("eve")
        seen = []
        for order_id in (order["id"], uuid4()):
            await eve.open(f"/checkout/{order_id}")
            await eve.page.get_by_text("There is no such order").wait_for()
            seen.append(await eve.page.locator("main").inner_text())
        assert seen[0] == seen[1]


async def test_a_signed_out_buyer_returns_to_the_checkout_after_signing_in(
    market: Market, visit: Visit
) -> None:
    async with visit() as ana:
        order = await _held(market, ana)
        await ana.context.clear_cookies()
        await ana.open(f"/checkout/{order['id']}")
        await ana.page.locator("main").get_by_role("link", name="Sign in").click()
        await ana.page.wait_for_url(f"**/signin?next=%2Fcheckout%2F{order['id']}")


async def test_the_content_security_policy_allows_only_the_sandboxs_page(
    market: Market, visit: Visit
) -> None:
    async with visit() as ana:
        page = await ana.context.request.get(f"{ana.url}/checkout/{uuid4()}")
        policy = page.headers["content-security-policy"]
        assert f"frame-src http://127.0.0.1:{market.up.stripe_port};" in policy
        assert "stripe.com" not in policy
        order = await _held(market, ana)
        await ana.open_checkout(order)
        assert {host.partition(":")[0] for host in ana.hosts} == {"127.0.0.1"}


async def _held(market: Market, visitor: Visitor, *, count: int = 1) -> Json:
    """Sign a new user up and place an order. Returns the order."""
    show_id = await market.show()
    tickets = await market.tickets(show_id, count)
    await visitor.sign_up("ana")
    return await visitor.place(*tickets)


async def _tab_to(visitor: Visitor, condition: str) -> None:
    for _ in range(30):
        await visitor.page.keyboard.press("Tab")
        if await visitor.page.evaluate(condition):
            return
    raise AssertionError(f"the Tab key reached no element with {condition}")
