"""Start states of two tickets, concurrent transactions on them, and the outcome.

The scripts run the statements of production, in the order and under the roles of the services.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID, uuid4

import asyncpg

from backend.kernel import correlation
from backend.kernel.budgets import UNLIMITED
from backend.kernel.client_address import UNKNOWN
from backend.kernel.database import Connection
from backend.kernel.ids import new_id
from backend.kernel.principal import Principal
from backend.kernel.settings import Settings
from backend.orders import queries as order_queries
from backend.orders import service as orders
from backend.orders.model import NewOrder
from backend.payments import queries as payments
from backend.payments.errors import PaymentInProgress
from backend.payments.model import NewPayment, Payment, PaymentRequest
from backend.payments.payment_flow import REFUSALS
from backend.payments.provider import Intent
from backend.tickets import queries as ticket_queries
from backend.tickets import service as tickets
from backend.tickets.errors import TicketTaken
from backend.tickets.model import NewShow, TicketSpec
from tests.search.schedules import Answers, Script

PRICE, NEW_PRICE = 4500, 6000
FIRST, SECOND, THIRD = (uuid4() for _ in range(3))
BUYERS = {FIRST: "first", SECOND: "second", THIRD: "third"}
SELLER = Principal(uuid4(), "seller@example.com", "seller", uuid4())


@dataclass
class Scenario:
    """Two tickets, and the order and payment of the first buyer, if any."""

    settings: Settings
    owner: Connection
    orders: Connection
    payments: Connection
    tickets: Connection
    ids: list[UUID] = field(default_factory=list)
    order_id: UUID = field(default_factory=uuid4)
    total: int = 0
    payment: Payment | None = None

    async def free(self) -> None:
        """Reset to two tickets for sale."""
        await self.owner.execute(
            """
            delete from orders.lines; delete from orders.orders; delete from payments.payments;
            delete from tickets.tickets; delete from tickets.shows; delete from events.outbox
            """
        )
        show = await tickets.create_show(self.tickets, SELLER, _SHOW)
        specs = 2 * [TicketSpec(price=PRICE, currency="EUR")]
        listed = await tickets.list_for_sale(self.tickets, SELLER, show.id, specs, max_listed=0)
        self.ids = [ticket.id for ticket in listed]

    async def held(self) -> None:
        await self._held(self.ids[:1])

    async def held_cart(self) -> None:
        await self._held(self.ids)

    async def paying(self) -> None:
        """Begin the payment of the first buyer."""
        await self.held()
        await self._begin()

    async def paying_for_a_cart(self) -> None:
        await self.held_cart()
        await self._begin()

    async def overdue(self) -> None:
        await self.owner.execute(
            """
            update tickets.tickets set held_until = now() - interval '2 seconds'
                where status = 'held';
            update orders.orders set expires_at = now() - interval '2 seconds'
            """
        )

    async def expired(self) -> None:
        await self.overdue()
        await order_queries.expire_due(self.orders, 100)

    async def won(self) -> None:
        """Authorise the payment and let it win the order, without capturing it."""
        for step in settle(self).steps:
            await step(self.payments)

    async def _held(self, ids: Sequence[UUID]) -> None:
        placed = await orders.place(
            self.orders, self.settings, FIRST, NewOrder(ticket_ids=list(ids)), None, UNKNOWN
        )
        order = orders.placed_order(placed)
        self.order_id, self.total = order.id, order.total

    async def _begin(self) -> None:
        for step in begin(self).steps:
            await step(self.payments)
        self.payment = await payments.current_attempt(self.payments, self.order_id)


Arrangement = Sequence[Callable[[Scenario], Awaitable[None]]]
Action = Callable[[Scenario], Script]


def hold(buyer: UUID, *which: int) -> Action:
    """A buyer orders the first ticket, or the tickets at these indexes."""

    def script(scenario: Scenario) -> Script:
        async def place(connection: Connection) -> str:
            wanted = NewOrder(ticket_ids=[scenario.ids[number] for number in which or (0,)])
            await orders.place(connection, scenario.settings, buyer, wanted, None, UNKNOWN)
            return "held"

        return Script(f"{BUYERS[buyer]} holds", "orders", (place,))

    return script


def expire(scenario: Scenario) -> Script:
    """The sweep skips locked rows, and its next run finds them, so its result is not compared."""

    async def expire_due(connection: Connection) -> None:
        await order_queries.expire_due(connection, 100)

    return Script("expire", "orders", (expire_due,))


def cancel(scenario: Scenario) -> Script:
    async def give_up(connection: Connection) -> str:
        return await order_queries.cancel(connection, scenario.order_id, FIRST)

    return Script("cancel", "orders", (give_up,))


def begin(scenario: Scenario) -> Script:
    """As `PaymentFlow.begin`."""
    payment_id = new_id()
    begun: list[payments.Begun] = []

    new = NewPayment(order_id=scenario.order_id, payment_method="pm_card_visa")
    request = PaymentRequest(FIRST, new, None, UNKNOWN, 5, UNLIMITED)

    async def ask(connection: Connection) -> None:
        begun.append(await payments.begin(connection, request, payment_id))
        if begun[0].outcome != "ok":
            raise REFUSALS[begun[0].outcome]

    async def insert(connection: Connection) -> str:
        try:
            await payments.insert(connection, payment_id, request, begun[0])
        except asyncpg.UniqueViolationError as error:
            raise PaymentInProgress from error
        return "begun"

    return Script("begin", "payments", (ask, insert))


def settle(scenario: Scenario) -> Script:
    """As `PaymentSteps._settle`. No other script writes the payment's own row, which comes last, so
    it is no step of its own, here and below.
    """
    payment = _payment(scenario)
    intent = Intent("pi_1", "requires_capture", scenario.total, "EUR", scenario.order_id, "", None)

    async def decide(connection: Connection) -> str:
        won = await payments.settle(connection, payment, intent)
        await payments.advance(
            connection, payment.id, ("started", "requires_action", "failed"), "authorised"
        )
        return "won" if won else "refused"

    return Script("settle", "payments", (decide,))


def finish(scenario: Scenario) -> Script:
    """As `PaymentSteps._finish`."""
    payment = _payment(scenario)

    async def complete(connection: Connection) -> str:
        done = await payments.finish(connection, payment)
        await payments.advance(connection, payment.id, ("started", "authorised"), "captured")
        return "completed" if done else "refused"

    return Script("finish", "payments", (complete,))


def fail(scenario: Scenario) -> Script:
    """As `PaymentSteps._record_void`."""
    payment = _payment(scenario)

    async def give_up(connection: Connection) -> str:
        done = await payments.fail(connection, payment)
        await payments.advance(connection, payment.id, ("started", "authorised"), "voided")
        return "cancelled" if done else "refused"

    return Script("fail", "payments", (give_up,))


def withdraw(scenario: Scenario) -> Script:
    """As `tickets.service.withdraw`, of the first ticket."""

    async def write(connection: Connection) -> str:
        if not await ticket_queries.withdraw_ticket(connection, scenario.ids[0], SELLER.user_id):
            raise TicketTaken
        return "withdrawn"

    return Script("withdraw", "tickets", (_lock_first(scenario), write))


def edit(scenario: Scenario) -> Script:
    """As `tickets.service.change_ticket`, of the first ticket's price."""

    async def write(connection: Connection) -> str:
        if not await ticket_queries.update_ticket(
            connection, scenario.ids[0], {"price": NEW_PRICE}
        ):
            raise TicketTaken
        await ticket_queries.append_events(connection, "ticket.updated", scenario.ids[:1])
        return "edited"

    return Script("edit", "tickets", (_lock_first(scenario), write))


