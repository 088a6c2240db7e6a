"""An operator cancels an intent at Stripe, and the order gets another one."""

from tests.payments.shop import Shop, open_shop, worker_context
from tests.system import System
from workers.payments import handle_webhook


async def test_an_order_whose_intent_was_cancelled_at_stripe_stays_payable(system: System) -> None:
    """A new attempt reuses the intent of a failed attempt, unless that intent was voided."""
    async with open_shop(system) as shop:
        await system.start("stripe", "api")
        await shop.stripe.faults(webhooks={"paused": True})
        order = await shop.order()
        assert (await shop.pay(order, "pm_card_chargeDeclined")).status_code == 402
        assert (await shop.pay(order, "pm_card_authenticationRequired")).status_code == 201
        await _cancel_at_stripe(shop, order["id"])
        assert await shop.attempts(order) == ["failed", "voided"]
        # The hold still runs, and the API shows it; without the declined attempt this pays.
        assert await shop.state(order) == ("awaiting_payment", "held")
        paid = await shop.pay(order)
        assert (paid.status_code, paid.json().get("code")) == (201, None)


async def _cancel_at_stripe(shop: Shop, order_id: str) -> None:
    """Cancel the intent at Stripe as an operator may, and handle the webhook."""
    await shop.stripe.cancel(order_id)
    cancelled = [
        event for event in await shop.stripe.events() if event["type"] == "payment_intent.canceled"
    ]
    await shop.deliver(cancelled[-1])
    async with worker_context(shop.system) as context:
        await handle_webhook(context, cancelled[-1]["id"])
