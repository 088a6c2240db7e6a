"""I8. Roles that reach, and people who hear, what is not theirs."""

from uuid import uuid4

from tests.check.breaches.breach import Breach, of_order, sql
from tests.check.breaches.client_state import newest, tell
from tests.check.market import Market


async def tell_a_stranger_of_an_order(market: Market) -> None:
    order = dict((await newest(market, "private-user-"))["order"])  # type: ignore[call-overload]
    await tell(market, f"private-user-{uuid4()}", "order.updated", order=order)


async def tell_everybody_whose_ticket_it_is(market: Market) -> None:
    ticket = dict((await newest(market, "show-"))["ticket"])  # type: ignore[call-overload]
    ticket["order_id"] = str(uuid4())
    await tell(market, f"show-{ticket['show_id']}", "ticket.updated", ticket=ticket)


BREACHES = [
    Breach(
        "I8",
        "a role reads another's rows",
        sql("grant select on tickets.tickets to gittix_payments"),
        "role gittix_payments may SELECT tickets.tickets",
    ),
    Breach(
        "I8",
        "a role writes a column too many",
        sql("grant update (data) on events.outbox to gittix_relay"),
        "may UPDATE column data",
    ),
    Breach(
        "I8",
        "a noun calls its own deciding function",
        sql("grant execute on function tickets.release_due to gittix_tickets"),
        "role gittix_tickets may call tickets.release_due",
    ),
    Breach(
        "I8",
        "everybody may call a function",
        sql("grant execute on function orders.finish to public"),
        "is everybody's to call",
    ),
    Breach(
        "I8",
        "a role makes things in a schema",
        sql("grant create on schema orders to gittix_orders"),
        "role gittix_orders may create schema orders",
    ),
    Breach(
        "I8",
        "a role is more than a login",
        sql("alter role gittix_push createdb"),
        "role gittix_push is more than a login",
        undo="alter role gittix_push nocreatedb",
    ),
    Breach(
        "I8",
        "an owner's function takes its caller's search path",
        sql("alter function tickets.release_due reset search_path"),
        "with the search path of its caller",
    ),
    Breach(
        "I8",
        "a seller bought its own ticket",
        sql(
            "update orders.orders o set buyer_id = l.seller_id from orders.lines l"
            f" where l.order_id = o.id and o.id = {of_order('pending')}",
            f"update orders.lines set buyer_id = seller_id where order_id = {of_order('pending')}",
        ),
        "sells ticket",
    ),
    Breach(
        "I8",
        "a line counts for another buyer",
        sql(
            f"update orders.lines set buyer_id = gen_random_uuid() where order_id = {of_order('pending')}"
        ),
        "has a line of",
    ),
    Breach(
        "I8",
        "a noun rewrites its audit",
        sql("grant update on tickets.audit to gittix_tickets"),
        "role gittix_tickets may UPDATE tickets.audit",
    ),
    Breach(
        "I8",
        "a stranger paid",
        sql("update payments.payments set buyer_id = gen_random_uuid() where status = 'failed'"),
        "for order",
    ),
    Breach(
        "I8", "a stranger hears of an order", tell_a_stranger_of_an_order, "went to private-user-"
    ),
    Breach(
        "I8",
        "everybody hears whose ticket it is",
        tell_everybody_whose_ticket_it_is,
        "tells everybody",
    ),
]
