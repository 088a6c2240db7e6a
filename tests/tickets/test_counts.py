"""The counters of shows: equal to a count of the tickets, at a cost that does not grow."""

import asyncio
import random
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from backend.check.client_state import MISCOUNTED_SECTIONS_SQL, MISCOUNTED_SQL
from backend.tickets import queries
from tests import factories
from tests.orders.rows import make_overdue
from tests.system import System, until

# Inserts so many tickets of a show, at as many prices.
MANY_TICKETS = """
    insert into tickets.tickets (show_id, seller_id, seller_name, price, currency)
    select $1, $2, 'seller', 100 + n, 'EUR' from generate_series(1, $3::int) n
"""

TABLES = (
    "count_changes",
    "show_counts",
    "price_counts",
    "hold_counts",
    "section_counts",
    "section_price_counts",
)

OVERDUE = """
    with ticket as (
        update tickets.tickets set held_until = now() - interval '1 second'
        where order_id = $1 and status = 'held'
    )
    update orders.orders set expires_at = now() - interval '1 second' where id = $1
"""


async def miscounted(owner: Any) -> list[str]:
    found = [*await owner.fetch(MISCOUNTED_SQL), *await owner.fetch(MISCOUNTED_SECTIONS_SQL)]
    return [row[0] for row in found]


async def blocks_read(owner: Any, show_id: UUID) -> int:
    """How many blocks Postgres reads for the counts of a show, with the plans cached."""
    await owner.fetch("select * from tickets.availability($1)", show_id)
    (plan,) = await owner.fetchval(
        "explain (analyze, buffers, format json) select * from tickets.availability($1)", show_id
    )
    blocks: int = plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
    return blocks


async def fold(tickets: Any) -> None:
    while await queries.fold_counts(tickets, 1_000):
        pass


@pytest.mark.parametrize("seed", range(4))
async def test_the_counters_equal_a_count_after_any_changes(seed: int, system: System) -> None:
    """Holds, cancellations, expiries, sales, changes, hidings and folds, in any order."""
    await system.start("api")
    chance = random.Random(seed)
    seller, owner = system.person("seller"), await system.connect()
    tickets, payments = await system.connect("tickets"), await system.connect("payments")
    show = await factories.show(seller)
    ids = [
        (await factories.ticket(seller, show["id"], price=100 + n % 3, currency=currency))["id"]
        for n, currency in enumerate(["EUR", "EUR", "EUR", "EUR", "USD", "USD", "GBP"])
    ]
    orders: list[Any] = []
    for step in range(60):
        ticket_id, order = chance.choice(ids), chance.choice(orders or [None])
        match chance.randrange(9):
            case 0 | 1:
                buyer = system.person(f"buyer-{step}")
                reply = await buyer.post("/api/orders", {"ticket_id": ticket_id})
                orders += [(buyer, reply.json())] if reply.status_code == 201 else []
            case 2 if order:
                await order[0].delete(f"/api/orders/{order[1]['id']}")
            case 3 if order:
                await owner.execute(OVERDUE, UUID(order[1]["id"]))
            case 4 if order:
                order_id, payment = UUID(order[1]["id"]), uuid4()
                await payments.execute(
                    "select from orders.begin_payment($1, $2, $3)", order_id, order[0].id, payment
                )
                await payments.execute(
                    "select orders.settle($1, $2, $3, $4)",
                    order_id,
                    payment,
                    order[1]["total"],
                    order[1]["currency"],
                )
                if chance.random() < 0.5:
                    await payments.execute("select orders.finish($1, $2)", order_id, payment)
            case 5:
                section = chance.choice([None, "Balcony", "Floor"])
                change = {"price": 90 + chance.randrange(30), "section": section}
                await seller.put(f"/api/tickets/{ticket_id}", change)
            case 6:
                action = chance.choice(["hide", "unhide"])
                await seller.post(f"/api/tickets/{ticket_id}/{action}")
            case 7:
                await queries.fold_counts(tickets, chance.choice([1, 3, 1_000]))
            case 8 if chance.random() < 0.2:
                await seller.delete(f"/api/tickets/{ticket_id}")
        assert await miscounted(owner) == [], step
    await fold(tickets)
    assert await owner.fetchval("select count(*) from tickets.count_changes") == 0
    assert await miscounted(owner) == []