def again(action: Action) -> Action:
    """The same action, repeated by another process."""

    def script(scenario: Scenario) -> Script:
        once = action(scenario)
        return Script(f"{once.name} again", once.role, once.steps)

    return script


class Outcome(NamedTuple):
    """The answers, and the rows after the next run of the expiration worker.

    Tickets are (status, buyer, price), orders by buyer (status, subtotal, live lines), payments
    statuses.
    """

    answers: tuple[tuple[str, tuple[str, ...]], ...]
    tickets: tuple[tuple[str, str | None, int], ...]
    orders: tuple[tuple[str, str, int, int], ...]
    payments: tuple[str, ...]

    def __str__(self) -> str:
        """One line: the answers; the first ticket; the orders."""
        published = [f"{name}: {' '.join(answer)}" for name, answer in self.answers if answer]
        status, whose, price = self.tickets[0]
        ticket = f"{status} by {whose}" if whose else status
        ticket += f" at {price}" if price != PRICE else ""
        orders = [f"{buyer} {status}" for buyer, status, *_ in self.orders]
        return "; ".join((", ".join(published), ticket, ", ".join(orders)))


async def outcome(scenario: Scenario, answers: Answers) -> Outcome:
    with correlation.bound():
        while await order_queries.expire_due(scenario.orders, 100):
            pass
    found = await scenario.owner.fetch(
        """
        select t.status, o.buyer_id, t.price from tickets.tickets t
            left join orders.orders o on o.id = t.order_id
        order by t.id
        """
    )
    placed = await scenario.owner.fetch(
        """
        select o.buyer_id, o.status, o.subtotal, count(l.ticket_id) filter (where l.live) as live
        from orders.orders o join orders.lines l on l.order_id = o.id group by o.id
        """
    )
    attempts = await scenario.owner.fetch("select status from payments.payments order by attempt")
    return Outcome(
        tuple(sorted(answers.items())),
        tuple((row["status"], BUYERS.get(row["buyer_id"]), row["price"]) for row in found),
        tuple(
            sorted(
                (BUYERS[row["buyer_id"]], row["status"], row["subtotal"], row["live"])
                for row in placed
            )
        ),
        tuple(row["status"] for row in attempts),
    )


