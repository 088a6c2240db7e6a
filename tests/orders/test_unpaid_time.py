"""The budgets of unpaid ticket-seconds, and the wait for a ticket that its buyer gave up."""

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from backend.events.resources import open_resources
from tests import factories
from tests.factories import Json
from tests.orders.rows import elapse, make_overdue, used_of
from tests.orders.test_limits import replace_in, tickets_of_a_show
from tests.replies import code
from tests.system import Person, System
from workers.main import purge_budgets

HOME = "203.0.113.9"
GUARD = "<= v_now + interval '1 hour'"


def limit(system: System, **settings: str) -> None:
    """Switch the limits on. The tests send the client's address as a proxy does."""
    system.configure(RATE_LIMITS="on", TRUSTED_PROXIES="127.0.0.1", **settings)


async def hold(
    buyer: Person, *ticket_ids: str, address: str = HOME, key: str | None = None
) -> httpx.Response:
    body = {"ticket_ids": list(ticket_ids)}
    return await buyer.post("/api/orders", body, key=key, X_Forwarded_For=address)


async def held(buyer: Person, *ticket_ids: str, address: str = HOME) -> Json:
    reply = await hold(buyer, *ticket_ids, address=address)
    assert reply.status_code == 201, reply.text
    made: Json = reply.json()
    return made


async def cancel(buyer: Person, order: Json) -> None:
    assert (await buyer.delete(f"/api/orders/{order['id']}")).status_code == 204


async def tickets(system: System, count: int) -> list[str]:
    """Tickets of one seller, each in a show with 15 others at most."""
    seller = system.person("seller")
    found: list[str] = []
    while len(found) < count:
        found += await tickets_of_a_show(seller, min(16, count - len(found)))
    return found


async def test_an_account_that_cancels_and_holds_again_uses_its_budget_up(system: System) -> None:
    """The attack: 16 tickets, cancelled after 28 seconds, fourteen times."""
    limit(system)
    await system.start("api")
    owner, hoarder = await system.connect(), system.person("hoarder")
    # Two sets in turns, so that no ticket has to wait.
    sets = [await tickets(system, 16), await tickets(system, 16)]
    rounds = 0
    refused: httpx.Response | None = None
    while rounds < 14 and refused is None:
        replies = [await hold(hoarder, *sets[rounds % 2][part : part + 8]) for part in (0, 8)]
        refused = next((reply for reply in replies if reply.status_code != 201), None)
        await elapse(owner, 28)
        for reply in replies:
            if reply.status_code == 201:
                await cancel(hoarder, reply.json())
        await elapse(owner, 40)
        rounds += refused is None
    # A round uses 16 times 28 of 3,600 ticket-seconds, and 68 of them are back before the next.
    assert rounds == 7
    assert refused is not None
    assert (code(refused), refused.json()["limited"]) == ((429, "cooling_down"), "account")
    assert 0 < int(refused.headers["Retry-After"]) < 1_000
    await elapse(owner, int(refused.headers["Retry-After"]))
    await held(hoarder, *sets[rounds % 2][8:])


async def test_a_held_and_cancelled_ticket_costs_ten_seconds_at_least(system: System) -> None:
    limit(system)
    await system.start("api")
    owner, buyer = await system.connect(), system.person("buyer")
    ids = await tickets(system, 3)
    await cancel(buyer, await held(buyer, *ids[:2]))
    assert 18 < await used_of(owner, f"unpaid account {buyer.id}") <= 20
    order = await held(buyer, ids[2])
    await elapse(owner, 30)
    await cancel(buyer, order)
    assert await used_of(owner, f"unpaid account {buyer.id}") == pytest.approx(20, abs=2)


