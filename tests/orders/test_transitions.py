"""The allowed transitions of tickets and orders, and their audit rows."""

from itertools import product
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests import factories
from tests.orders.rows import make_overdue
from tests.system import System

TICKETS = {
    "available": {"held", "reserved", "withdrawn"},
    "held": {"available", "held", "reserved", "withdrawn"},
    "reserved": {"available", "sold"},
    "sold": {"available", "withdrawn"},
    "withdrawn": set[str](),
}
ORDERS = {
    "pending": {"awaiting_payment", "cancelled", "expired"},
    "awaiting_payment": {"cancelled", "confirmed", "expired"},
    "expired": {"confirmed"},
    "confirmed": {"cancelled", "completed"},
    "completed": {"refund_pending"},
    "refund_pending": {"completed", "refunded"},
    "cancelled": set[str](),
    "refunded": set[str](),
}


async def test_a_ticket_follows_only_allowed_transitions(system: System) -> None:
    await system.start("api")
    ticket = await factories.ticket(system.person("seller"))
    owner = await system.connect()

    async def put(status: str, order_id: UUID) -> None:
        taken = status in {"held", "reserved", "sold"}
        await owner.execute(
            """
            update tickets.tickets
            set status = $2, order_id = $3, version = version + 1,
                held_until = case when $2 = 'held' then now() end,
                claims_seat = $2 <> 'withdrawn'
            where id = $1
            """,
            UUID(ticket["id"]),
            status,
            order_id if taken else None,
        )

    allowed: dict[str, set[str]] = {status: set() for status in TICKETS}
    for before, after in product(TICKETS, repeat=2):
        # The same status with another order is a transition.
        if before != after or before == "held":
            await without_triggers(owner, put(before, uuid4()))
            if await succeeds(owner, put(after, uuid4())):
                allowed[before].add(after)
    assert allowed == TICKETS


async def test_an_order_follows_only_allowed_transitions(system: System) -> None:
    await system.start("api")
    ticket = await factories.ticket(system.person("seller"))
    order = await factories.order(system.person("buyer"), ticket["id"])
    owner = await system.connect()

    async def put(status: str) -> None:
        await owner.execute(
            "update orders.orders set status = $2, payment_id = id, version = version + 1"
            " where id = $1",
            UUID(order["id"]),
            status,
        )

    allowed: dict[str, set[str]] = {status: set() for status in ORDERS}
    for before, after in product(ORDERS, repeat=2):
        if before != after:
            await without_triggers(owner, put(before))
            if await succeeds(owner, put(after)):
                allowed[before].add(after)
    assert allowed == ORDERS


async def without_triggers(owner: Any, change: Any) -> None:
    """Make a change without triggers."""
    await owner.execute("set session_replication_role = replica")
    await change
    await owner.execute("set session_replication_role = origin")


async def succeeds(owner: Any, change: Any) -> bool:
    try:
        await change
    except asyncpg.CheckViolationError:
        return False
    return True


