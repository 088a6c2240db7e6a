"""Where a ticket stands, what may happen to it at the same time, and where it stands then.

The scripts are the statements of production, in the order and under the roles in which the services run them.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID, uuid4

import asyncpg
import msgspec

from backend.kernel import correlation
from backend.kernel.database import Connection
from backend.kernel.ids import new_id
from backend.kernel.principal import Principal
from backend.kernel.settings import Settings
from backend.orders import queries as order_queries
from backend.orders import service as orders
from backend.orders.model import NewOrder, Order
from backend.payments import queries as payments
from backend.payments.errors import PaymentInProgress
from backend.payments.model import NewPayment, Payment
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
class Scene:
    """Two tickets, the first buyer's order if there is one, and its payment."""

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
        """Nothing but the two tickets, for sale."""
        await self.owner.execute(
            """
            delete from orders.lines; delete from orders.orders; delete from payments.payments;
            delete from tickets.tickets; delete from tickets.shows; delete from events.outbox
            """
        )
        show = await tickets.create_show(self.tickets, SELLER, _SHOW)
        specs = 2 * [TicketSpec(price=PRICE, currency="EUR")]
        listed = await tickets.list_for_sale(self.tickets, SELLER, show.id, specs)
        self.ids = [ticket.id for ticket in listed]

    async def held(self) -> None:
        await self._held(self.ids[:1])

    async def held_cart(self) -> None:
        await self._held(self.ids)

    async def paying(self) -> None:
        """The first buyer's payment is under way."""
        await self.held()
        await self._begin()

    async def paying_for_a_cart(self) -> None:
        await self.held_cart()
        await self._begin()

    async def lapsed(self) -> None:
        await self.owner.execute(
            """
            update tickets.tickets set held_until = now() - interval '2 seconds' where status = 'held';
            update orders.orders set expires_at = now() - interval '2 seconds'
            """
        )

    async def expired(self) -> None:
        await self.lapsed()
        await order_queries.expire_due(self.orders, 100)

    async def won(self) -> None:
        """The payment is authorised and has the order; it is not captured yet."""
        for step in settle(self).steps:
            await step(self.payments)

    async def _held(self, ids: Sequence[UUID]) -> None:
        placed = await orders.place(
            self.orders, self.settings, FIRST, NewOrder(ticket_ids=list(ids)), None
        )
        assert placed.body is not None
        order = msgspec.json.decode(placed.body, type=Order)
        self.order_id, self.total = order.id, order.total

    async def _begin(self) -> None:
        for step in begin(self).steps:
            await step(self.payments)
        self.payment = await payments.current_attempt(self.payments, self.order_id)


Arrangement = Sequence[Callable[[Scene], Awaitable[None]]]
Action = Callable[[Scene], Script]


def hold(buyer: UUID, *which: int) -> Action:
    """A buyer orders the ticket, or those at these places."""

    def script(scene: Scene) -> Script:
        async def place(connection: Connection) -> str:
            wanted = NewOrder(ticket_ids=[scene.ids[number] for number in which or (0,)])
            await orders.place(connection, scene.settings, buyer, wanted, None)
            return "held"

        return Script(f"{BUYERS[buyer]} holds", "orders", (place,))

    return script


def expire(scene: Scene) -> Script:
    """It skips what is locked, and the next turn finds that: what it answers decides nothing."""

    async def expire_due(connection: Connection) -> None:
        await order_queries.expire_due(connection, 100)

    return Script("expire", "orders", (expire_due,))


def cancel(scene: Scene) -> Script:
    async def give_up(connection: Connection) -> str:
        return await order_queries.cancel(connection, scene.order_id, FIRST)

    return Script("cancel", "orders", (give_up,))


def begin(scene: Scene) -> Script:
    """As `PaymentFlow.begin`."""
    payment_id = new_id()
    begun: list[payments.Begun] = []

    async def ask(connection: Connection) -> None:
        begun.append(await payments.begin(connection, scene.order_id, FIRST, payment_id))
        if begun[0].outcome != "ok":
            raise REFUSALS[begun[0].outcome]

    async def insert(connection: Connection) -> str:
        try:
            new = NewPayment(order_id=scene.order_id, payment_method="pm_card_visa")
            await payments.insert(connection, payment_id, new, FIRST, begun[0], None)
        except asyncpg.UniqueViolationError as fault:
            raise PaymentInProgress from fault
        return "begun"

    return Script("begin", "payments", (ask, insert))


def settle(scene: Scene) -> Script:
    """As `PaymentSteps._settle`. The payment's own row comes last and is nobody else's: no step of its own, here and below."""
    payment = _payment(scene)
    intent = Intent("pi_1", "requires_capture", scene.total, "EUR", scene.order_id, "", None)

    async def decide(connection: Connection) -> str:
        won = await payments.settle(connection, payment, intent)
        await payments.advance(
            connection, payment.id, ("started", "requires_action", "failed"), "authorised"
        )
        return "won" if won else "refused"

    return Script("settle", "payments", (decide,))


