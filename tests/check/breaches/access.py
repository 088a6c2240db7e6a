"""I8: roles with additional rights, and messages to the wrong user."""

from uuid import uuid4

from tests.check.breaches.breach import FREE_TICKET, UNGUARDED, Breach, of_order, sql
from tests.check.breaches.client_state import newest, publish
from tests.check.seeded_system import SeededSystem

STRANGER = uuid4()


async def publish_an_order_to_another_user(seeded: SeededSystem) -> None:
    order = dict((await newest(seeded, "private-user-"))["order"])  # type: ignore[call-overload]
    await publish(seeded, f"private-user-{uuid4()}", "order.updated", order=order)


async def publish_the_order_of_a_ticket(seeded: SeededSystem) -> None:
    ticket = dict((await newest(seeded, "show-"))["ticket"])  # type: ignore[call-overload]
    ticket["order_id"] = str(uuid4())
    await publish(seeded, f"show-{ticket['show_id']}", "ticket.updated", ticket=ticket)


GIVEN_AWAY = (
    f"update orders.orders set buyer_id = '{STRANGER}' where id = {of_order('completed')}",
    f"update orders.lines set buyer_id = '{STRANGER}' where order_id = {of_order('completed')}",
    (
        f"update payments.payments set buyer_id = '{STRANGER}' where order_id ="
        f" {of_order('completed')}"
    ),
)

BREACHES = [
    Breach(
        "I8",
        "a role reads another's rows",
        sql("grant select on tickets.tickets to gittix_payments"),
        "role gittix_payments may SELECT tickets.tickets",
    ),
    Breach(
        "I8",
        "a role writes an additional column",
        sql("grant update (data) on events.outbox to gittix_relay"),
        "role gittix_relay may UPDATE events.outbox (data)",
    ),
    Breach(
        "I8",
        "a noun calls its own deciding function",
        sql("grant execute on function tickets.release_due to gittix_tickets"),
        "role gittix_tickets may call tickets.release_due",
    ),
    Breach(
        "I8",
        "every role may call a function",
        sql("grant execute on function orders.finish to public"),
        "every role may call orders.finish",
    ),
    Breach(
        "I8",
        "a role creates objects in a schema",
        sql("grant create on schema orders to gittix_orders"),
        "role gittix_orders may create schema orders",
    ),
    Breach(
        "I8",
        "a role has rights beyond a login",
        sql("alter role gittix_push createdb"),
        "role gittix_push has rights beyond a login",
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
        "a noun deletes its rows",
        sql("grant delete on tickets.tickets to gittix_tickets"),
        "role gittix_tickets may DELETE tickets.tickets",
    ),
    Breach(
        "I8",
        "a noun changes an owner",
        sql("grant update (seller_id, price) on tickets.tickets to gittix_tickets"),
        "role gittix_tickets may UPDATE tickets.tickets (seller_id)",
    ),
    Breach(
        "I8",
        "a paid order was given to another buyer",
        sql(*GIVEN_AWAY),
        "role gittix changed an owner in orders.orders",
    ),
    Breach(
        "I8",
        "a paid order was given to another buyer without a trace in the audit",
        sql(UNGUARDED, *GIVEN_AWAY),
        "but its event order.completed at version",
    ),
    Breach(
        "I8",
        "a ticket was given to another seller",
        sql(f"update tickets.tickets set seller_id = gen_random_uuid() where {FREE_TICKET}"),
        "role gittix changed an owner in tickets.tickets",
    ),
    Breach(
        "I8",
        "a show was given to another owner without a trace in the audit",
        sql(UNGUARDED, "update tickets.shows set owner_id = gen_random_uuid()"),
        "but its event show.created at version 1 is of",
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
            "update orders.lines set buyer_id = gen_random_uuid() where order_id ="
            f" {of_order('pending')}"
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
        "I8",
        "another user receives an order",
        publish_an_order_to_another_user,
        "was published on private-user-",
    ),
    Breach(
        "I8",
        "a public message has the order of a ticket",
        publish_the_order_of_a_ticket,
        "reveals the order or the buyer",
    ),
]