async def test_the_audit_records_each_transition_of_a_ticket_and_its_orders(
    system: System,
) -> None:
    await system.start("api")
    seller, late, buyer = system.person("seller"), system.person("late"), system.person("buyer")
    ticket = await factories.ticket(seller)
    owner = await system.connect()
    first = await factories.order(late, ticket["id"])
    await make_overdue(owner, first)
    reply = await buyer.post("/api/orders", {"ticket_id": ticket["id"]})
    second = reply.json()
    cancelled = await buyer.delete(f"/api/orders/{second['id']}")
    third = await factories.order(buyer, ticket["id"])
    payments = await system.connect("payments")
    payment = uuid4()
    await payments.execute(
        "select from orders.begin_payment($1, $2, $3)", third["id"], buyer.id, payment
    )
    await payments.execute(
        "select orders.settle($1, $2, $3, 'EUR')", third["id"], payment, third["total"]
    )
    await payments.execute("select orders.finish($1, $2)", third["id"], payment)

    assert await audited(owner, "tickets", ticket["id"]) == [
        ("available", "held", None, first["id"], "gittix_orders", late.id),
        ("held", "held", first["id"], second["id"], "gittix_orders", buyer.id),
        ("held", "available", second["id"], None, "gittix_orders", buyer.id),
        ("available", "held", None, third["id"], "gittix_orders", buyer.id),
        ("held", "reserved", third["id"], third["id"], "gittix_payments", buyer.id),
        ("reserved", "sold", third["id"], third["id"], "gittix_payments", None),
    ]
    assert await audited(owner, "orders", first["id"]) == [
        ("pending", "expired", None, "gittix_orders", buyer.id)
    ]
    assert await audited(owner, "orders", second["id"]) == [
        ("pending", "cancelled", None, "gittix_orders", buyer.id)
    ]
    assert await audited(owner, "orders", third["id"]) == [
        ("pending", "awaiting_payment", str(payment), "gittix_payments", buyer.id),
        ("awaiting_payment", "confirmed", str(payment), "gittix_payments", buyer.id),
        ("confirmed", "completed", str(payment), "gittix_payments", None),
    ]
    causes = await owner.fetch("select version, correlation_id from tickets.audit order by version")
    assert [str(row["correlation_id"]) for row in causes[1:3]] == [
        reply.headers["x-request-id"],
        cancelled.headers["x-request-id"],
    ]
    # An audit row has the version of the event of the same change.
    events = await owner.fetch(
        "select version from events.outbox where subject = $1 order by id", UUID(ticket["id"])
    )
    assert {row["version"] for row in causes} <= {row["version"] for row in events}


async def audited(owner: Any, noun: str, subject: str) -> list[tuple[Any, ...]]:
    columns, name = (
        ("from_order_id, to_order_id", "ticket_id")
        if noun == "tickets"
        else ("payment_id", "order_id")
    )
    rows = await owner.fetch(
        f"select from_status, to_status, {columns}, role, actor_id"
        f" from {noun}.audit where {name} = $1 order by at",
        UUID(subject),
    )
    return [tuple(_plain(name, value) for name, value in row.items()) for row in rows]


def _plain(name: str, value: Any) -> Any:
    return str(value) if value is not None and name != "actor_id" else value


async def test_the_audit_names_the_seller_that_withdrew_a_ticket(system: System) -> None:
    await system.start("api")
    seller = system.person("seller")
    ticket = await factories.ticket(seller)
    reply = await seller.delete(f"/api/tickets/{ticket['id']}")
    owner = await system.connect()
    row = await owner.fetchrow(
        "select from_status, to_status, role, actor_id, correlation_id from tickets.audit"
    )
    assert tuple(row) == (
        "available",
        "withdrawn",
        "gittix_tickets",
        seller.id,
        UUID(reply.headers["x-request-id"]),
    )


async def test_a_price_change_is_no_transition(system: System) -> None:
    await system.start("api")
    seller = system.person("seller")
    ticket = await factories.ticket(seller)
    assert (await seller.put(f"/api/tickets/{ticket['id']}", {"price": 100})).status_code == 200
    assert await (await system.connect()).fetchval("select count(*) from tickets.audit") == 0


async def test_an_expiry_has_no_actor(system: System) -> None:
    await system.start("api")
    ticket = await factories.ticket(system.person("seller"))
    order = await factories.order(system.person("buyer"), ticket["id"])
    owner = await system.connect()
    await make_overdue(owner, order)
    worker = await system.connect("orders")
    await worker.execute("select orders.expire_due(10)")
    (*_, last) = await audited(owner, "tickets", ticket["id"])
    assert last == ("held", "available", order["id"], None, "gittix_orders", None)


async def test_a_version_is_recorded_once(system: System) -> None:
    """A writer that does not increment the version fails: an audit row has that version."""
    await system.start("api")
    ticket = await factories.ticket(system.person("seller"))
    await factories.order(system.person("buyer"), ticket["id"])
    owner = await system.connect()
    with pytest.raises(asyncpg.UniqueViolationError):
        await owner.execute(
            "update tickets.tickets set status = 'reserved', held_until = null, version = 2"
        )
