"""Payments around the end of a show's sales: the hold that began to be paid is the right."""

from tests import factories
from tests.factories import Json
from tests.orders.rows import end_sales
from tests.payments.shop import Shop
from tests.payments.test_late_and_lost import paying
from tests.replies import code


async def end(shop: Shop, order: Json) -> None:
    await end_sales(shop.rows, order["tickets"][0]["show_id"])


async def test_no_payment_begins_after_the_end_of_sales(shop: Shop) -> None:
    order = await shop.order()
    await end(shop, order)
    assert code(await shop.pay(order)) == (409, "sales_ended")
    await shop.make_overdue(order)
    assert code(await shop.pay(order)) == (409, "sales_ended")
    assert await shop.attempts(order) == []
    assert await shop.stripe.intents() == []


async def test_a_payment_that_began_before_the_end_of_sales_completes_within_its_hold(
    shop: Shop,
) -> None:
    order = await shop.order(tickets=2)
    payment = await paying(shop, order, slow="/confirm")
    for line in order["tickets"]:
        await end_sales(shop.rows, line["show_id"])
    assert (await payment).json()["status"] == "captured"
    await shop.assert_paid_once(order)


async def test_a_declined_card_may_be_replaced_until_the_hold_ends(shop: Shop) -> None:
    order = await shop.order()
    declined = await shop.pay(order, "pm_card_chargeDeclined")
    assert declined.status_code == 402
    await end(shop, order)
    assert (await shop.pay(order)).json()["status"] == "captured"
    await shop.assert_paid_once(order)


async def test_an_authorisation_after_the_hold_and_the_sales_have_ended_is_voided(
    shop: Shop,
) -> None:
    order = await shop.order()
    payment = await paying(shop, order, slow="/confirm")
    await end(shop, order)
    await shop.make_overdue(order)
    assert code(await payment) == (409, "order_expired")
    assert (await shop.stripe.intent(order["id"]))["status"] == "canceled"
    await shop.assert_nothing_taken(order)


async def test_a_payment_may_outlast_the_sales_by_the_grace_alone(shop: Shop) -> None:
    """The hold ends with the sales; its payment extends it by the grace, as any other."""
    order = await shop.order()
    rows = await shop.rows.fetchrow("select latest_expiry - expires_at as grace from orders.orders")
    await shop.pay(order, "pm_card_chargeDeclined")
    paid = await shop.rows.fetchrow(
        "select expires_at <= latest_expiry as is_bounded from orders.orders"
    )
    assert (rows["grace"].total_seconds(), paid["is_bounded"]) == (60, True)


async def test_a_ticket_is_not_relisted_after_the_end_of_sales(shop: Shop) -> None:
    seller = shop.seller
    ended, selling = [await factories.ticket(seller) for _ in range(2)]
    order = await factories.order(shop.buyer, ended["id"], selling["id"])
    assert (await shop.pay(order)).json()["status"] == "captured"
    await end_sales(shop.rows, ended["show_id"])
    assert (await shop.refund(order, relist=True)).json()["refund"]["status"] == "succeeded"
    found = [
        (await seller.get(f"/api/tickets/{ticket['id']}")).json()["status"]
        for ticket in (ended, selling)
    ]
    assert found == ["withdrawn", "available"]
