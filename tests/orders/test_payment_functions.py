"""The functions for payments: begin, settle, finish, fail. Each may be called again."""

import asyncio
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests import factories
from tests.factories import Json
from tests.orders.rows import holder, live_orders, make_overdue, snapshot, status
from tests.system import Person, System


class Scenario(NamedTuple):
    """An order of two tickets, and a connection with the role of payments."""

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
async def scenario(system: System) -> Scenario:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    show = await factories.show(seller)
    tickets = [await factories.ticket(seller, show["id"]) for _ in range(2)]
    order = await factories.order(buyer, *(ticket["id"] for ticket in tickets))
    return Scenario(buyer, order, tickets, await system.connect(), await system.connect("payments"))


async def test_a_payment_begins_with_the_frozen_amount_and_a_longer_hold(
    scenario: Scenario,
) -> None:
    begun = await scenario.begin()
    assert (begun["outcome"], begun["amount"], begun["currency"]) == ("ok", 9450, "EUR")
    assert await status(scenario.owner, scenario.order) == "awaiting_payment"
    row = await scenario.owner.fetchrow(
        """
        select o.expires_at, o.latest_expiry, o.created_at,
               extract(epoch from o.expires_at - clock_timestamp()) as left,
               array(
                   select t.held_until = o.expires_at from tickets.tickets t where t.order_id = o.id
               ) as same
        from orders.orders o where o.id = $1
        """,
        scenario.order_id,
    )
    assert begun["deadline"] == row["expires_at"]
    assert row["same"] == [True, True]
    assert 59 < row["left"] <= 60.5
    assert (row["latest_expiry"] - row["created_at"]).total_seconds() == 120
    types = await scenario.owner.fetch("select type from events.outbox order by id desc limit 3")
    assert [each["type"] for each in types] == [
        "order.updated",
        "ticket.extended",
        "ticket.extended",
    ]


async def test_a_hold_is_extended_once(scenario: Scenario) -> None:
    first = await scenario.begin()
    second = await scenario.begin(uuid4())
    assert (second["outcome"], second["deadline"]) == ("ok", first["deadline"])
    extended = await scenario.owner.fetchval(
        "select count(*) from events.outbox where type = 'ticket.extended'"
    )
    assert extended == 2


async def test_an_extension_ends_at_the_absolute_cap(scenario: Scenario) -> None:
    await scenario.owner.execute(
        "update orders.orders set latest_expiry = expires_at + interval '1 second' where id = $1",
        scenario.order_id,
    )
    begun = await scenario.begin()
    cap = await scenario.owner.fetchval(
        "select latest_expiry from orders.orders where id = $1", scenario.order_id
    )
    assert begun["deadline"] <= cap


async def test_an_extension_never_shortens_a_hold(scenario: Scenario) -> None:
    await scenario.owner.execute(
        "update orders.orders set latest_expiry = expires_at where id = $1", scenario.order_id
    )
    before = await scenario.owner.fetchval(
        "select expires_at from orders.orders where id = $1", scenario.order_id
    )
    assert (await scenario.begin())["deadline"] == before


async def test_no_payment_begins_for_another_user_or_after_the_hold(scenario: Scenario) -> None:
    stranger = await scenario.begin(buyer=uuid4())
    assert (stranger["outcome"], stranger["amount"], stranger["deadline"]) == (
        "not_found",
        None,
        None,
    )
    await make_overdue(scenario.owner, scenario.order)
    before = await snapshot(scenario.owner)
    assert (await scenario.begin())["outcome"] == "expired"
    assert await snapshot(scenario.owner) == before


