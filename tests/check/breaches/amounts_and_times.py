"""I10: amounts that do not add up, and times without a zone or in the future."""

from tests.check.breaches.breach import FREE_TICKET, Breach, of_order, sql

BREACHES = [
    Breach(
        "I10",
        "a subtotal is off",
        sql(
            "update orders.orders set subtotal = subtotal + 1, total = total + 1 where id ="
            f" {of_order('pending')}"
        ),
        "but lines of 4500",
    ),
    Breach(
        "I10",
        "the fees of the lines are not the order's",
        sql(f"update orders.lines set fee = fee - 1 where order_id = {of_order('pending')}"),
        "has a fee of 225, but lines with 224",
    ),
    Breach(
        "I10",
        "a fee is as much as the price",
        sql(
            "update orders.orders set fee = subtotal, total = 2 * subtotal where id ="
            f" {of_order('pending')}"
        ),
        "is 4500 + 4500 = 9000 EUR",
    ),
    Breach(
        "I10",
        "a currency can't be charged",
        sql(
            "alter table tickets.tickets disable trigger check_price",
            f"update tickets.tickets set currency = 'XXX' where {FREE_TICKET}",
        ),
        "costs 4500 XXX",
    ),
    Breach(
        "I10",
        "a ticket has another currency than its order",
        sql(f"update tickets.tickets set currency = 'USD' where order_id = {of_order('pending')}"),
        "4500 USD",
    ),
    Breach(
        "I10",
        "a change is in the future",
        sql("update tickets.shows set updated_at = now() + interval '1 hour'"),
        "is in the future",
    ),
    Breach(
        "I10",
        "a time has no zone",
        sql("alter table tickets.shows add column doors_at timestamp"),
        "column tickets.shows.doors_at is timestamp without time zone",
    ),
    Breach(
        "I10",
        "an amount is a float",
        sql("alter table payments.payments add column tip double precision"),
        "column payments.payments.tip is double precision",
    ),
]
