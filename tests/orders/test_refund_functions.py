"""The functions for refunds: begin, finish, fail. A stale call changes nothing."""

import asyncio
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest

from tests import factories
from tests.factories import Json
from tests.orders.rows import holder, live_orders, snapshot, status
from tests.system import Person, System

# `tickets.unsell` without its guard: it finds tickets by id alone, whichever order has them.
UNGUARDED_UNSELL = """
    create or replace function tickets.unsell(
        p_order uuid, p_tickets uuid[], p_relist boolean
    ) returns int
    language sql volatile security definer set search_path = pg_catalog, pg_temp
    as $$
        with unsold as (
            update tickets.tickets t
            set status = 'available', order_id = null, held_until = null, version = version + 1
            where t.id = any (p_tickets) returning 1
        )
        select count(*)::int from unsold
    $$
"""


class Scenario(NamedTuple):
    """A completed order of two tickets, and a connection with the role of payments."""

    seller: Person
    buyer: Person
    order: Json
    tickets: list[Json]
    owner: Any
    payments: Any
    payment: UUID

    @property
    def order_id(self) -> UUID:
        return UUID(self.order["id"])

    async def begin(
        self,
        refund: UUID,
        *,
        by: UUID | None = None,
        buyer_may: bool = False,
        relist: bool = False,
        connection: Any = None,
    ) -> Any:
        return await (connection or self.payments).fetchrow(
            "select * from orders.begin_refund($1, $2, $3, $4, $5)",
            self.order_id,
            refund,
            by or self.seller.id,
            buyer_may,
            relist,
        )

    async def finish(self, refund: UUID, *, relist: bool = True) -> bool:
        done: bool = await self.payments.fetchval(
            "select orders.finish_refund($1, $2, $3)", self.order_id, refund, relist
        )
        return done

    async def fail(self, refund: UUID) -> bool:
        done: bool = await self.payments.fetchval(
            "select orders.fail_refund($1, $2)", self.order_id, refund
        )
        return done

    async def holders(self) -> list[tuple[str, str | None]]:
        return [await holder(self.owner, ticket) for ticket in self.tickets]

    async def newest_event_types(self, count: int) -> list[str]:
        found = await self.owner.fetch(
            "select type from events.outbox order by id desc limit $1", count
        )
        return [each["type"] for each in found]


@pytest.fixture
async def scenario(system: System) -> Scenario:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    show = await factories.show(seller)
    tickets = [await factories.ticket(seller, show["id"]) for _ in range(2)]
    order = await factories.order(buyer, *(ticket["id"] for ticket in tickets))
    payments, payment = await system.connect("payments"), uuid4()
    await complete(payments, order, buyer, payment)
    return Scenario(seller, buyer, order, tickets, await system.connect(), payments, payment)


async def complete(payments: Any, order: Json, buyer: Person, payment: UUID) -> None:
    order_id, total = UUID(order["id"]), order["total"]
    await payments.execute(
        "select from orders.begin_payment($1, $2, $3)", order_id, buyer.id, payment
    )
    await payments.execute("select orders.settle($1, $2, $3, 'EUR')", order_id, payment, total)
    assert await payments.fetchval("select orders.finish($1, $2)", order_id, payment)


async def test_a_refund_begins_with_the_paid_amount_and_leaves_the_tickets_sold(
    scenario: Scenario,
) -> None:
    begun = await scenario.begin(uuid4())
    assert (begun["outcome"], begun["payment"]) == ("ok", scenario.payment)
    assert (begun["amount"], begun["currency"]) == (9450, "EUR")
    assert await status(scenario.owner, scenario.order) == "refund_pending"
    assert await scenario.holders() == [("sold", scenario.order["id"])] * 2
    assert [await live_orders(scenario.owner, ticket) for ticket in scenario.tickets] == [
        [scenario.order["id"]]
    ] * 2
    assert await scenario.newest_event_types(1) == ["order.updated"]


@pytest.mark.parametrize(
    ("relist", "becomes", "event"),
    [(True, "available", "ticket.released"), (False, "withdrawn", "ticket.withdrawn")],
)
async def test_a_finished_refund_takes_the_tickets_off_the_order_once(
    relist: bool, becomes: str, event: str, scenario: Scenario
) -> None:
    refund = uuid4()
    await scenario.begin(refund)
    assert await scenario.finish(refund, relist=relist) is True
    assert await status(scenario.owner, scenario.order) == "refunded"
    assert await scenario.holders() == [(becomes, None)] * 2
    assert [await live_orders(scenario.owner, ticket) for ticket in scenario.tickets] == [[], []]
    assert await scenario.newest_event_types(3) == ["order.refunded", event, event]
    before = await snapshot(scenario.owner)
    assert await scenario.finish(refund, relist=not relist) is True
    assert await scenario.fail(uuid4()) is False
    assert (await scenario.begin(uuid4()))["outcome"] == "refunded"
    assert await snapshot(scenario.owner) == before


async def test_after_a_failed_refund_the_order_is_completed_and_refundable_again(
    scenario: Scenario,
) -> None:
    first, second = uuid4(), uuid4()
    await scenario.begin(first)
    assert await scenario.fail(first) is True
    assert await status(scenario.owner, scenario.order) == "completed"
    assert await scenario.holders() == [("sold", scenario.order["id"])] * 2
    before = await snapshot(scenario.owner)
    assert await scenario.fail(first) is False
    assert await scenario.finish(first) is False
    assert await snapshot(scenario.owner) == before
    assert (await scenario.begin(second))["outcome"] == "ok"
    assert await scenario.finish(second) is True


