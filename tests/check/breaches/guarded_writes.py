"""I4: versions and audit steps that do not follow one another."""

from tests.check.breaches.breach import (
    FREE_TICKET,
    UNGUARDED,
    Breach,
    change,
    of_order,
    sql,
    together,
)

BREACHES = [
    Breach(
        "I4",
        "a ticket is reserved for an order that is not paid",
        change(
            "ticket",
            "status = 'reserved', held_until = null, updated_at = clock_timestamp()",
            f"order_id = {of_order('awaiting_payment')}",
            event="ticket.reserved",
        ),
        "which is awaiting_payment",
    ),
    Breach(
        "I4",
        "a version is published twice",
        sql(
            "insert into events.outbox (type, subject, version, data)"
            " select 'ticket.updated', id, version, tickets.state(t) from tickets.tickets t where"
            f" {FREE_TICKET}"
        ),
        "was published (ticket.updated) after version",
    ),
    Breach(
        "I4",
        "a version is never published",
        sql(
            "update tickets.tickets set version = version + 1, updated_at = now() where"
            f" {FREE_TICKET}"
        ),
        "but the newest published version is",
    ),
    Breach(
        "I4",
        "a version is left out",
        together(
            sql(f"update tickets.tickets set version = version + 1 where {FREE_TICKET}"),
            change("ticket", "updated_at = now()", FREE_TICKET, event="ticket.updated"),
        ),
        "was published (ticket.updated) after version",
    ),
    Breach(
        "I4",
        "an audit does not join",
        sql(
            UNGUARDED,
            "update tickets.audit set to_status = 'withdrawn' where (ticket_id, version) = (select"
            " ticket_id, version"
            " from tickets.audit a where exists (select from tickets.audit b where b.ticket_id ="
            " a.ticket_id"
            " and b.version > a.version) order by 1, 2 limit 1)",
        ),
        "its audit leaves it withdrawn",
    ),
    Breach(
        "I4",
        "an audit ends elsewhere than its ticket",
        sql(
            UNGUARDED,
            "update tickets.audit a set to_status = 'withdrawn' from tickets.tickets t"
            " where t.id = a.ticket_id and t.version = a.version and t.status = 'sold'",
        ),
        "but its audit ends with withdrawn",
    ),
]
