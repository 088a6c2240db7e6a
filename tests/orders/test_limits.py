"""The limits of one buyer, also with parallel requests, and the end of each limit."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests import factories
from tests.orders.rows import backdate
from tests.replies import code
from tests.system import Person, System


async def tickets_of_a_show(seller: Person, count: int) -> list[str]:
    show = await factories.show(seller)
    specs = [{"price": 100, "currency": "EUR"}] * count
    made = await seller.post(f"/api/shows/{show['id']}/tickets", {"tickets": specs})
    return [ticket["id"] for ticket in made.json()["items"]]


async def order_in_parallel(buyer: Person, *carts: list[str]) -> Counter[Any]:
    replies = await asyncio.gather(
        *(buyer.post("/api/orders", {"ticket_ids": cart}) for cart in carts)
    )
    return Counter(201 if reply.status_code == 201 else code(reply) for reply in replies)


async def without_the_buyers_lock(owner: Any) -> None:
    await replace_in(
        owner,
        "orders.wait_for_buyer",
        "perform pg_advisory_xact_lock(hashtextextended('buyer:' || p_buyer, 0));",
        "",
    )
    # The winner of a race is quick; with a pause before the insert every order has been counted.
    await replace_in(
        owner, "orders.insert_order", "with lined as (", "perform pg_sleep(0.2); with lined as ("
    )


async def replace_in(owner: Any, function: str, text: str, replacement: str) -> None:
    """Define the function again with another text."""
    definition = await owner.fetchval("select pg_get_functiondef($1::regproc)", function)
    assert text in definition
    await owner.execute(definition.replace(text, replacement))


@pytest.mark.parametrize(
    ("settings", "refusal"),
    [
        ({"MAX_OPEN_ORDERS": "3"}, "too_many_open_orders"),
        ({"MAX_TICKETS_PER_SHOW": "3"}, "too_many_tickets_of_show"),
    ],
    ids=["open orders", "tickets of a show"],
)
async def test_of_two_parallel_orders_at_the_limit_one_is_placed(
    settings: dict[str, str], refusal: str, system: System
) -> None:
    system.configure(**settings)
    await system.start("api")
    seller = system.person("seller")
    for number in range(5):
        buyer, ids = system.person(f"buyer-{number}"), await tickets_of_a_show(seller, 4)
        assert await order_in_parallel(buyer, ids[:1], ids[1:2]) == {201: 2}
        assert await order_in_parallel(buyer, ids[2:3], ids[3:]) == {201: 1, (409, refusal): 1}


@pytest.mark.parametrize("setting", ["MAX_OPEN_ORDERS", "MAX_TICKETS_PER_SHOW"])
async def test_without_the_buyers_lock_two_parallel_orders_pass_the_limit(
    setting: str, system: System
) -> None:
    """The negative control of the test above."""
    system.configure(**{setting: "3"})
    await without_the_buyers_lock(await system.connect())
    await system.start("api")
    buyer, ids = system.person("buyer"), await tickets_of_a_show(system.person("seller"), 4)
    await order_in_parallel(buyer, ids[:1], ids[1:2])
    assert await order_in_parallel(buyer, ids[2:3], ids[3:]) == {201: 2}


async def test_the_limit_of_a_show_counts_held_and_bought_tickets(system: System) -> None:
    system.configure(MAX_TICKETS_PER_SHOW="3")
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    ids, elsewhere = await tickets_of_a_show(seller, 6), await tickets_of_a_show(seller, 3)
    kept = await factories.order(buyer, *ids[:2])
    refused = await buyer.post("/api/orders", {"ticket_ids": ids[2:4]})
    assert (code(refused), refused.json()["max_tickets_per_show"]) == (
        (409, "too_many_tickets_of_show"),
        3,
    )
    # All or none: the refused tickets are free, and another show has a limit of its own.
    assert (await buyer.get(f"/api/tickets/{ids[2]}")).json()["status"] == "available"
    await factories.order(buyer, *elsewhere)
    owner = await system.connect()
    await owner.execute("select from orders.begin_payment($1, $2, $1)", kept["id"], buyer.id)
    await owner.execute("select orders.settle($1, $1, $2, 'EUR')", kept["id"], kept["total"])
    await owner.execute("select orders.finish($1, $1)", kept["id"])
    last = await factories.order(buyer, ids[2])
    assert code(await buyer.post("/api/orders", {"ticket_id": ids[3]})) == (
        409,
        "too_many_tickets_of_show",
    )
    assert (await buyer.delete(f"/api/orders/{last['id']}")).status_code == 204
    await factories.order(buyer, ids[3])


async def test_a_long_hold_counts_as_open_until_its_end(system: System) -> None:
    system.configure(
        HOLD_SECONDS="300", MAX_OPEN_ORDERS="1", REHOLD_SECONDS="0", PAYMENT_GRACE_SECONDS="1"
    )
    await system.start("api")
    buyer, owner = system.person("buyer"), await system.connect()
    ids = await tickets_of_a_show(system.person("seller"), 2)
    order = await factories.order(buyer, ids[0])
    await backdate(owner, order, seconds=290)
    refused = await buyer.post("/api/orders", {"ticket_id": ids[1]})
    assert code(refused) == (409, "too_many_open_orders")