@pytest.mark.parametrize("end", ["cancelled", "expired", "overdue"])
async def test_a_ticket_that_its_buyer_gave_up_is_for_others_first(
    end: str, system: System
) -> None:
    limit(system)
    await system.start("api")
    owner, buyer = await system.connect(), system.person("buyer")
    given_up, beside = await tickets(system, 2)
    order = await held(buyer, given_up)
    if end == "cancelled":
        await cancel(buyer, order)
    else:
        await make_overdue(owner, order)
    if end == "expired":
        await owner.fetchval("select orders.expire_due(10)")
    refused = await hold(buyer, given_up, beside)
    assert (code(refused), refused.json()["ticket_id"]) == ((429, "ticket_given_up"), given_up)
    assert 55 <= int(refused.headers["Retry-After"]) <= 60
    assert refused.json()["retry_at"]
    # All or none: the other ticket is free. Another buyer need not wait.
    await held(buyer, beside)
    taken = await held(system.person("another"), given_up)
    await elapse(owner, 61)
    await owner.fetchval("select orders.expire_due(10)")
    assert taken
    await held(buyer, given_up)


async def test_an_order_that_is_repeated_with_its_key_is_no_second_hold(system: System) -> None:
    limit(system)
    await system.start("api")
    owner, buyer = await system.connect(), system.person("buyer")
    (ticket,) = await tickets(system, 1)
    key = str(uuid4())
    first = await hold(buyer, ticket, key=key)
    await cancel(buyer, first.json())
    again = await hold(buyer, ticket, key=key)
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])
    assert await used_of(owner, f"unpaid account {buyer.id}") <= 10


