"""An unpaid order is cancelled, expires or is displaced; stale calls change nothing."""

import asyncio
from uuid import UUID, uuid4

import pytest

from tests import factories
from tests.factories import Json
from tests.orders.rows import holder, live_orders, make_overdue, snapshot, status
from tests.replies import code
from tests.system import Person, System


async def cart(system: System, buyer: Person, count: int = 2) -> tuple[Json, list[Json]]:
    """An order of `count` tickets, and the tickets in id order."""
    seller = system.person("seller")
    show = await factories.show(seller)
    tickets = [await factories.ticket(seller, show["id"]) for _ in range(count)]
    return await factories.order(buyer, *(ticket["id"] for ticket in tickets)), tickets


async def test_a_cancelled_order_frees_its_tickets_at_once(system: System) -> None:
    await system.start("api")
    buyer = system.person("buyer")
    order, tickets = await cart(system, buyer)
    owner = await system.connect()
    first_new = len(await system.events(owner))
    reply = await buyer.delete(f"/api/orders/{order['id']}")
    assert (reply.status_code, reply.content) == (204, b"")
    assert [await holder(owner, ticket) for ticket in tickets] == [("available", None)] * 2
    assert [await live_orders(owner, ticket) for ticket in tickets] == [[], []]
    assert (await system.events(owner))[first_new:] == [
        ("ticket.released", tickets[0]["id"]),
        ("ticket.released", tickets[1]["id"]),
        ("order.cancelled", order["id"]),
    ]
    assert (await buyer.get(f"/api/orders/{order['id']}")).json()["status"] == "cancelled"
    await factories.order(system.person("next"), tickets[0]["id"])


async def test_an_order_is_cancelled_once(system: System) -> None:
    await system.start("api")
    buyer = system.person("buyer")
    order, _ = await cart(system, buyer)
    await buyer.delete(f"/api/orders/{order['id']}")
    owner = await system.connect()
    before = await snapshot(owner)
    again = await buyer.delete(f"/api/orders/{order['id']}")
    assert code(again) == (409, "order_not_cancellable")
    assert again.json()["order_status"] == "cancelled"
    assert await snapshot(owner) == before


async def test_parallel_cancels_of_an_order_cancel_it_once(system: System) -> None:
    await system.start("api")
    buyer = system.person("buyer")
    order, tickets = await cart(system, buyer)
    replies = await asyncio.gather(*(buyer.delete(f"/api/orders/{order['id']}") for _ in range(6)))
    assert sorted(reply.status_code for reply in replies) == [204, *[409] * 5]
    events = await system.events(await system.connect())
    assert [event for event, _ in events].count("ticket.released") == len(tickets)


async def test_an_expired_order_cannot_be_cancelled_before_the_worker_expires_it(
    system: System,
) -> None:
    await system.start("api")
    buyer = system.person("buyer")
    order, _ = await cart(system, buyer)
    owner = await system.connect()
    await make_overdue(owner, order)
    assert await status(owner, order) == "pending"
    before = await snapshot(owner)
    refused = await buyer.delete(f"/api/orders/{order['id']}")
    assert code(refused) == (409, "order_not_cancellable")
    assert refused.json()["order_status"] == "expired"
    assert await snapshot(owner) == before


@pytest.mark.parametrize("state", ["confirmed", "completed"])
async def test_a_paid_order_cannot_be_cancelled(state: str, system: System) -> None:
    await system.start("api")
    buyer = system.person("buyer")
    order, tickets = await cart(system, buyer)
    owner, payments = await system.connect(), await system.connect("payments")
    payment = uuid4()
    await payments.execute(
        "select from orders.begin_payment($1, $2, $3)", UUID(order["id"]), buyer.id, payment
    )
    await payments.execute(
        "select orders.settle($1, $2, $3, 'EUR')", UUID(order["id"]), payment, order["total"]
    )
    if state == "completed":
        await payments.execute("select orders.finish($1, $2)", UUID(order["id"]), payment)
    before = await snapshot(owner)
    refused = await buyer.delete(f"/api/orders/{order['id']}")
    assert code(refused) == (409, "order_not_cancellable")
    assert refused.json()["order_status"] == state
    assert await snapshot(owner) == before
    taken = {"confirmed": "reserved", "completed": "sold"}[state]
    assert [await holder(owner, ticket) for ticket in tickets] == [(taken, order["id"])] * 2


