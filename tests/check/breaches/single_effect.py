"""I6: effects that happen twice, or not at all."""

from tests.check.breaches.breach import Breach, change, of_order, sql
from tests.check.seeded_system import SeededSystem, acknowledge_early
from tests.events.log import record


async def acknowledged_early(seeded: SeededSystem) -> None:
    await acknowledge_early(seeded)


async def append_two_events_with_one_id(seeded: SeededSystem) -> None:
    await record(seeded.rows, 1, 2, type="user.registered")
    await seeded.rows.execute(
        "update events.outbox set event_id = (select event_id from events.outbox where position is"
        " null limit 1)"
        " where position is null"
    )


BREACHES = [
    Breach(
        "I6",
        "an inbox row is skipped",
        sql(
            "delete from orders.inbox where event_id = (select event_id from orders.inbox limit 1)"
        ),
        "which is not in its inbox",
    ),
    Breach("I6", "an event is acknowledged early", acknowledged_early, "which is not in its inbox"),
    Breach(
        "I6",
        "an order is completed twice",
        change("order", "updated_at = now()", "status = 'completed'", event="order.completed"),
        "has 2 events order.completed",
    ),
    Breach("I6", "two events have one id", append_two_events_with_one_id, "have the id"),
    Breach(
        "I6",
        "an attempt to pay is not counted",
        sql(
            "update orders.orders set payment_attempts = payment_attempts - 1 where id ="
            f" {of_order('completed')}"
        ),
        "counts 0 attempts to pay, but 1 reached Stripe",
    ),
]