async def test_the_counts_of_a_show_cost_the_same_with_many_tickets(system: System) -> None:
    """The attack: 80,000 tickets, each at a price of its own."""
    await system.start("api")
    seller, owner = system.person("seller"), await system.connect()
    tickets = await system.connect("tickets")
    await owner.execute("set statement_timeout = '60s'")
    costs = []
    for count in (100, 80_000):
        show_id = UUID((await factories.show(seller))["id"])
        await owner.execute(MANY_TICKETS, show_id, seller.id, count, timeout=60)
        await fold(tickets)
        await owner.execute("vacuum tickets.count_changes")
        row = await owner.fetchrow("select * from tickets.availability($1)", show_id)
        assert (row["available"], row["from_price"]) == (count, 101)
        costs.append(await blocks_read(owner, show_id))
    assert max(costs) < 40, costs


async def test_holds_of_one_show_do_not_wait_for_each_other(system: System) -> None:
    """A transaction that has held one ticket stays open; others hold tickets of the same show."""
    await system.start("api")
    seller = system.person("seller")
    show = await factories.show(seller)
    made = [await factories.ticket(seller, show["id"]) for _ in range(6)]
    orders = await system.connect("orders")
    transaction = orders.transaction()
    await transaction.start()
    await orders.execute(
        "select outcome from tickets.hold("
        "$1, $2, array[$3::uuid], now() + interval '1 minute', null, null)",
        uuid4(),
        uuid4(),
        UUID(made[0]["id"]),
    )
    owner = await system.connect()
    await owner.fetchval("select tickets.fold_counts(1000)")
    replies = await asyncio.gather(
        *(
            system.person(f"buyer-{n}").post("/api/orders", {"ticket_id": ticket["id"]})
            for n, ticket in enumerate(made[1:])
        )
    )
    assert [reply.status_code for reply in replies] == [201] * 5
    await transaction.rollback()
    assert await miscounted(owner) == []


async def test_two_folds_at_once_count_each_change_once(system: System) -> None:
    await system.start("api")
    seller, owner = system.person("seller"), await system.connect()
    show_id = UUID((await factories.show(seller))["id"])
    for _ in range(20):
        await owner.execute(MANY_TICKETS, show_id, seller.id, 50)
    folders = [await system.connect("tickets") for _ in range(6)]
    await asyncio.gather(*(fold(folder) for folder in folders))
    assert await miscounted(owner) == []
    await fold(folders[0])
    assert await owner.fetchval("select count(*) from tickets.count_changes") == 0
    assert await owner.fetchval("select available from tickets.show_counts") == 1_000


async def test_the_worker_folds_the_changes(system: System) -> None:
    await system.start("api", "worker")
    seller, owner = system.person("seller"), await system.connect()
    await factories.ticket(seller)

    async def folded() -> bool:
        waiting = await owner.fetchval("select count(*) from tickets.count_changes")
        counted = await owner.fetchval("select count(*) from tickets.show_counts")
        return bool(waiting == 0 and counted)

    await until(folded, seconds=10)
    assert await miscounted(owner) == []


async def test_a_recount_repairs_the_counters(system: System) -> None:
    await system.start("api")
    seller, owner = system.person("seller"), await system.connect()
    ticket = await factories.ticket(seller)
    await owner.execute("update tickets.count_changes set available = 7")
    assert await miscounted(owner) != []
    await owner.execute("select tickets.recount()")
    assert await miscounted(owner) == []
    shown = (await seller.get(f"/api/shows/{ticket['show_id']}")).json()
    assert shown["available"] == 1


async def test_the_tickets_service_cannot_change_the_counters(system: System) -> None:
    tickets = await system.connect("tickets")
    for table in TABLES:
        for statement in (
            f"delete from tickets.{table}",
            f"insert into tickets.{table} default values",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await tickets.execute(statement)


async def test_the_lowest_price_skips_tickets_that_are_taken(system: System) -> None:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    show = await factories.show(seller)
    made = [await factories.ticket(seller, show["id"], price=price) for price in (100, 200, 300)]
    tickets, owner = await system.connect("tickets"), await system.connect()

    async def from_price() -> int | None:
        price: int | None = (await buyer.get(f"/api/shows/{show['id']}")).json()["from_price"]
        return price

    for folds in (False, True):
        if folds:
            await fold(tickets)
        assert await from_price() == 100
        order = await factories.order(buyer, made[0]["id"])
        assert await from_price() == 200
        await make_overdue(owner, order)
        assert await from_price() == 100
        other = await factories.order(buyer, made[0]["id"], made[1]["id"])
        assert await from_price() == 300
        await buyer.delete(f"/api/orders/{other['id']}")