async def test_an_order_whose_payment_has_started_can_be_cancelled(system: System) -> None:
    await system.start("api")
    buyer = system.person("buyer")
    order, tickets = await cart(system, buyer)
    payments = await system.connect("payments")
    payment = uuid4()
    await payments.execute(
        "select from orders.begin_payment($1, $2, $3)", UUID(order["id"]), buyer.id, payment
    )
    assert (await buyer.delete(f"/api/orders/{order['id']}")).status_code == 204
    settled = await payments.fetchval(
        "select orders.settle($1, $2, $3, 'EUR')", UUID(order["id"]), payment, order["total"]
    )
    assert settled == "refused"
    owner = await system.connect()
    assert await holder(owner, tickets[0]) == ("available", None)


async def test_an_order_takes_over_an_expired_hold_while_every_worker_is_stopped(
    system: System,
) -> None:
    await system.start("api")
    first, second = system.person("first"), system.person("second")
    old, tickets = await cart(system, first, 3)
    owner = await system.connect()
    await make_overdue(owner, old)
    first_new = len(await system.events(owner))
    new = await factories.order(second, tickets[1]["id"])
    assert await status(owner, old) == "expired"
    assert [await holder(owner, ticket) for ticket in tickets] == [
        ("available", None),
        ("held", new["id"]),
        ("available", None),
    ]
    assert [await live_orders(owner, ticket) for ticket in tickets] == [[], [new["id"]], []]
    assert (await system.events(owner))[first_new:] == [
        ("ticket.held", tickets[1]["id"]),
        ("ticket.released", tickets[0]["id"]),
        ("ticket.released", tickets[2]["id"]),
        ("order.expired", old["id"]),
        ("order.created", new["id"]),
    ]
    released = await owner.fetchval(
        "select data from events.outbox where type = 'ticket.released' and subject = $1",
        UUID(tickets[0]["id"]),
    )
    assert (released["previous_order_id"], released["status"]) == (old["id"], "available")


async def test_one_cart_may_displace_several_orders(system: System) -> None:
    await system.start("api")
    seller = system.person("seller")
    show = await factories.show(seller)
    tickets = [await factories.ticket(seller, show["id"]) for _ in range(4)]
    ids = [ticket["id"] for ticket in tickets]
    old = [
        await factories.order(system.person("a"), ids[0], ids[3]),
        await factories.order(system.person("b"), ids[1], ids[2]),
    ]
    owner = await system.connect()
    for order in old:
        await make_overdue(owner, order)
    new = await factories.order(system.person("c"), ids[3], ids[1])
    assert [await status(owner, order) for order in old] == ["expired", "expired"]
    assert [await holder(owner, ticket) for ticket in tickets] == [
        ("available", None),
        ("held", new["id"]),
        ("available", None),
        ("held", new["id"]),
    ]


async def test_a_hold_is_not_taken_over_when_another_ticket_of_the_cart_is_taken(
    system: System,
) -> None:
    await system.start("api")
    old, [overdue] = await cart(system, system.person("first"), 1)
    _, [taken] = await cart(system, system.person("second"), 1)
    owner = await system.connect()
    await make_overdue(owner, old)
    before = await snapshot(owner)
    refused = await system.person("third").post(
        "/api/orders", {"ticket_ids": [overdue["id"], taken["id"]]}
    )
    assert code(refused) == (409, "ticket_unavailable")
    assert refused.json()["ticket_id"] == taken["id"]
    assert await snapshot(owner) == before


