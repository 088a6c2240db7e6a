"""Many buyers of one ticket have one winner; negative controls without each guard."""

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from tests import factories
from tests.orders.rows import live_orders
from tests.replies import code
from tests.system import Person, System

# `tickets.hold` without its guard: it holds the tickets whether they are free or not.
UNGUARDED_HOLD = """
    create or replace function tickets.hold(
        p_order uuid, p_buyer uuid, p_tickets uuid[], p_until timestamptz, p_displaced uuid[],
        p_beside uuid[], out outcome text, out refused uuid, out refused_until timestamptz,
        out displaced uuid[], out held tickets.tickets[]
    )
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
    as $$
    begin
        with taken as (
            update tickets.tickets t
            set status = 'held', order_id = p_order, held_until = p_until, version = version + 1
            where t.id = any (p_tickets) returning t as ticket
        )
        select array_agg(taken.ticket) into held from taken;
        outcome := 'held';
    end
    $$
"""
NO_INDEX = "drop index orders.lines_one_live_per_ticket"


async def outcomes(buyers: list[Person], *ticket_ids: str) -> Counter[Any]:
    """The numbers of each reply when all buyers order these tickets at the same time."""
    replies = await asyncio.gather(
        *(buyer.post("/api/orders", {"ticket_ids": list(ticket_ids)}) for buyer in buyers)
    )
    return Counter(201 if reply.status_code == 201 else code(reply) for reply in replies)


async def test_a_hundred_simultaneous_orders_for_a_ticket_have_one_winner(system: System) -> None:
    await system.start("api")
    ticket = await factories.ticket(system.person("seller"))
    buyers = [system.person(f"buyer-{number}") for number in range(100)]
    assert await outcomes(buyers, ticket["id"]) == {201: 1, (409, "ticket_unavailable"): 99}
    owner = await system.connect()
    assert len(await live_orders(owner, ticket)) == 1
    assert await owner.fetchval("select count(*) from orders.orders") == 1
    assert [event for event, _ in await system.events(owner)].count("ticket.held") == 1


async def test_carts_in_opposite_orders_neither_deadlock_nor_share_a_ticket(system: System) -> None:
    await system.start("api")
    seller = system.person("seller")
    show = await factories.show(seller)
    specs = [{"price": 100, "currency": "EUR"}] * 6
    owner = await system.connect()
    buyers = [system.person(f"buyer-{number}") for number in range(20)]
    for number in range(6):
        made = await seller.post(f"/api/shows/{show['id']}/tickets", {"tickets": specs})
        ids = [ticket["id"] for ticket in made.json()["items"]]
        chance = random.Random(number)
        carts = [chance.sample(ids, chance.randint(2, 4)) for _ in buyers]
        replies = await asyncio.gather(
            *(
                buyer.post("/api/orders", {"ticket_ids": wanted})
                for buyer, wanted in zip(buyers, carts, strict=True)
            )
        )
        assert {reply.status_code for reply in replies} == {201, 409}
        refusals = {code(reply) for reply in replies if reply.status_code == 409}
        assert refusals == {(409, "ticket_unavailable")}
        won = [
            line["id"]
            for reply in replies
            if reply.status_code == 201
            for line in reply.json()["tickets"]
        ]
        assert len(won) == len(set(won))
        await owner.execute("delete from orders.lines")
        await owner.execute("delete from orders.orders")
    deadlocks = await owner.fetchval(
        "select deadlocks from pg_stat_database where datname = current_database()"
    )
    assert deadlocks == 0


async def test_one_order_takes_over_an_expired_hold(system: System) -> None:
    await system.start("api")
    ticket = await factories.ticket(system.person("seller"))
    await factories.order(system.person("late"), ticket["id"])
    owner = await system.connect()
    await owner.execute("update tickets.tickets set held_until = now() - interval '1 ms'")
    await owner.execute("update orders.orders set expires_at = now() - interval '1 ms'")
    buyers = [system.person(f"buyer-{number}") for number in range(30)]
    assert await outcomes(buyers, ticket["id"]) == {201: 1, (409, "ticket_unavailable"): 29}
    assert len(await live_orders(owner, ticket)) == 1


async def test_holds_cancels_and_expiries_at_random_keep_one_live_order_a_ticket(
    system: System,
) -> None:
    await system.start("api")
    seller = system.person("seller")
    show = await factories.show(seller)
    made = await seller.post(
        f"/api/shows/{show['id']}/tickets", {"tickets": [{"price": 100, "currency": "EUR"}] * 5}
    )
    ids = [ticket["id"] for ticket in made.json()["items"]]
    owner, sweeper = await system.connect(), await system.connect("orders")

    async def shop(number: int) -> set[int]:
        chance, buyer = random.Random(number), system.person(f"buyer-{number}")
        seen = set()
        for _ in range(12):
            reply = await buyer.post(
                "/api/orders", {"ticket_ids": chance.sample(ids, chance.randint(1, 3))}
            )
            seen.add(reply.status_code)
            if reply.status_code == 201 and chance.random() < 0.5:
                seen.add((await buyer.delete(f"/api/orders/{reply.json()['id']}")).status_code)
        return seen

    async def time_passes() -> None:
        for _ in range(15):
            async with owner.transaction():
                # Tickets are locked before orders, as in every transaction.
                await owner.execute(
                    "update tickets.tickets set held_until = clock_timestamp() where id in"
                    " (select id from tickets.tickets"
                    " where status = 'held' order by id for no key update)"
                )
                await owner.execute("update orders.orders set expires_at = clock_timestamp()")
            await sweeper.fetchval("select orders.expire_due(3)")
            await asyncio.sleep(0.01)

    seen, _ = await asyncio.gather(
        asyncio.gather(*(shop(number) for number in range(8))), time_passes()
    )
    assert set[int]().union(*seen) <= {201, 204, 409}
    wrong = await owner.fetch(
        """
        select t.id from tickets.tickets t
        left join orders.lines l on l.ticket_id = t.id and l.live
        where (t.order_id is not null) <> (l.order_id is not null) or t.order_id <> l.order_id
        """
    )
    assert wrong == []
    gaps = await owner.fetch(
        "select subject from events.outbox group by subject having max(version) <> count(*)"
    )
    assert gaps == []


@pytest.mark.parametrize(
    ("changes", "live"),
    [([UNGUARDED_HOLD], 1), ([UNGUARDED_HOLD, NO_INDEX], 20)],
    ids=["the index refuses what the guard lets through", "without both the ticket is sold twice"],
)
async def test_the_guard_and_the_index_each_prevent_a_double_sale(
    changes: list[str], live: int, system: System
) -> None:
    """The negative control of this file: without both guards, the races above are lost."""
    owner = await system.connect()
    for change in changes:
        await owner.execute(change)
    await system.start("api")
    ticket = await factories.ticket(system.person("seller"))
    buyers = [system.person(f"buyer-{number}") for number in range(20)]
    seen = await outcomes(buyers, ticket["id"])
    assert seen == Counter({201: live, (409, "ticket_unavailable"): 20 - live})
    assert len(await live_orders(owner, ticket)) == live