async def violations(scenario: Scenario) -> list[str]:
    """Violations of the invariants of each schedule: a ticket has one live line, of the order that
    holds it, and each change has one event.
    """
    rows = await scenario.owner.fetch(
        """
        select 'ticket ' || t.id || ' of ' || coalesce(t.order_id::text, 'nobody')
               || ' is on live lines of '
               || coalesce(string_agg(l.order_id::text, ', '), 'nobody') as fault
        from tickets.tickets t left join orders.lines l on l.ticket_id = t.id and l.live
        group by t.id
        having count(l.order_id) > 1 or (array_agg(l.order_id))[1] is distinct from t.order_id
        union all
        select s.name || ' is at version ' || s.version || ', its events at ' ||
            coalesce(e.published::text, 'none')
        from (
            select id, 'ticket' as name, version from tickets.tickets
            union all select id, 'order', version from orders.orders
        ) s
        left join (
            select subject, array_agg(version order by id) as published
                from events.outbox group by subject
        ) e on e.subject = s.id
        where e.published is distinct from array(select generate_series(1, s.version))
        union all
        select 'an event ' || o.type || ' of something that is not there' from events.outbox o
        where o.subject not in (
            select id from tickets.tickets union all select id from orders.orders
                union all select id from tickets.shows
        )
        """
    )
    return [row["fault"] for row in rows]


_SHOW = NewShow(
    title="Harbour Lights",
    venue="Harbour Hall",
    city="Rotterdam",
    starts_at=datetime(2030, 12, 4, 20, tzinfo=UTC),
    timezone="Europe/Amsterdam",
)


def _payment(scenario: Scenario) -> Payment:
    assert scenario.payment is not None, "the scenario has no payment"
    return scenario.payment


def _lock_first(scenario: Scenario) -> Callable[[Connection], Awaitable[None]]:
    async def lock(connection: Connection) -> None:
        row = await ticket_queries.lock_ticket(connection, scenario.ids[0])
        assert row is not None
        if row.status != "available":
            raise TicketTaken

    return lock
