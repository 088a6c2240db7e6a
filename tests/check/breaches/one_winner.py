"""I1: a ticket with two winners, or with an order that does not have it."""

from tests.check.breaches.breach import Breach, change, of_order, sql

NO_INDEX = "drop index orders.lines_one_live_per_ticket"


BREACHES = [
    Breach("I1", "the unique index is gone", sql(NO_INDEX), "no valid unique index"),
    Breach(
        "I1",
        "the unique index is not valid",
        sql(
            "update pg_index set indisvalid = false where indexrelid ="
            " 'orders.lines_one_live_per_ticket'::regclass"
        ),
        "no valid unique index",
    ),
    Breach(
        "I1",
        "a ticket is on two live lines",
        sql(
            NO_INDEX,
            "update orders.lines set ticket_id = (select ticket_id from orders.lines where "
            f"order_id = {of_order('awaiting_payment')}) where order_id = {of_order('pending')}",
        ),
        "is on 2 live lines",
    ),
    Breach(
        "I1",
        "a ticket is held for another order than its line's",
        change(
            "ticket",
            f"order_id = {of_order('awaiting_payment')}, updated_at = clock_timestamp()",
            f"order_id = {of_order('pending')}",
            event="ticket.held",
        ),
        "which has no live line with it",
    ),
    Breach(
        "I1",
        "a sold ticket is free again",
        change(
            "ticket",
            "status = 'available', order_id = null, updated_at = clock_timestamp()",
            "status = 'sold'",
            event="ticket.released",
        ),
        "but the ticket is available",
    ),
    Breach(
        "I1",
        "a line of an expired order is live",
        sql(
            "update orders.lines set live = true where order_id = (select o.id from orders.orders"
            " o join orders.lines l "
            "on l.order_id = o.id join tickets.tickets t on t.id = l.ticket_id "
            "where o.status = 'expired' and t.status = 'available' limit 1)"
        ),
        "is expired, but its line",
    ),
]