async def test_no_payment_begins_when_the_hold_ends_while_it_waits_for_the_lock(
    scenario: Scenario, system: System
) -> None:
    await scenario.owner.execute(
        "update tickets.tickets set held_until = now() + interval '300 ms'"
    )
    await scenario.owner.execute(
        "update orders.orders o set expires_at = t.held_until from tickets.tickets t"
    )
    before = await snapshot(scenario.owner)
    rival = await system.connect()
    async with rival.transaction():
        await rival.execute("select 1 from tickets.tickets for no key update")
        begun = asyncio.create_task(scenario.begin())
        await asyncio.sleep(0.4)
    assert (await begun)["outcome"] == "expired"
    assert await snapshot(scenario.owner) == before


async def test_no_payment_begins_for_a_completed_or_cancelled_order(scenario: Scenario) -> None:
    await scenario.begin()
    await scenario.settle()
    assert (await scenario.begin(uuid4()))["outcome"] == "in_progress"
    await scenario.finish()
    assert (await scenario.begin(uuid4()))["outcome"] == "paid"


async def test_an_authorised_payment_reserves_the_tickets(scenario: Scenario) -> None:
    await scenario.begin()
    assert await scenario.settle() == "won"
    assert await status(scenario.owner, scenario.order) == "confirmed"
    assert await scenario.holders() == [("reserved", scenario.order["id"])] * 2
    before = await snapshot(scenario.owner)
    assert await scenario.settle() == "won"
    assert await snapshot(scenario.owner) == before


async def test_one_of_many_simultaneous_payments_wins(scenario: Scenario, system: System) -> None:
    await scenario.begin()
    rivals = [
        scenario._replace(payments=await system.connect("payments"), payment=uuid4())
        for _ in range(8)
    ]
    outcomes = await asyncio.gather(*(rival.settle() for rival in rivals))
    assert sorted(outcomes) == ["refused"] * 7 + ["won"]
    winner = rivals[outcomes.index("won")]
    paid = await scenario.owner.fetchval(
        "select payment_id from orders.orders where id = $1", scenario.order_id
    )
    assert paid == winner.payment


async def test_a_late_payment_wins_tickets_that_are_still_free(
    scenario: Scenario, system: System
) -> None:
    await scenario.begin()
    await make_overdue(scenario.owner, scenario.order)
    orders = await system.connect("orders")
    assert await orders.fetchval("select orders.expire_due(1000)") == 1
    assert await scenario.holders() == [("available", None)] * 2
    assert await scenario.settle() == "won"
    assert await scenario.holders() == [("reserved", scenario.order["id"])] * 2
    assert [await live_orders(scenario.owner, ticket) for ticket in scenario.tickets] == [
        [scenario.order["id"]]
    ] * 2
    assert await scenario.finish() is True
    assert await status(scenario.owner, scenario.order) == "completed"


async def test_a_late_payment_wins_an_expired_hold_that_no_worker_released(
    scenario: Scenario,
) -> None:
    await scenario.begin()
    await make_overdue(scenario.owner, scenario.order)
    assert await scenario.settle() == "won"
    assert await scenario.holders() == [("reserved", scenario.order["id"])] * 2


async def test_a_late_payment_is_refused_when_one_ticket_is_taken(
    scenario: Scenario, system: System
) -> None:
    await scenario.begin()
    await make_overdue(scenario.owner, scenario.order)
    new = await factories.order(system.person("next"), scenario.tickets[0]["id"])
    before = await snapshot(scenario.owner)
    assert await scenario.settle() == "refused"
    assert await snapshot(scenario.owner) == before
    assert await scenario.holders() == [("held", new["id"]), ("available", None)]


async def test_a_late_payment_does_not_win_a_withdrawn_ticket(scenario: Scenario) -> None:
    await scenario.begin()
    await make_overdue(scenario.owner, scenario.order)
    await scenario.owner.execute(
        "update tickets.tickets set status = 'withdrawn', claims_seat = false, order_id = null,"
        " held_until = null where id = $1",
        UUID(scenario.tickets[0]["id"]),
    )
    assert await scenario.settle() == "refused"


