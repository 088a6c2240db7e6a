"""Reading a payment: only by its buyer, on any device; a read continues an answered challenge."""

from uuid import uuid4

from tests.payments.shop import Shop
from tests.replies import code


async def test_only_its_buyer_reads_a_payment(shop: Shop) -> None:
    order = await shop.order()
    paid = (await shop.pay(order)).json()
    path = f"/api/payments/{paid['id']}"
    assert (await shop.buyer.get(path)).json() == paid
    assert (paid["order_id"], paid["attempt"]) == (order["id"], 1)
    strangers = [await shop.system.person("stranger").get(path), await shop.seller.get(path)]
    missing = await shop.buyer.get(f"/api/payments/{uuid4()}")
    assert {reply.text for reply in strangers} == {missing.text}
    assert code(missing) == (404, "payment_not_found")


async def test_an_order_names_the_attempt_that_was_declined_and_why(shop: Shop) -> None:
    order = await shop.order()
    await shop.pay(order, "pm_card_chargeDeclinedExpiredCard")
    await shop.pay(order, "pm_card_visa_chargeDeclinedInsufficientFunds")
    named = (await shop.buyer.get(f"/api/orders/{order['id']}")).json()["payment_id"]
    failed = (await shop.buyer.get(f"/api/payments/{named}")).json()
    assert (failed["status"], failed["attempt"]) == ("failed", 2)
    assert failed["reason"] == "declined"
    assert "client_secret" not in failed


async def test_a_challenge_can_be_taken_up_on_another_device(shop: Shop) -> None:
    order = await shop.order()
    challenged = (await shop.pay(order, "pm_card_authenticationRequired")).json()
    assert (await shop.buyer.get(f"/api/payments/{challenged['id']}")).json() == challenged
    assert challenged["client_secret"].startswith("pi_")


async def test_reading_an_authenticated_challenge_captures_it(shop: Shop) -> None:
    """No worker runs here: no webhook is handled."""
    order = await shop.order()
    path = f"/api/payments/{(await shop.pay(order, 'pm_card_authenticationRequired')).json()['id']}"
    await shop.stripe.authenticate(order["id"])
    assert [(await shop.buyer.get(path)).json()["status"] for _ in range(2)] == ["captured"] * 2
    await shop.assert_paid_once(order)


async def test_reading_a_refused_challenge_fails_it(shop: Shop) -> None:
    order = await shop.order()
    path = f"/api/payments/{(await shop.pay(order, 'pm_card_authenticationRequired')).json()['id']}"
    await shop.stripe.authenticate(order["id"], "fail")
    failed = (await shop.buyer.get(path)).json()
    assert (failed["status"], failed["reason"]) == ("failed", "approval")
    assert await shop.state(order) == ("awaiting_payment", "held")


async def test_while_stripe_does_not_answer_a_payment_reads_as_before(shop: Shop) -> None:
    order = await shop.order()
    challenged = (await shop.pay(order, "pm_card_authenticationRequired")).json()
    await shop.stripe.faults(fail_next=10)
    read = await shop.buyer.get(f"/api/payments/{challenged['id']}")
    del challenged["client_secret"]
    assert (read.status_code, read.json()) == (200, challenged)
