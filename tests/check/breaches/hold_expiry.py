"""I3: holds, orders and reservations that outlive their time."""

from backend.push import push_log as push
from tests.check.breaches.breach import Breach, change, of_order, sql, together
from tests.check.seeded_system import SeededSystem


async def empty_the_push_log(seeded: SeededSystem) -> None:
    await seeded.redis.delete(push.STREAM)


BREACHES = [
    Breach(
        "I3",
        "a hold never ended",
        sql(
            "update tickets.tickets set held_until = now() - interval '1 minute' where order_id"
            f" = {of_order('pending')}",
            "update orders.orders set expires_at = now() - interval '1 minute' where id ="
            f" {of_order('pending')}",
        ),
        "is still held for order",
    ),
    Breach(
        "I3",
        "an unpaid order stays",
        sql(
            "update orders.orders set expires_at = now() - interval '1 minute' where id ="
            f" {of_order('pending')}"
        ),
        "is still pending",
    ),
    Breach(
        "I3",
        "a hold outlives its order",
        sql(
            "update tickets.tickets set held_until = held_until + interval '9 hours' where"
            f" order_id = {of_order('pending')}"
        ),
        "but its order",
    ),
    Breach(
        "I3",
        "a hold is longer than it began",
        sql(
            "update orders.orders set expires_at = expires_at + interval '9 seconds',"
            " latest_expiry = latest_expiry + interval '9 seconds' where id ="
            f" {of_order('pending')}"
        ),
        "but its hold began with the end",
    ),
    Breach(
        "I3",
        "a hold is extended once more than it may be",
        together(
            empty_the_push_log,
            change(
                "ticket",
                "held_until = held_until",
                f"order_id = {of_order('pending')}",
                event="ticket.extended",
            ),
        ),
        "was extended 1 times for order",
    ),
    Breach(
        "I3",
        "a reservation never ends",
        together(
            empty_the_push_log,
            change(
                "order",
                "status = 'confirmed'",
                "status = 'awaiting_payment'",
                event="order.confirmed",
            ),
            change(
                "ticket",
                "status = 'reserved', held_until = null, updated_at = now() - interval '20"
                " minutes'",
                f"order_id = {of_order('confirmed')}",
                event="ticket.reserved",
            ),
        ),
        "is reserved for order",
    ),
    Breach(
        "I3",
        "readers ignore the time of a hold",
        sql(
            "create or replace function tickets.effective_status(p_status text, p_held_until"
            " timestamptz, p_now timestamptz)"
            " returns text language sql immutable parallel safe return p_status"
        ),
        "a hold that ended a moment ago reads as held",
    ),
]