async def test_a_payment_event_never_completes_a_cancelled_order(scenario: Scenario) -> None:
    """The fault of the original: a payment completed an order in any status."""
    await scenario.begin()
    assert (await scenario.buyer.delete(f"/api/orders/{scenario.order['id']}")).status_code == 204
    before = await snapshot(scenario.owner)
    assert await scenario.settle() == "refused"
    assert await scenario.finish() is False
    assert await scenario.fail() is False
    assert await snapshot(scenario.owner) == before
    assert await status(scenario.owner, scenario.order) == "cancelled"


@pytest.mark.parametrize(
    ("amount", "currency"), [(9449, "EUR"), (9451, "EUR"), (945000, "EUR"), (9450, "USD")]
)
async def test_another_amount_or_currency_wins_nothing(
    amount: int, currency: str, scenario: Scenario
) -> None:
    await scenario.begin()
    before = await snapshot(scenario.owner)
    assert await scenario.settle(amount=amount, currency=currency) == "refused"
    assert await snapshot(scenario.owner) == before


async def test_a_captured_payment_sells_the_tickets_once(scenario: Scenario) -> None:
    await scenario.begin()
    await scenario.settle()
    assert await scenario.finish(uuid4()) is False
    assert await scenario.finish() is True
    assert await scenario.holders() == [("sold", scenario.order["id"])] * 2
    before = await snapshot(scenario.owner)
    assert await scenario.finish() is True
    assert await scenario.finish(uuid4()) is False
    assert await scenario.fail() is False
    assert await scenario.settle() == "won"
    assert await scenario.settle(uuid4()) == "refused"
    assert await snapshot(scenario.owner) == before
    types = await scenario.owner.fetch("select type from events.outbox order by id desc limit 3")
    assert [each["type"] for each in types] == ["order.completed", "ticket.sold", "ticket.sold"]


async def test_a_payment_that_cannot_be_captured_frees_the_tickets(scenario: Scenario) -> None:
    await scenario.begin()
    await scenario.settle()
    assert await scenario.fail(uuid4()) is False
    assert await scenario.fail() is True
    assert await status(scenario.owner, scenario.order) == "cancelled"
    assert await scenario.holders() == [("available", None)] * 2
    assert [await live_orders(scenario.owner, ticket) for ticket in scenario.tickets] == [[], []]
    before = await snapshot(scenario.owner)
    assert await scenario.fail() is False
    assert await scenario.finish() is False
    assert await snapshot(scenario.owner) == before
    assert not await scenario.owner.fetchval(
        "select count(*) from events.outbox where type = 'ticket.sold'"
    )


async def test_a_reserved_ticket_never_expires(scenario: Scenario, system: System) -> None:
    await scenario.begin()
    await scenario.settle()
    await scenario.owner.execute("update orders.orders set expires_at = now() - interval '1 hour'")
    orders = await system.connect("orders")
    assert await orders.fetchval("select orders.expire_due(1000)") == 0
    assert await scenario.holders() == [("reserved", scenario.order["id"])] * 2


async def test_payments_changes_orders_and_tickets_by_these_functions_only(
    scenario: Scenario,
) -> None:
    for statement in (
        "update orders.orders set status = 'completed'",
        "update tickets.tickets set status = 'sold'",
        "select orders.cancel(gen_random_uuid(), gen_random_uuid())",
        "select tickets.sell(gen_random_uuid(), '{}')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await scenario.payments.execute(statement)


async def test_each_change_of_an_order_and_a_ticket_raises_its_version_by_one(
    scenario: Scenario,
) -> None:
    await scenario.begin()
    await scenario.settle()
    await scenario.finish()
    rows = await scenario.owner.fetch(
        "select subject, array_agg(version order by id) as versions"
        " from events.outbox group by subject"
    )
    assert all(row["versions"] == list(range(1, len(row["versions"]) + 1)) for row in rows)
    final = await scenario.owner.fetchval(
        "select version from orders.orders where id = $1", scenario.order_id
    )
    assert final == 4
