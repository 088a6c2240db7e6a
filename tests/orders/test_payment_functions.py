"""What payments may do to an order: begin, settle, finish, fail. The order's row decides; each can be said twice."""

import asyncio
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests import factories
from tests.factories import Json
from tests.orders.rows import holder, lapse, live_orders, snapshot, status
from tests.system import Person, System


class Desk(NamedTuple):
    """An order of two tickets, and payments' own connection to decide about it."""

    buyer: Person
    order: Json
    tickets: list[Json]
    owner: Any
    payments: Any
    payment: UUID = uuid4()

    @property
    def order_id(self) -> UUID:
        return UUID(self.order["id"])

    async def begin(self, payment: UUID | None = None, buyer: UUID | None = None) -> Any:
        return await self.payments.fetchrow(
            "select * from orders.begin_payment($1, $2, $3)",
            self.order_id,
            buyer or self.buyer.id,
            payment or self.payment,
        )

    async def settle(
        self, payment: UUID | None = None, *, amount: int | None = None, currency: str = "EUR"
    ) -> str:
        outcome: str = await self.payments.fetchval(
            "select orders.settle($1, $2, $3, $4)",
            self.order_id,
            payment or self.payment,
            amount or self.order["total"],
            currency,
        )
        return outcome

    async def finish(self, payment: UUID | None = None) -> bool:
        done: bool = await self.payments.fetchval(
            "select orders.finish($1, $2)", self.order_id, payment or self.payment
        )
        return done

    async def fail(self, payment: UUID | None = None) -> bool:
        done: bool = await self.payments.fetchval(
            "select orders.fail($1, $2)", self.order_id, payment or self.payment
        )
        return done

    async def holders(self) -> list[tuple[str, str | None]]:
        return [await holder(self.owner, ticket) for ticket in self.tickets]


@pytest.fixture
async def desk(system: System) -> Desk:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    show = await factories.show(seller)
    tickets = [await factories.ticket(seller, show["id"]) for _ in range(2)]
    order = await factories.order(buyer, *(ticket["id"] for ticket in tickets))
    return Desk(buyer, order, tickets, await system.connect(), await system.connect("payments"))


async def test_a_payment_begins_with_the_frozen_amount_and_a_longer_hold(desk: Desk) -> None:
    begun = await desk.begin()
    assert (begun["outcome"], begun["amount"], begun["currency"]) == ("ok", 9450, "EUR")
    assert await status(desk.owner, desk.order) == "awaiting_payment"
    row = await desk.owner.fetchrow(
        """
        select o.expires_at, o.latest_expiry, o.created_at, extract(epoch from o.expires_at - clock_timestamp()) as left,
               (select array_agg(t.held_until = o.expires_at) from tickets.tickets t where t.order_id = o.id) as same
        from orders.orders o where o.id = $1
        """,
        desk.order_id,
    )
    assert begun["deadline"] == row["expires_at"]
    assert row["same"] == [True, True]
    assert 59 < row["left"] <= 60.5
    assert (row["latest_expiry"] - row["created_at"]).total_seconds() == 120
    types = await desk.owner.fetch("select type from events.outbox order by id desc limit 3")
    assert [each["type"] for each in types] == [
        "order.updated",
        "ticket.extended",
        "ticket.extended",
    ]


async def test_a_hold_is_extended_once(desk: Desk) -> None:
    first = await desk.begin()
    second = await desk.begin(uuid4())
    assert (second["outcome"], second["deadline"]) == ("ok", first["deadline"])
    extended = await desk.owner.fetchval(
        "select count(*) from events.outbox where type = 'ticket.extended'"
    )
    assert extended == 2


async def test_an_extension_ends_at_the_absolute_cap(desk: Desk) -> None:
    await desk.owner.execute(
        "update orders.orders set latest_expiry = expires_at + interval '1 second' where id = $1",
        desk.order_id,
    )
    begun = await desk.begin()
    cap = await desk.owner.fetchval(
        "select latest_expiry from orders.orders where id = $1", desk.order_id
    )
    assert begun["deadline"] <= cap