async def test_the_accounts_of_one_address_share_its_budget(system: System) -> None:
    """The attack: 20 accounts of one address hold 16 tickets each, at once."""
    limit(system)
    await system.start("api")
    ids = await tickets(system, 320)
    hoarders = [system.person(f"hoarder-{number}") for number in range(20)]
    replies = await asyncio.gather(
        *(
            hold(hoarders[part // 2], *ids[8 * part : 8 * part + 8], address=HOME)
            for part in range(40)
        )
    )
    outcomes = Counter(201 if reply.status_code == 201 else code(reply) for reply in replies)
    # 7,200 ticket-seconds are 15 orders of 8 tickets for 60 seconds.
    assert outcomes == {201: 15, (429, "cooling_down"): 25}
    refused = [reply.json() for reply in replies if reply.status_code == 429]
    assert {problem["limited"] for problem in refused} == {"network"}
    await held(system.person("elsewhere"), ids[-1], address="203.0.113.10")


async def order_at_once(system: System, orders: int) -> Counter[Any]:
    """Orders of as many accounts of one address, which may hold one ticket. Each has passed the
    first check when the first is charged.
    """
    limit(
        system,
        MAX_TICKETS_PER_ORDER="1",
        UNPAID_TICKET_SECONDS_OF_ADDRESS="60",
        DATABASE_POOL_SIZE=str(orders),
    )
    await replace_in(
        await system.connect(),
        "tickets.set_held",
        "begin\n",
        "begin\n perform pg_sleep(0.5);\n",
    )
    await system.start("api")
    ids = await tickets(system, orders)
    replies = await asyncio.gather(
        *(hold(system.person(f"buyer-{ticket}"), ticket) for ticket in ids)
    )
    return Counter(201 if reply.status_code == 201 else code(reply) for reply in replies)


async def test_of_parallel_orders_at_the_limit_of_an_address_one_is_placed(
    system: System,
) -> None:
    assert await order_at_once(system, 6) == {201: 1, (429, "cooling_down"): 5}


async def test_without_the_guarded_charge_parallel_orders_pass_the_limit(system: System) -> None:
    """The negative control of the test above."""
    await replace_in(await system.connect(), "orders.charge", GUARD, "is not null")
    assert await order_at_once(system, 6) == {201: 6}


async def test_a_64_has_a_budget_and_a_48_four_times_that(system: System) -> None:
    limit(system, MAX_TICKETS_PER_ORDER="1", UNPAID_TICKET_SECONDS_OF_ADDRESS="60")
    await system.start("api")
    ids = iter(await tickets(system, 8))

    async def outcome(address: str) -> Any:
        reply = await hold(system.person(address.replace(":", "-")), next(ids), address=address)
        return 201 if reply.status_code == 201 else (code(reply), reply.json()["limited"])

    refused = ((429, "cooling_down"), "network")
    assert await outcome("2001:db8:1:1::1") == 201
    assert await outcome("2001:db8:1:1:ffff::2") == refused
    assert [await outcome(f"2001:db8:1:{part}::1") for part in (2, 3, 4)] == [201] * 3
    assert await outcome("2001:db8:1:5::1") == refused
    assert await outcome("2001:db8:2:1::1") == 201


async def test_a_paid_hold_uses_nothing(system: System) -> None:
    limit(system)
    await system.start("api", "stripe")
    owner, buyer = await system.connect(), system.person("buyer")
    order = await held(buyer, *await tickets(system, 4))
    for subject in (f"unpaid account {buyer.id}", f"unpaid network {HOME}"):
        assert 235 < await used_of(owner, subject) <= 240
    await elapse(owner, 20)
    assert (await factories.payment(buyer, order["id"]))["status"] == "captured"
    assert await used_of(owner, "unpaid ") == 0


async def test_the_extension_of_a_payment_is_charged(system: System) -> None:
    limit(system)
    await system.start("api", "stripe")
    owner, buyer = await system.connect(), system.person("buyer")
    order = await held(buyer, *await tickets(system, 2))
    await elapse(owner, 50)
    before = await used_of(owner, f"unpaid account {buyer.id}")
    body = {"order_id": order["id"], "payment_method": "pm_card_chargeDeclined"}
    assert (await buyer.post("/api/payments", body)).status_code == 402
    after = await used_of(owner, f"unpaid account {buyer.id}")
    # Its hold ends 60 seconds after the payment instead of 10.
    assert after - before == pytest.approx(2 * 50, abs=4)


async def test_a_late_payment_gives_its_unpaid_time_back(system: System) -> None:
    limit(system)
    await system.start("api")
    owner, buyer = await system.connect(), system.person("buyer")
    order = await held(buyer, *await tickets(system, 2))
    order_id = UUID(order["id"])
    await owner.execute("select from orders.begin_payment($1, $2, $1)", order_id, buyer.id)
    await elapse(owner, 61)
    await owner.fetchval("select orders.expire_due(10)")
    assert 50 < await used_of(owner, f"unpaid account {buyer.id}") < 60
    settle = "select orders.settle($1, $1, $2, 'EUR')"
    assert await owner.fetchval(settle, order_id, order["total"]) == "won"
    assert await used_of(owner, f"unpaid account {buyer.id}") == 0


async def test_an_address_is_stored_in_its_budget_only_and_no_longer_than_needed(
    system: System,
) -> None:
    limit(system)
    await system.start("api", "stripe")
    owner, buyer = await system.connect(), system.person("buyer")
    first, second = await tickets(system, 2)
    order = await held(buyer, first)
    assert (await factories.payment(buyer, order["id"]))["status"] == "captured"
    await cancel(buyer, await held(buyer, second))
    assert await tables_with(owner, HOME) == ["orders.budgets"]
    async with open_resources(system.settings, "orders") as orders:
        # A budget that a running hold may use stays.
        await purge_budgets({"orders": orders})
        assert await tables_with(owner, HOME) == ["orders.budgets"]
        await elapse(owner, 3_600 + 300)
        await purge_budgets({"orders": orders})
    assert await owner.fetchval("select count(*) from orders.budgets") == 0
    assert await tables_with(owner, HOME) == []


async def tables_with(owner: Any, text: str) -> list[str]:
    """The tables that have a row with this text."""
    names = await owner.fetch(
        """
        select c.oid::regclass::text as name from pg_class c
        where c.relkind = 'r' and c.relnamespace::regnamespace::text in
            ('auth', 'tickets', 'orders', 'payments', 'push', 'events')
        """
    )
    return [
        row["name"]
        for row in names
        if await owner.fetchval(
            f"select exists (select from {row['name']} t where t::text like $1)", f"%{text}%"
        )
    ]
