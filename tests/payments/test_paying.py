"""Paying an order: the bank's decision, and the resulting order and tickets."""

import asyncio
from uuid import uuid4

import pytest

from tests import factories
from tests.payments.shop import Shop, open_shop
from tests.system import System, until


async def test_a_good_card_completes_the_order(shop: Shop) -> None:
    order = await shop.order(tickets=2)
    paid = await shop.pay(order)
    assert (paid.status_code, paid.json()["status"]) == (201, "captured")
    assert (paid.json()["amount"], paid.json()["currency"]) == (order["total"], "EUR")
    assert "client_secret" not in paid.json()
    await shop.assert_paid_once(order)
    assert await shop.event_types(order) == [
        "order.created",
        "order.updated",
        "payment.started",
        "order.confirmed",
        "payment.authorised",
        "order.completed",
        "payment.captured",
    ]


async def test_a_declined_card_leaves_the_hold_and_a_good_one_pays_with_the_same_intent(
    shop: Shop,
) -> None:
    order = await shop.order()
    declined = await shop.pay(order, "pm_card_chargeDeclined")
    assert declined.status_code == 402
    assert (declined.json()["code"], declined.json()["reason"]) == ("card_declined", "declined")
    assert await shop.state(order) == ("awaiting_payment", "held")
    intent = await shop.stripe.intent(order["id"])
    assert (await shop.pay(order)).json()["status"] == "captured"
    assert (await shop.stripe.intent(order["id"]))["id"] == intent["id"]
    assert await shop.attempts(order) == ["failed", "captured"]
    await shop.assert_paid_once(order)


async def test_a_failed_attempt_does_not_extend_the_hold_again(shop: Shop) -> None:
    order = await shop.order()
    await shop.pay(order, "pm_card_chargeDeclined")
    held_until = await _held_until(shop)
    again = await shop.pay(order, "pm_card_visa_chargeDeclinedInsufficientFunds")
    assert (again.status_code, again.json()["reason"]) == (402, "declined")
    assert await _held_until(shop) == held_until
    assert (await shop.event_types(order)).count("payment.failed") == 2


async def test_an_unknown_payment_method_is_refused_and_the_order_stays_payable(shop: Shop) -> None:
    order = await shop.order()
    refused = await shop.pay(order, "pm_card_nonsense")
    assert (refused.status_code, refused.json()["code"]) == (422, "payment_method_refused")
    assert (await shop.pay(order)).json()["status"] == "captured"


async def test_an_authenticated_challenge_is_captured_without_another_request(shop: Shop) -> None:
    await shop.system.start("worker")
    order = await shop.order()
    challenged = await shop.pay(order, "pm_card_authenticationRequired")
    assert (challenged.status_code, challenged.json()["status"]) == (201, "requires_action")
    assert challenged.json()["client_secret"].startswith("pi_")
    assert await shop.state(order) == ("awaiting_payment", "held")
    await shop.stripe.authenticate(order["id"])
    await until(lambda: shop.is_attempt(order, "captured"))
    await shop.assert_paid_once(order)


async def test_a_failed_challenge_fails_the_attempt_and_the_order_is_payable_again(
    shop: Shop,
) -> None:
    await shop.system.start("worker")
    order = await shop.order()
    await shop.pay(order, "pm_card_authenticationRequired")
    await shop.stripe.authenticate(order["id"], "fail")
    await until(lambda: shop.is_attempt(order, "failed"))
    failure = await shop.rows.fetchval("select failure_code from payments.payments")
    assert failure == "payment_intent_authentication_failure"
    assert (await shop.pay(order)).json()["status"] == "captured"
    await shop.assert_paid_once(order)


async def test_a_missing_order_and_another_users_order_get_the_same_reply(shop: Shop) -> None:
    order = await shop.order()
    stranger = shop.system.person("stranger")
    refusals = [await shop.pay(order, by=stranger), await shop.pay({"id": str(uuid4())})]
    assert [(reply.status_code, reply.json()) for reply in refusals] == 2 * [
        (
            404,
            {"type": "about:blank", "title": "Not Found", "status": 404, "code": "order_not_found"},
        )
    ]
    assert await shop.attempts(order) == []
    assert await shop.stripe.intents() == []


async def test_paying_requires_a_session(shop: Shop) -> None:
    order = await shop.order()
    reply = await shop.system.anonymous().post(
        "/api/payments", json={"order_id": order["id"], "payment_method": "pm_card_visa"}
    )
    assert reply.status_code == 401


async def test_a_cancelled_order_is_not_payable(shop: Shop) -> None:
    order = await shop.order()
    assert (await shop.buyer.delete(f"/api/orders/{order['id']}")).status_code == 204
    refused = await shop.pay(order)
    assert (refused.status_code, refused.json()["code"]) == (409, "order_cancelled")
    assert await shop.stripe.intents() == []


