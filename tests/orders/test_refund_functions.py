"""What payments may do to a completed order: begin, finish or fail a refund. A stale one changes nothing."""

import asyncio
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest

from tests import factories
from tests.factories import Json
from tests.orders.rows import holder, live_orders, snapshot, status
from tests.system import Person, System

# `tickets.unsell` as somebody might have written it: it goes by the tickets' ids and not by who has them.
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


class Desk(NamedTuple):
    """A completed order of two tickets, and payments' own connection to decide about it."""

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

    async def told(self, count: int) -> list[str]:
        found = await self.owner.fetch(
            "select type from events.outbox order by id desc limit $1", count
        )
        return [each["type"] for each in found]


@pytest.fixture
async def desk(system: System) -> Desk:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    show = await factories.show(seller)
    tickets = [await factories.ticket(seller, show["id"]) for _ in range(2)]
    order = await factories.order(buyer, *(ticket["id"] for ticket in tickets))
    payments, payment = await system.connect("payments"), uuid4()
    await complete(payments, order, buyer, payment)
    return Desk(seller, buyer, order, tickets, await system.connect(), payments, payment)


async def complete(payments: Any, order: Json, buyer: Person, payment: UUID) -> None:
    order_id, total = UUID(order["id"]), order["total"]
    await payments.execute("select orders.begin_payment($1, $2, $3)", order_id, buyer.id, payment)
    await payments.execute("select orders.settle($1, $2, $3, 'EUR')", order_id, payment, total)
    assert await payments.fetchval("select orders.finish($1, $2)", order_id, payment)


async def test_a_refund_begins_with_what_was_paid_and_leaves_the_tickets_sold(desk: Desk) -> None:
    begun = await desk.begin(uuid4())
    assert (begun["outcome"], begun["payment"]) == ("ok", desk.payment)
    assert (begun["amount"], begun["currency"]) == (9450, "EUR")
    assert await status(desk.owner, desk.order) == "refund_pending"
    assert await desk.holders() == [("sold", desk.order["id"])] * 2
    assert [await live_orders(desk.owner, ticket) for ticket in desk.tickets] == [
        [desk.order["id"]]
    ] * 2
    assert await desk.told(1) == ["order.updated"]


@pytest.mark.parametrize(
    ("relist", "becomes", "tells"),
    [(True, "available", "ticket.released"), (False, "withdrawn", "ticket.withdrawn")],
)
async def test_a_finished_refund_takes_the_tickets_off_the_order_once(
    relist: bool, becomes: str, tells: str, desk: Desk
) -> None:
    refund = uuid4()
    await desk.begin(refund)
    assert await desk.finish(refund, relist=relist) is True
    assert await status(desk.owner, desk.order) == "refunded"
    assert await desk.holders() == [(becomes, None)] * 2
    assert [await live_orders(desk.owner, ticket) for ticket in desk.tickets] == [[], []]
    assert await desk.told(3) == ["order.refunded", tells, tells]
    before = await snapshot(desk.owner)
    assert await desk.finish(refund, relist=not relist) is True
    assert await desk.fail(refund) is False
    assert (await desk.begin(uuid4()))["outcome"] == "refunded"
    assert await snapshot(desk.owner) == before


async def test_a_failed_refund_leaves_the_order_completed_and_it_may_be_asked_for_again(
    desk: Desk,
) -> None:
    first, second = uuid4(), uuid4()
    await desk.begin(first)
    assert await desk.fail(first) is True
    assert await status(desk.owner, desk.order) == "completed"
    assert await desk.holders() == [("sold", desk.order["id"])] * 2
    before = await snapshot(desk.owner)
    assert await desk.fail(first) is False
    assert await desk.finish(first) is False
    assert await snapshot(desk.owner) == before
    assert (await desk.begin(second))["outcome"] == "ok"
    assert await desk.finish(second) is True


async def test_only_the_refund_that_an_order_waits_for_ends_it(desk: Desk) -> None:
    stale, current = uuid4(), uuid4()
    await desk.begin(stale)
    await desk.fail(stale)
    await desk.begin(current)
    before = await snapshot(desk.owner)
    for other in (stale, uuid4()):
        assert await desk.finish(other) is False
        assert await desk.fail(other) is False
    assert await snapshot(desk.owner) == before
    assert await desk.finish(current) is True