async def test_an_extension_never_shortens_a_hold(desk: Desk) -> None:
    await desk.owner.execute(
        "update orders.orders set latest_expiry = expires_at where id = $1", desk.order_id
    )
    before = await desk.owner.fetchval(
        "select expires_at from orders.orders where id = $1", desk.order_id
    )
    assert (await desk.begin())["deadline"] == before


async def test_no_payment_begins_for_a_stranger_or_after_the_time(desk: Desk) -> None:
    stranger = await desk.begin(buyer=uuid4())
    assert tuple(stranger) == ("not_found", None, None, None)
    await lapse(desk.owner, desk.order)
    before = await snapshot(desk.owner)
    assert (await desk.begin())["outcome"] == "expired"
    assert await snapshot(desk.owner) == before


async def test_no_payment_begins_when_the_time_ends_while_it_waits(
    desk: Desk, system: System
) -> None:
    await desk.owner.execute("update tickets.tickets set held_until = now() + interval '300 ms'")
    await desk.owner.execute(
        "update orders.orders o set expires_at = t.held_until from tickets.tickets t"
    )
    before = await snapshot(desk.owner)
    rival = await system.connect()
    async with rival.transaction():
        await rival.execute("select 1 from tickets.tickets for no key update")
        begun = asyncio.create_task(desk.begin())
        await asyncio.sleep(0.4)
    assert (await begun)["outcome"] == "expired"
    assert await snapshot(desk.owner) == before


async def test_no_payment_begins_for_an_order_that_is_decided(desk: Desk) -> None:
    await desk.begin()
    await desk.settle()
    assert (await desk.begin(uuid4()))["outcome"] == "in_progress"
    await desk.finish()
    assert (await desk.begin(uuid4()))["outcome"] == "paid"


async def test_an_authorised_payment_takes_the_tickets_off_the_clock(desk: Desk) -> None:
    await desk.begin()
    assert await desk.settle() == "won"
    assert await status(desk.owner, desk.order) == "confirmed"
    assert await desk.holders() == [("reserved", desk.order["id"])] * 2
    before = await snapshot(desk.owner)
    assert await desk.settle() == "won"
    assert await snapshot(desk.owner) == before


async def test_one_of_many_simultaneous_payments_wins(desk: Desk, system: System) -> None:
    await desk.begin()
    rivals = [
        desk._replace(payments=await system.connect("payments"), payment=uuid4()) for _ in range(8)
    ]
    outcomes = await asyncio.gather(*(rival.settle() for rival in rivals))
    assert sorted(outcomes) == ["refused"] * 7 + ["won"]
    winner = rivals[outcomes.index("won")]
    paid = await desk.owner.fetchval(
        "select payment_id from orders.orders where id = $1", desk.order_id
    )
    assert paid == winner.payment


async def test_late_money_wins_tickets_that_are_still_free(desk: Desk, system: System) -> None:
    await desk.begin()
    await lapse(desk.owner, desk.order)
    orders = await system.connect("orders")
    assert await orders.fetchval("select orders.expire_due(1000)") == 1
    assert await desk.holders() == [("available", None)] * 2
    assert await desk.settle() == "won"
    assert await desk.holders() == [("reserved", desk.order["id"])] * 2
    assert [await live_orders(desk.owner, ticket) for ticket in desk.tickets] == [
        [desk.order["id"]]
    ] * 2
    assert await desk.finish() is True
    assert await status(desk.owner, desk.order) == "completed"


async def test_late_money_wins_a_hold_that_nobody_swept(desk: Desk) -> None:
    await desk.begin()
    await lapse(desk.owner, desk.order)
    assert await desk.settle() == "won"
    assert await desk.holders() == [("reserved", desk.order["id"])] * 2


async def test_late_money_is_refused_when_one_ticket_is_taken(desk: Desk, system: System) -> None:
    await desk.begin()
    await lapse(desk.owner, desk.order)
    new = await factories.order(system.person("next"), desk.tickets[0]["id"])
    before = await snapshot(desk.owner)
    assert await desk.settle() == "refused"
    assert await snapshot(desk.owner) == before
    assert await desk.holders() == [("held", new["id"]), ("available", None)]


