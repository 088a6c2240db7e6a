"""All functions that lock tickets and orders run in parallel on few tickets without a deadlock."""

import asyncio
import random
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec

from backend.kernel import correlation
from backend.kernel.budgets import UNLIMITED
from backend.orders import queries
from backend.orders.queries import Placing
from tests import factories
from tests.system import System

TICKETS = 40
CONNECTIONS = 16
SECONDS = 6.0

# List sold tickets again, as a refund does: lock tickets in id order, then orders.
RELIST = """
with back as (
    select t.id, t.order_id from tickets.tickets t
    where t.status = 'sold' order by t.id for no key update skip locked
), freed as (
    update tickets.tickets t
    set status = 'available', order_id = null, version = t.version + 1
    from back where t.id = back.id
)
update orders.lines l set live = false from back where l.ticket_id = back.id
"""

# Lock the order before its tickets, against the lock order, and wait so that others meet it.
TICKETS_FIRST = "perform tickets.release(p_order, orders.tickets_of(p_order));"
ORDER_FIRST = (
    "perform 1 from orders.orders o where o.id = p_order for no key update;"
    f" perform pg_sleep(0.02); {TICKETS_FIRST}"
)


class Crowd:
    """Connections that each run one operation after another, for SECONDS."""

    def __init__(self, system: System, owner: Any, ticket_ids: list[UUID]) -> None:
        self._system = system
        self._owner = owner
        self._asking = asyncio.Lock()
        self._ticket_ids = ticket_ids
        self._ends_at = asyncio.get_running_loop().time() + SECONDS
        self.seen: Counter[str] = Counter()

    async def run(self) -> Counter[str]:
        await asyncio.gather(*(self._live(number) for number in range(CONNECTIONS)))
        return self.seen

    async def _live(self, number: int) -> None:
        chance = random.Random(number)
        connection = await self._system.connect(("orders", "orders", "payments", None)[number % 4])
        work = (self._shop, self._shop, self._pay, self._tidy)[number % 4]
        while asyncio.get_running_loop().time() < self._ends_at and not self.seen["deadlock"]:
            try:
                with correlation.bound():
                    self.seen[await work(connection, chance)] += 1
            except asyncpg.LockNotAvailableError:
                self.seen["lock_not_available"] += 1
            except asyncpg.DeadlockDetectedError:
                self.seen["deadlock"] += 1

    async def _shop(self, connection: Any, chance: random.Random) -> str:
        """Hold a cart, often over an expired hold; cancel some orders, and expire due ones."""
        if chance.random() < 0.1:
            return f"expired {bool(await queries.expire_due(connection, 5))}"
        placing = Placing(
            buyer_id=uuid4(),
            ticket_ids=sorted(chance.sample(self._ticket_ids, chance.randint(1, 4))),
            hold=timedelta(milliseconds=chance.choice((5, 20, 200))),
            grace=timedelta(milliseconds=100),
            fee_percent=Decimal(5),
            max_open_orders=5,
            max_tickets_per_show=TICKETS,
            rehold=timedelta(),
            budgets=UNLIMITED,
            reply=None,
        )
        placed = await queries.place(connection, placing)
        if placed.body is None:
            return placed.outcome
        order = msgspec.json.decode(placed.body)
        if chance.random() < 0.3:
            return f"cancel {await queries.cancel(connection, UUID(order['id']), placing.buyer_id)}"
        return placed.outcome

    async def _pay(self, connection: Any, chance: random.Random) -> str:
        """Take an order through its payment, or fail it after the authorisation."""
        order = await self._order(chance)
        if order is None:
            return "nothing to pay"
        payment = uuid4()
        call = connection.fetchval
        begun = await call(
            "select outcome from orders.begin_payment($1, $2, $3)",
            order["id"],
            order["buyer_id"],
            payment,
        )
        settled = await call(
            "select orders.settle($1, $2, $3, 'EUR')",
            order["id"],
            payment,
            order["total"],
        )
        if settled == "won":
            end = chance.choice(("finish", "finish", "fail"))
            return f"{end} {await call(f'select orders.{end}($1, $2)', order['id'], payment)}"
        return f"begun {begun}, settled {settled}"

    async def _tidy(self, connection: Any, chance: random.Random) -> str:
        await connection.execute(RELIST)
        await asyncio.sleep(0.01)
        return "relisted"

    async def _order(self, chance: random.Random) -> Any:
        """One of the newest orders, in any status."""
        async with self._asking:
            return await self._owner.fetchrow(
                "select id, buyer_id, total from orders.orders order by id desc offset $1 limit 1",
                chance.randint(0, 8),
            )


async def crowd(system: System) -> Crowd:
    await system.start("api")
    seller = system.person("seller")
    show = await factories.show(seller)
    specs = [{"price": 100, "currency": "EUR"}] * TICKETS
    made = await seller.post(f"/api/shows/{show['id']}/tickets", {"tickets": specs})
    return Crowd(
        system, await system.connect(), [UUID(ticket["id"]) for ticket in made.json()["items"]]
    )


async def deadlocks(owner: Any) -> int:
    await owner.execute("select pg_stat_force_next_flush()")
    found: int = await owner.fetchval(
        "select deadlocks from pg_stat_database where datname = current_database()"
    )
    return found


async def test_carts_payments_cancels_expiries_and_takeovers_never_deadlock(system: System) -> None:
    people = await crowd(system)
    seen = await people.run()
    owner = await system.connect()
    assert (seen["deadlock"], await deadlocks(owner)) == (0, 0)
    # Each operation did happen.
    happened = {outcome for outcome, count in seen.items() if count >= 3}
    assert happened >= {
        "placed",
        "ticket_unavailable",
        "cancel done",
        "expired True",
        "finish True",
        "fail True",
    }
    takeovers = await owner.fetchval(
        "select count(*) from tickets.audit where from_status = 'held' and to_status = 'held'"
    )
    assert takeovers > 10
    await assert_nothing_is_shared(owner)


async def assert_nothing_is_shared(owner: Any) -> None:
    """The order of a taken ticket has its one live line, and each version has one event."""
    assert (
        await owner.fetch(
            """
        select t.id from tickets.tickets t
        left join orders.lines l on l.ticket_id = t.id and l.live
        where (t.order_id is not null) <> (l.order_id is not null) or t.order_id <> l.order_id
        """
        )
        == []
    )
    assert (
        await owner.fetch(
            """
        select subject from events.outbox where type like 'order.%'
        group by subject having max(version) <> count(*) or max(version) <> count(distinct version)
        """
        )
        == []
    )


async def test_a_function_that_locks_the_order_first_deadlocks(system: System) -> None:
    """The negative control: the same operations, with one function in the other lock order."""
    people = await crowd(system)
    owner = await system.connect()
    defined = await owner.fetchval("select pg_get_functiondef('orders.cancel'::regproc)")
    assert TICKETS_FIRST in defined
    await owner.execute(defined.replace(TICKETS_FIRST, ORDER_FIRST))
    seen = await people.run()
    assert seen["deadlock"] > 0