@pytest.mark.parametrize("other", ["held", "sold"])
async def test_a_stale_refund_leaves_the_next_orders_ticket_alone(
    other: str, desk: Desk, system: System
) -> None:
    first = uuid4()
    await desk.begin(first)
    await desk.finish(first, relist=True)
    rival = system.person("rival")
    order = await factories.order(rival, *(ticket["id"] for ticket in desk.tickets))
    if other == "sold":
        await complete(desk.payments, order, rival, uuid4())
    before = await snapshot(desk.owner)
    for refund in (first, uuid4()):
        await desk.finish(refund, relist=True)
        await desk.finish(refund, relist=False)
        assert await desk.fail(refund) is False
        assert (await desk.begin(refund))["outcome"] == "refunded"
    assert (
        await desk.owner.fetchval(
            "select tickets.unsell($1, orders.tickets_of($1), true)", desk.order_id
        )
        == 0
    )
    assert await snapshot(desk.owner) == before
    assert await desk.holders() == [(other, order["id"])] * 2


async def test_without_its_guard_a_stale_refund_takes_the_next_orders_ticket(
    desk: Desk, system: System
) -> None:
    """The negative control of the test above."""
    refund = uuid4()
    await desk.begin(refund)
    await desk.finish(refund, relist=True)
    order = await factories.order(
        system.person("rival"), *(ticket["id"] for ticket in desk.tickets)
    )
    assert await desk.holders() == [("held", order["id"])] * 2
    await desk.owner.execute(UNGUARDED_UNSELL)
    await desk.owner.fetchval(
        "select tickets.unsell($1, orders.tickets_of($1), true)", desk.order_id
    )
    assert await desk.holders() == [("available", None)] * 2


async def test_no_ticket_leaves_an_order_whose_refund_is_not_recorded(desk: Desk) -> None:
    """A finish that finds its order elsewhere undoes what it did to the tickets."""
    before = await snapshot(desk.owner)
    assert await desk.finish(uuid4()) is False
    assert await snapshot(desk.owner) == before
    assert await desk.holders() == [("sold", desk.order["id"])] * 2


async def test_who_may_begin_a_refund(desk: Desk, system: System) -> None:
    before = await snapshot(desk.owner)
    stranger, buyer = system.person("stranger").id, desk.buyer.id
    outcomes = {
        "a stranger": await desk.begin(uuid4(), by=stranger, buyer_may=True),
        "a buyer": await desk.begin(uuid4(), by=buyer),
        "a buyer who relists": await desk.begin(uuid4(), by=buyer, buyer_may=True, relist=True),
    }
    assert {who: row["outcome"] for who, row in outcomes.items()} == {
        "a stranger": "not_found",
        "a buyer": "not_allowed",
        "a buyer who relists": "relist_not_allowed",
    }
    # What a stranger is not told of is not in the row either.
    assert [*outcomes["a stranger"].values()] == ["not_found", None, None, None, None]
    assert await snapshot(desk.owner) == before
    assert (await desk.begin(uuid4(), by=buyer, buyer_may=True))["outcome"] == "ok"


async def test_of_many_simultaneous_refunds_one_begins(desk: Desk, system: System) -> None:
    rivals = [await system.connect("payments") for _ in range(8)]
    outcomes = await asyncio.gather(*(desk.begin(uuid4(), connection=rival) for rival in rivals))
    assert sorted(row["outcome"] for row in outcomes) == ["in_progress"] * 7 + ["ok"]
    assert (await desk.told(2)).count("order.updated") == 1


async def test_of_a_simultaneous_success_and_failure_one_decides(
    desk: Desk, system: System
) -> None:
    for _ in range(5):
        refund = uuid4()
        await desk.begin(refund)
        rival = desk._replace(payments=await system.connect("payments"))
        finished, failed = await asyncio.gather(desk.finish(refund), rival.fail(refund))
        assert finished is not failed
        wanted = ("refunded", "available") if finished else ("completed", "sold")
        assert (await status(desk.owner, desk.order), (await desk.holders())[0][0]) == wanted
        if finished:
            break


async def test_a_refund_waits_for_no_lock_that_a_buyer_of_the_relisted_ticket_has(
    desk: Desk, system: System
) -> None:
    """Tickets before orders: finishing and holding at the same time end in no deadlock."""
    refund = uuid4()
    await desk.begin(refund)
    rivals = [system.person(f"rival-{number}") for number in range(8)]
    ids = [ticket["id"] for ticket in desk.tickets]
    finishing = asyncio.create_task(desk.finish(refund))
    replies = await asyncio.gather(
        *(rival.post("/api/orders", {"ticket_ids": ids}) for rival in rivals)
    )
    assert await finishing is True
    assert {reply.status_code for reply in replies} <= {201, 409}
    assert [reply.status_code for reply in replies].count(201) <= 1
    deadlocks = await desk.owner.fetchval(
        "select deadlocks from pg_stat_database where datname = current_database()"
    )
    assert deadlocks == 0
