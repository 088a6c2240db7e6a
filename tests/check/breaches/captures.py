"""I2: captured money without a completed order, and completed orders without captured money."""

from uuid import uuid4

from tests.check.breaches.breach import UNGUARDED, Breach, change, of_order, sql, together
from tests.check.seeded_system import SeededSystem


async def captured_twice(seeded: SeededSystem) -> None:
    await seeded.intent(await seeded.order("completed"))


async def captured_for_an_expired_order(seeded: SeededSystem) -> None:
    await seeded.intent(await seeded.order("expired"))


async def captured_for_a_missing_order(seeded: SeededSystem) -> None:
    await seeded.intent(uuid4())


async def held_for_a_cancelled_order(seeded: SeededSystem) -> None:
    await seeded.intent(await seeded.order("cancelled"), capture=False)


async def refunded_behind_our_back(seeded: SeededSystem) -> None:
    intent = await seeded.intent_of(await seeded.order("completed"))
    (await seeded.stripe.post("/v1/refunds", data={"payment_intent": intent})).raise_for_status()


async def partly_refunded(seeded: SeededSystem) -> None:
    intent = await seeded.intent_of(await seeded.order("completed"))
    body = {"payment_intent": intent, "amount": "100"}
    (await seeded.stripe.post("/v1/refunds", data=body)).raise_for_status()


async def captured_on_another_intent(seeded: SeededSystem) -> None:
    await refunded_behind_our_back(seeded)
    await captured_twice(seeded)


REFUNDED = f"order_id = {of_order('refunded')}"

BREACHES = [
    Breach(
        "I2",
        "a payment of a cancelled order is captured",
        together(
            sql(UNGUARDED),
            change(
                "payment",
                "status = 'captured', updated_at = now()",
                f"order_id = {of_order('cancelled')}",
                event="payment.failed",
            ),
        ),
        "is captured, but order",
    ),
    Breach(
        "I2",
        "the payment of a completed order is not captured",
        together(
            sql(UNGUARDED),
            change(
                "payment",
                "status = 'voided', updated_at = now()",
                f"order_id = {of_order('completed')}",
                event="payment.voided",
            ),
        ),
        "is completed by 0 captured payments",
    ),
    Breach(
        "I2",
        "two payments of an order are captured",
        sql(
            "drop index payments.payments_one_captured",
            "insert into payments.payments (id, order_id, buyer_id, attempt, status, amount,"
            " currency, payment_method,"
            " intent_id, deadline_at) select gen_random_uuid(), order_id, buyer_id, 9, status,"
            " amount, currency,"
            " payment_method, intent_id, deadline_at from payments.payments where order_id ="
            f" {of_order('completed')}",
        ),
        "is completed by 2 captured payments",
    ),
    Breach(
        "I2",
        "another amount was captured",
        sql(
            "update payments.payments set amount = amount - 1 where order_id ="
            f" {of_order('completed')} and status = 'captured'"
        ),
        "captured 4724 EUR, but order",
    ),
    Breach(
        "I2",
        "a payment stays authorised",
        sql(
            "update payments.payments set status = 'authorised' where order_id ="
            f" {of_order('awaiting_payment')}"
        ),
        "is authorised since",
    ),
    Breach(
        "I2",
        "a payment is for an order that is not there",
        sql(
            "insert into payments.payments (id, order_id, buyer_id, attempt, status, amount,"
            " currency, payment_method,"
            " deadline_at) values (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 1,"
            " 'failed', 1, 'EUR', '', now())"
        ),
        "which does not exist",
    ),
    Breach(
        "I2", "the ledger has an order captured twice", captured_twice, "has 2 captured intents"
    ),
    Breach(
        "I2",
        "the ledger has money of an expired order",
        captured_for_an_expired_order,
        "kept 4725 EUR",
    ),
    Breach(
        "I2",
        "the ledger has money of no order",
        captured_for_a_missing_order,
        "which does not exist",
    ),
    Breach(
        "I2",
        "the ledger holds money of a cancelled order",
        held_for_a_cancelled_order,
        "still holds 4725",
    ),
    Breach(
        "I2", "a completed order was refunded", refunded_behind_our_back, "has 0 captured intents"
    ),
    Breach(
        "I2", "a completed order was refunded in part", partly_refunded, "4625 EUR (100 refunded)"
    ),
    Breach(
        "I2", "another intent was captured", captured_on_another_intent, "our captured payment has"
    ),
    Breach(
        "I2",
        "the lines of a completed order are refunded",
        sql(
            "update orders.lines set status = 'refunded', live = false"
            f" where order_id = {of_order('completed')}"
        ),
        "is completed, but its lines are refunded",
        also=("I1", "I4"),
    ),
    Breach(
        "I2",
        "a refunded line is live",
        sql(
            "alter table orders.lines drop constraint lines_refunded_is_not_live",
            f"update orders.lines set live = true where {REFUNDED}",
        ),
        "is refunded, but its line is live",
    ),
    Breach(
        "I2",
        "a refund returned another amount than its lines cost",
        sql(f"update payments.refunds set amount = amount - 1 where {REFUNDED}"),
        "succeeded with 4724 EUR, but its lines add up to 4725",
    ),
    Breach(
        "I2",
        "a refund does not name its lines",
        sql(f"delete from payments.refund_lines where {REFUNDED}"),
        "but its own lines add up to 0",
    ),
    Breach(
        "I2",
        "a line names a refund that is not there",
        sql(f"update orders.lines set refund_id = gen_random_uuid() where {REFUNDED}"),
        "which is not there",
    ),
    Breach(
        "I2",
        "more is refunded than was captured",
        sql(
            "insert into payments.refunds (id, order_id, payment_id, intent_id, number,"
            " requested_by, relist, amount, currency) select gen_random_uuid(), order_id,"
            " payment_id, intent_id, 9, requested_by, false, 1, currency from payments.refunds"
            f" where {REFUNDED}"
        ),
        "captured 4725 EUR, but 4726 are refunded",
    ),
    Breach(
        "I2",
        "two refunds may return the money of one line",
        sql("drop index payments.refund_lines_one_live"),
        "no valid unique index on payments.refund_lines",
    ),
]