async def test_stale_calls_for_the_first_order_do_not_change_the_second(system: System) -> None:
    """The fault of the original: order 1's expiry released the ticket of order 2."""
    await system.start("api")
    first = system.person("first")
    order_1, [ticket] = await cart(system, first, 1)
    assert (await first.delete(f"/api/orders/{order_1['id']}")).status_code == 204
    order_2 = await factories.order(system.person("second"), ticket["id"])
    owner, orders = await system.connect(), await system.connect("orders")
    payments = await system.connect("payments")
    before = await snapshot(owner)
    stale, payment = UUID(order_1["id"]), uuid4()
    assert await orders.fetchval("select tickets.release($1, orders.tickets_of($1))", stale) == 0
    assert (
        await orders.fetchval(
            "select tickets.extend($1, orders.tickets_of($1), now() + interval '1 hour')",
            stale,
        )
        == 0
    )
    assert await orders.fetchval("select tickets.sell($1, orders.tickets_of($1))", stale) == 0
    reserved = await orders.fetchval(
        "select tickets.reserve($1, $2, $3, 'EUR')",
        stale,
        [UUID(ticket["id"])],
        [4500],
    )
    assert reserved is False
    assert await orders.fetchval("select orders.expire_due(1000)") == 0
    assert await orders.fetchval("select orders.close($1, 'expired')", [stale]) == []
    assert await orders.fetchval("select orders.cancel($1, $2)", stale, first.id) == "cancelled"
    begun = await payments.fetchval(
        "select (orders.begin_payment($1, $2, $3)).outcome", stale, first.id, payment
    )
    assert begun == "cancelled"
    assert (
        await payments.fetchval(
            "select orders.settle($1, $2, $3, 'EUR')", stale, payment, order_1["total"]
        )
        == "refused"
    )
    assert await payments.fetchval("select orders.finish($1, $2)", stale, payment) is False
    assert await payments.fetchval("select orders.fail($1, $2)", stale, payment) is False
    assert await snapshot(owner) == before
    assert await holder(owner, ticket) == ("held", order_2["id"])


async def test_a_cancel_does_not_free_a_ticket_that_the_order_lost(system: System) -> None:
    """Order 1 lost its ticket to a takeover: each later call for it is refused."""
    await system.start("api")
    first = system.person("first")
    old, [ticket] = await cart(system, first, 1)
    owner = await system.connect()
    await make_overdue(owner, old)
    new = await factories.order(system.person("second"), ticket["id"])
    assert code(await first.delete(f"/api/orders/{old['id']}")) == (409, "order_not_cancellable")
    assert await holder(owner, ticket) == ("held", new["id"])


async def test_expiry_releases_due_orders_only(system: System) -> None:
    await system.start("api")
    due, tickets = await cart(system, system.person("late"), 3)
    running, others = await cart(system, system.person("punctual"), 2)
    owner, orders = await system.connect(), await system.connect("orders")
    await make_overdue(owner, due)
    first_new = len(await system.events(owner))
    assert await orders.fetchval("select orders.expire_due(1000)") == 1
    assert await status(owner, due) == "expired"
    assert await status(owner, running) == "pending"
    assert [await holder(owner, ticket) for ticket in tickets] == [("available", None)] * 3
    assert [await holder(owner, ticket) for ticket in others] == [("held", running["id"])] * 2
    assert (await system.events(owner))[first_new:] == [
        *(("ticket.released", ticket["id"]) for ticket in tickets),
        ("order.expired", due["id"]),
    ]
    assert await orders.fetchval("select orders.expire_due(1000)") == 0
    assert len(await system.events(owner)) == first_new + 4