async def test_only_the_pending_refund_of_an_order_ends_it(scenario: Scenario) -> None:
    stale, current = uuid4(), uuid4()
    await scenario.begin(stale)
    await scenario.fail(stale)
    await scenario.begin(current)
    before = await snapshot(scenario.owner)
    for other in (stale, uuid4()):
        assert await scenario.finish(other) is False
        assert await scenario.fail(other) is False
    assert await snapshot(scenario.owner) == before
    assert await scenario.finish(current) is True


@pytest.mark.parametrize("other", ["held", "sold"])
async def test_a_stale_refund_does_not_change_the_next_orders_ticket(
    other: str, scenario: Scenario, system: System
) -> None:
    first = uuid4()
    await scenario.begin(first)
    await scenario.finish(first, relist=True)
    rival = system.person("rival")
    order = await factories.order(rival, *(ticket["id"] for ticket in scenario.tickets))
    if other == "sold":
        await complete(scenario.payments, order, rival, uuid4())
    before = await snapshot(scenario.owner)
    assert (await scenario.begin(uuid4()))["outcome"] == "refunded"
    for refund in (first, uuid4()):
        await scenario.finish(refund, relist=True)
        await scenario.finish(refund, relist=False)
        # A refund that fails after it succeeded changes no ticket either.
        assert await scenario.fail(refund) is False
    assert (
        await scenario.owner.fetchval(
            "select tickets.unsell($1, orders.tickets_of($1), true)", scenario.order_id
        )
        == 0
    )
    assert await snapshot(scenario.owner) == before
    assert await scenario.holders() == [(other, order["id"])] * 2


async def test_without_its_guard_a_stale_refund_takes_the_next_orders_ticket(
    scenario: Scenario, system: System
) -> None:
    """The negative control of the test above."""
    refund = uuid4()
    await scenario.begin(refund)
    await scenario.finish(refund, relist=True)
    order = await factories.order(
        system.person("rival"), *(ticket["id"] for ticket in scenario.tickets)
    )
    assert await scenario.holders() == [("held", order["id"])] * 2
    await scenario.owner.execute(UNGUARDED_UNSELL)
    await scenario.owner.fetchval(
        "select tickets.unsell($1, orders.tickets_of($1), true)", scenario.order_id
    )
    assert await scenario.holders() == [("available", None)] * 2


async def test_a_refund_that_cannot_be_recorded_releases_no_ticket(scenario: Scenario) -> None:
    """A finish that cannot update its order undoes its changes of the tickets."""
    before = await snapshot(scenario.owner)
    assert await scenario.finish(uuid4()) is False
    assert await snapshot(scenario.owner) == before
    assert await scenario.holders() == [("sold", scenario.order["id"])] * 2


async def test_only_the_buyer_and_a_sole_seller_may_begin_a_refund(
    scenario: Scenario, system: System
) -> None:
    before = await snapshot(scenario.owner)
    stranger, buyer = system.person("stranger").id, scenario.buyer.id
    outcomes = {
        "a stranger": await scenario.begin(uuid4(), by=stranger, buyer_may=True),
        "a buyer": await scenario.begin(uuid4(), by=buyer),
        "a buyer who relists": await scenario.begin(uuid4(), by=buyer, buyer_may=True, relist=True),
    }
    assert {who: row["outcome"] for who, row in outcomes.items()} == {
        "a stranger": "not_found",
        "a buyer": "not_allowed",
        "a buyer who relists": "relist_not_allowed",
    }
    # The result for another user has no other column.
    assert [*outcomes["a stranger"].values()] == ["not_found", None, None, None, None]
    assert await snapshot(scenario.owner) == before
    assert (await scenario.begin(uuid4(), by=buyer, buyer_may=True))["outcome"] == "ok"


async def test_of_many_simultaneous_refunds_one_begins(scenario: Scenario, system: System) -> None:
    rivals = [await system.connect("payments") for _ in range(8)]
    outcomes = await asyncio.gather(
        *(scenario.begin(uuid4(), connection=rival) for rival in rivals)
    )
    assert sorted(row["outcome"] for row in outcomes) == ["in_progress"] * 7 + ["ok"]
    assert (await scenario.newest_event_types(2)).count("order.updated") == 1


async def test_of_a_simultaneous_success_and_failure_one_wins(
    scenario: Scenario, system: System
) -> None:
    for _ in range(5):
        refund = uuid4()
        await scenario.begin(refund)
        rival = scenario._replace(payments=await system.connect("payments"))
        finished, failed = await asyncio.gather(scenario.finish(refund), rival.fail(refund))
        assert finished is not failed
        wanted = ("refunded", "available") if finished else ("completed", "sold")
        assert (
            await status(scenario.owner, scenario.order),
            (await scenario.holders())[0][0],
        ) == wanted
        if finished:
            break


async def test_a_refund_waits_for_no_lock_that_a_buyer_of_the_relisted_ticket_has(
    scenario: Scenario, system: System
) -> None:
    """Both lock tickets before orders, so a parallel finish and hold do not deadlock."""
    refund = uuid4()
    await scenario.begin(refund)
    rivals = [system.person(f"rival-{number}") for number in range(8)]
    ids = [ticket["id"] for ticket in scenario.tickets]
    finishing = asyncio.create_task(scenario.finish(refund))
    replies = await asyncio.gather(
        *(rival.post("/api/orders", {"ticket_ids": ids}) for rival in rivals)
    )
    assert await finishing is True
    assert {reply.status_code for reply in replies} <= {201, 409}
    assert [reply.status_code for reply in replies].count(201) <= 1
    deadlocks = await scenario.owner.fetchval(
        "select deadlocks from pg_stat_database where datname = current_database()"
    )
    assert deadlocks == 0