async def test_an_expired_order_is_not_payable_and_stripe_is_not_called(shop: Shop) -> None:
    order = await shop.order()
    await shop.make_overdue(order)
    refused = await shop.pay(order)
    assert (refused.status_code, refused.json()["code"]) == (409, "order_expired")
    assert await shop.stripe.intents() == []


async def test_an_order_that_expired_between_two_attempts_is_not_payable(shop: Shop) -> None:
    order = await shop.order()
    await shop.pay(order, "pm_card_chargeDeclined")
    await shop.make_overdue(order)
    refused = await shop.pay(order)
    assert (refused.status_code, refused.json()["code"]) == (409, "order_expired")
    await shop.assert_nothing_taken(order)


async def test_a_paid_order_cannot_be_paid_again(shop: Shop) -> None:
    order = await shop.order()
    await shop.pay(order)
    again = await shop.pay(order)
    assert (again.status_code, again.json()["code"]) == (409, "order_already_paid")
    await shop.assert_paid_once(order)


async def test_of_fifty_parallel_payments_one_is_captured(shop: Shop) -> None:
    order = await shop.order()
    replies = await asyncio.gather(*(shop.pay(order) for _ in range(50)))
    assert sorted(reply.status_code for reply in replies) == [201] + 49 * [409]
    codes = {reply.json()["code"] for reply in replies if reply.status_code == 409}
    assert codes <= {"payment_in_progress", "order_already_paid"}
    await shop.assert_paid_once(order)
    assert await shop.attempts(order) == ["captured"]


async def test_a_second_tab_gets_a_conflict_while_the_first_is_paying(shop: Shop) -> None:
    order = await shop.order()
    assert (await shop.pay(order, "pm_card_authenticationRequired")).status_code == 201
    second = await shop.pay(order)
    assert (second.status_code, second.json()["code"]) == (409, "payment_in_progress")
    assert await shop.attempts(order) == ["requires_action"]


async def test_a_currency_without_decimals_is_charged_as_it_is(system: System) -> None:
    system.configure(FEE_PERCENT="0")
    await system.start("stripe", "api")
    async with open_shop(system) as shop:
        order = await shop.order(price=500, currency="JPY")
        await shop.pay(order)
        intent = await shop.stripe.intent(order["id"])
        assert (intent["amount_received"], intent["currency"]) == (500, "jpy")


async def test_the_charge_includes_the_fee(shop: Shop) -> None:
    order = await shop.order(price=500, currency="JPY")
    await shop.pay(order)
    assert (await shop.stripe.intent(order["id"]))["amount_received"] == order["total"] == 525


async def test_cancelling_during_the_challenge_voids_the_intent(shop: Shop) -> None:
    await shop.system.start("relay", "worker")
    order = await shop.order()
    await shop.pay(order, "pm_card_authenticationRequired")
    assert (await shop.buyer.delete(f"/api/orders/{order['id']}")).status_code == 204
    await until(lambda: shop.is_attempt(order, "voided"))
    assert (await shop.stripe.intent(order["id"]))["status"] == "canceled"
    assert await shop.state(order) == ("cancelled", "available")
    await shop.assert_nothing_taken(order)


async def test_a_challenge_that_outlives_its_order_is_voided_when_another_has_the_ticket(
    shop: Shop,
) -> None:
    await shop.system.start("worker")
    order = await shop.order()
    await shop.pay(order, "pm_card_authenticationRequired")
    await shop.make_overdue(order)
    rival = shop.system.person("rival")
    await factories.order(rival, order["tickets"][0]["id"])
    await shop.stripe.authenticate(order["id"])
    await until(lambda: shop.is_attempt(order, "voided"))
    await shop.assert_nothing_taken(order)
    assert await shop.state(order) == ("expired", "held")


async def _held_until(shop: Shop) -> object:
    return await shop.rows.fetchval("select held_until from tickets.tickets")


@pytest.mark.parametrize(
    ("currency", "price", "total", "wire"),
    [
        ("UGX", 50_000, 52_500, 5_250_000),
        ("ISK", 1050_00, 1103_00, 1103_00),
        ("KWD", 5130, 5390, 5390),
        ("JPY", 61, 64, 64),
        ("EUR", 50, 53, 53),
    ],
)
async def test_stripe_is_charged_and_refunded_in_its_own_units(
    currency: str, price: int, total: int, wire: int, shop: Shop
) -> None:
    order = await shop.paid(price=price, currency=currency)
    assert order["total"] == total
    intent = await shop.stripe.intent(order["id"])
    assert (intent["currency"], intent["amount_received"]) == (currency.lower(), wire)
    assert await shop.state(order) == ("completed", "sold")
    assert (await shop.refund(order)).json()["refund"]["amount"] == total
    (refund,) = await shop.stripe.refunds(order["id"])
    assert refund["amount"] == wire