def finish(scene: Scene) -> Script:
    """As `PaymentSteps._finish`."""
    payment = _payment(scene)

    async def complete(connection: Connection) -> str:
        done = await payments.finish(connection, payment)
        await payments.advance(connection, payment.id, ("started", "authorised"), "captured")
        return "completed" if done else "refused"

    return Script("finish", "payments", (complete,))


def fail(scene: Scene) -> Script:
    """As `PaymentSteps._record_void`."""
    payment = _payment(scene)

    async def give_up(connection: Connection) -> str:
        done = await payments.fail(connection, payment)
        await payments.advance(connection, payment.id, ("started", "authorised"), "voided")
        return "cancelled" if done else "refused"

    return Script("fail", "payments", (give_up,))


def withdraw(scene: Scene) -> Script:
    """As `tickets.service.withdraw`, of the first ticket."""

    async def write(connection: Connection) -> str:
        if not await ticket_queries.withdraw_ticket(connection, scene.ids[0], SELLER.user_id):
            raise TicketTaken
        await ticket_queries.announce(connection, "ticket.withdrawn", scene.ids[:1])
        return "withdrawn"

    return Script("withdraw", "tickets", (_lock_first(scene), write))


def edit(scene: Scene) -> Script:
    """As `tickets.service.change_ticket`, of the first ticket's price."""

    async def write(connection: Connection) -> str:
        if not await ticket_queries.update_ticket(connection, scene.ids[0], {"price": NEW_PRICE}):
            raise TicketTaken
        await ticket_queries.announce(connection, "ticket.updated", scene.ids[:1])
        return "edited"

    return Script("edit", "tickets", (_lock_first(scene), write))


def again(action: Action) -> Action:
    """The same once more, by another process."""

    def script(scene: Scene) -> Script:
        once = action(scene)
        return Script(f"{once.name} again", once.role, once.steps)

    return script


class Outcome(NamedTuple):
    """What was answered, and where everything stands after the expiration worker's next turn.

    Tickets: (status, whose, price). Orders, by buyer: (status, subtotal, live lines). Payments: statuses.
    """

    answers: tuple[tuple[str, tuple[str, ...]], ...]
    tickets: tuple[tuple[str, str | None, int], ...]
    orders: tuple[tuple[str, str, int, int], ...]
    payments: tuple[str, ...]

    def __str__(self) -> str:
        """In a line: the answers; the first ticket; the orders."""
        told = [f"{name}: {' '.join(answer)}" for name, answer in self.answers if answer]
        status, whose, price = self.tickets[0]
        ticket = f"{status} by {whose}" if whose else status
        ticket += f" at {price}" if price != PRICE else ""
        orders = [f"{buyer} {status}" for buyer, status, *_ in self.orders]
        return "; ".join((", ".join(told), ticket, ", ".join(orders)))


async def outcome(scene: Scene, answers: Answers) -> Outcome:
    with correlation.bound():
        while await order_queries.expire_due(scene.orders, 100):
            pass
    found = await scene.owner.fetch(
        """
        select t.status, o.buyer_id, t.price from tickets.tickets t left join orders.orders o on o.id = t.order_id
        order by t.id
        """
    )
    placed = await scene.owner.fetch(
        """
        select o.buyer_id, o.status, o.subtotal, count(l.ticket_id) filter (where l.live) as live
        from orders.orders o join orders.lines l on l.order_id = o.id group by o.id
        """
    )
    attempts = await scene.owner.fetch("select status from payments.payments order by attempt")
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


async def faults(scene: Scene) -> list[str]:
    """What must hold whatever came first: one live line a ticket, its order's; each change told once, and nothing else."""
    rows = await scene.owner.fetch(
        """
        select 'ticket ' || t.id || ' of ' || coalesce(t.order_id::text, 'nobody') || ' is on live lines of '
               || coalesce(string_agg(l.order_id::text, ', '), 'nobody') as fault
        from tickets.tickets t left join orders.lines l on l.ticket_id = t.id and l.live
        group by t.id having count(l.order_id) > 1 or (array_agg(l.order_id))[1] is distinct from t.order_id
        union all
        select s.name || ' is at version ' || s.version || ', its events at ' || coalesce(e.told::text, 'none')
        from (
            select id, 'ticket' as name, version from tickets.tickets
            union all select id, 'order', version from orders.orders
        ) s
        left join (
            select subject, array_agg(version order by id) as told from events.outbox group by subject
        ) e on e.subject = s.id
        where e.told is distinct from array(select generate_series(1, s.version))
        union all
        select 'an event ' || o.type || ' of something that is not there' from events.outbox o
        where o.subject not in (
            select id from tickets.tickets union all select id from orders.orders union all select id from tickets.shows
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


def _payment(scene: Scene) -> Payment:
    assert scene.payment is not None, "nobody pays in this scene"
    return scene.payment


def _lock_first(scene: Scene) -> Callable[[Connection], Awaitable[None]]:
    async def lock(connection: Connection) -> None:
        row = await ticket_queries.lock_ticket(connection, scene.ids[0])
        assert row is not None
        if row.status != "available":
            raise TicketTaken

    return lock