async def test_expiry_releases_whole_orders_only(system: System) -> None:
    await system.start("api")
    order, tickets = await cart(system, system.person(), 3)
    owner, orders = await system.connect(), await system.connect("orders")
    await make_overdue(owner, order)
    assert await orders.fetchval("select orders.expire_due(1)") == 1
    assert [await holder(owner, ticket) for ticket in tickets] == [("available", None)] * 3


async def test_expiry_skips_an_order_with_a_locked_ticket(system: System) -> None:
    await system.start("api")
    order, tickets = await cart(system, system.person(), 2)
    owner, orders, rival = (
        await system.connect(),
        await system.connect("orders"),
        await system.connect(),
    )
    await make_overdue(owner, order)
    async with rival.transaction():
        await rival.execute(
            "select 1 from tickets.tickets where id = $1 for no key update", UUID(tickets[1]["id"])
        )
        assert await orders.fetchval("select orders.expire_due(1000)") == 0
        assert [await holder(owner, ticket) for ticket in tickets] == [("held", order["id"])] * 2
        assert await status(owner, order) == "pending"
    assert await orders.fetchval("select orders.expire_due(1000)") == 1
    assert await status(owner, order) == "expired"


async def test_two_expiries_at_once_end_each_order_once(system: System) -> None:
    system.configure(MAX_OPEN_ORDERS="100", MAX_TICKETS_PER_SHOW="100")
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    show = await factories.show(seller)
    specs = [{"price": 100, "currency": "EUR"}] * 60
    tickets = (await seller.post(f"/api/shows/{show['id']}/tickets", {"tickets": specs})).json()[
        "items"
    ]
    owner = await system.connect()
    for number in range(0, 60, 3):
        await factories.order(buyer, *(ticket["id"] for ticket in tickets[number : number + 3]))
    await owner.execute("update tickets.tickets set held_until = now() - interval '1 ms'")
    await owner.execute("update orders.orders set expires_at = now() - interval '1 ms'")
    sweepers = [await system.connect("orders") for _ in range(4)]
    while any(
        await asyncio.gather(
            *(sweeper.fetchval("select orders.expire_due(7)") for sweeper in sweepers)
        )
    ):
        pass
    assert await owner.fetchval("select count(*) from orders.orders where status = 'expired'") == 20
    assert (
        await owner.fetchval("select count(*) from tickets.tickets where status = 'available'")
        == 60
    )
    counts = await owner.fetch(
        "select type, count(*), count(distinct subject) as subjects from events.outbox"
        " where type in ('ticket.released', 'order.expired') group by type order by type"
    )
    assert [tuple(row) for row in counts] == [
        ("order.expired", 20, 20),
        ("ticket.released", 60, 60),
    ]


async def test_a_sellers_change_after_the_hold_ended_keeps_the_ticket_for_sale(
    system: System,
) -> None:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    ticket = await factories.ticket(seller)
    old = await factories.order(buyer, ticket["id"])
    owner = await system.connect()
    await make_overdue(owner, old)
    changed = (await seller.put(f"/api/tickets/{ticket['id']}", {"price": 5000})).json()
    assert (changed["status"], changed["held_until"]) == ("available", None)
    new = await factories.order(system.person("next"), ticket["id"])
    assert await live_orders(owner, ticket) == [new["id"]]
    assert await status(owner, old) == "expired"


async def test_an_order_whose_ticket_was_withdrawn_after_the_hold_expires(
    system: System,
) -> None:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    ticket = await factories.ticket(seller)
    order = await factories.order(buyer, ticket["id"])
    owner, orders = await system.connect(), await system.connect("orders")
    await make_overdue(owner, order)
    assert (await seller.delete(f"/api/tickets/{ticket['id']}")).status_code == 204
    assert await orders.fetchval("select orders.expire_due(1000)") == 1
    assert await status(owner, order) == "expired"
    assert await live_orders(owner, ticket) == []
    assert (await system.events(owner))[-1] == ("order.expired", order["id"])
    assert await holder(owner, ticket) == ("withdrawn", None)