async def test_late_money_does_not_win_a_withdrawn_ticket(desk: Desk) -> None:
    await desk.begin()
    await lapse(desk.owner, desk.order)
    await desk.owner.execute(
        "update tickets.tickets set status = 'withdrawn', order_id = null, held_until = null where id = $1",
        UUID(desk.tickets[0]["id"]),
    )
    assert await desk.settle() == "refused"


async def test_a_payment_event_never_completes_a_cancelled_order(desk: Desk) -> None:
    """What the original got wrong: a payment completed an order without looking at it."""
    await desk.begin()
    assert (await desk.buyer.delete(f"/api/orders/{desk.order['id']}")).status_code == 204
    before = await snapshot(desk.owner)
    assert await desk.settle() == "refused"
    assert await desk.finish() is False
    assert await desk.fail() is False
    assert await snapshot(desk.owner) == before
    assert await status(desk.owner, desk.order) == "cancelled"


@pytest.mark.parametrize(
    ("amount", "currency"), [(9449, "EUR"), (9451, "EUR"), (945000, "EUR"), (9450, "USD")]
)
async def test_another_amount_or_currency_wins_nothing(
    amount: int, currency: str, desk: Desk
) -> None:
    await desk.begin()
    before = await snapshot(desk.owner)
    assert await desk.settle(amount=amount, currency=currency) == "refused"
    assert await snapshot(desk.owner) == before


async def test_a_captured_payment_sells_the_tickets_once(desk: Desk) -> None:
    await desk.begin()
    await desk.settle()
    assert await desk.finish(uuid4()) is False
    assert await desk.finish() is True
    assert await desk.holders() == [("sold", desk.order["id"])] * 2
    before = await snapshot(desk.owner)
    assert await desk.finish() is True
    assert await desk.finish(uuid4()) is False
    assert await desk.fail() is False
    assert await desk.settle() == "won"
    assert await desk.settle(uuid4()) == "refused"
    assert await snapshot(desk.owner) == before
    types = await desk.owner.fetch("select type from events.outbox order by id desc limit 3")
    assert [each["type"] for each in types] == ["order.completed", "ticket.sold", "ticket.sold"]


async def test_a_payment_that_cannot_be_captured_frees_the_tickets(desk: Desk) -> None:
    await desk.begin()
    await desk.settle()
    assert await desk.fail(uuid4()) is False
    assert await desk.fail() is True
    assert await status(desk.owner, desk.order) == "cancelled"
    assert await desk.holders() == [("available", None)] * 2
    assert [await live_orders(desk.owner, ticket) for ticket in desk.tickets] == [[], []]
    before = await snapshot(desk.owner)
    assert await desk.fail() is False
    assert await desk.finish() is False
    assert await snapshot(desk.owner) == before
    assert not await desk.owner.fetchval(
        "select count(*) from events.outbox where type = 'ticket.sold'"
    )


async def test_a_reserved_ticket_never_expires(desk: Desk, system: System) -> None:
    await desk.begin()
    await desk.settle()
    await desk.owner.execute("update orders.orders set expires_at = now() - interval '1 hour'")
    orders = await system.connect("orders")
    assert await orders.fetchval("select orders.expire_due(1000)") == 0
    assert await desk.holders() == [("reserved", desk.order["id"])] * 2


async def test_payments_cannot_write_orders_and_tickets_but_by_these_functions(desk: Desk) -> None:
    for statement in (
        "update orders.orders set status = 'completed'",
        "update tickets.tickets set status = 'sold'",
        "select orders.cancel(gen_random_uuid(), gen_random_uuid())",
        "select tickets.sell(gen_random_uuid(), '{}')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await desk.payments.execute(statement)


async def test_each_change_of_an_order_and_a_ticket_raises_its_version_by_one(desk: Desk) -> None:
    await desk.begin()
    await desk.settle()
    await desk.finish()
    rows = await desk.owner.fetch(
        "select subject, array_agg(version order by id) as versions from events.outbox group by subject"
    )
    assert all(row["versions"] == list(range(1, len(row["versions"]) + 1)) for row in rows)
    final = await desk.owner.fetchval(
        "select version from orders.orders where id = $1", desk.order_id
    )
    assert final == 4
