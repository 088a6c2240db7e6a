"""Applies each action to the system and to the model, and compares the two."""

from uuid import UUID, uuid4

from tests.search.clock import Clock
from tests.search.comparison import Comparison
from tests.search.entities import ENDED, PAID, UNPAID, Order
from tests.search.market_actions import MarketActions
from tests.search.messages import Messages
from tests.search.model import Model
from tests.search.payment_actions import PaymentActions
from tests.search.requests import Requests
from tests.search.running_system import RunningSystem

SELLERS, BUYERS = 2, 3

_WIPE = """
    do $$
    begin
        execute (
            select 'truncate ' || string_agg(format('%I.%I', schemaname, tablename), ', ')
            from pg_tables
            where schemaname in ('tickets', 'orders', 'payments')
              -- Migrations fill these.
              and tablename !~ 'transitions$|^currencies$'
               or (schemaname, tablename) = ('events', 'outbox')
        );
    end
    $$
"""


class ModelledSystem:
    """One example of a search, with people, shows, tickets and orders of its own."""

    def __init__(self, running: RunningSystem) -> None:
        self._running = running
        self.model = Model()
        self.sellers = [running.system.person(f"seller-{number}") for number in range(SELLERS)]
        self.buyers = [running.system.person(f"buyer-{number}") for number in range(BUYERS)]
        self.people = [*self.sellers, *self.buyers]
        self.requests = Requests()
        self.market_actions = MarketActions(self.model, self.requests)
        self.payment_actions = PaymentActions(running, self.model, self.requests)
        self.clock = Clock(running, self.model)
        self.messages = Messages(running, self.model, self.payment_actions.intents)
        self._comparison = Comparison(running, self.model, self.people, self.market_actions.shows)

    @property
    def orders(self) -> list[Order]:
        return self.model.orders

    async def stale_calls(self, order: Order) -> None:
        """Make each late call for an order that is paid or ended, under the role of its caller."""
        assert order.status in PAID | ENDED
        order_id, nobody = UUID(order.id), uuid4()
        for call in (
            "tickets.release($1, orders.tickets_of($1))",
            "tickets.extend($1, orders.tickets_of($1), now() + interval '1 h')",
            "tickets.sell($1, orders.tickets_of($1))",
            "cardinality(orders.close(array[$1::uuid], 'cancelled'))",
            "cardinality(orders.close(array[$1::uuid], 'expired'))",
        ):
            assert await self._running.as_orders.fetchval(f"select {call}", order_id) == 0, call
        for call, answer in {
            "orders.finish($1, $2)": False,
            "orders.fail($1, $2)": False,
            "orders.finish_refund($1, $2, true)": False,
            "orders.finish_refund($1, $2, false)": False,
            "orders.fail_refund($1, $2)": False,
        }.items():
            assert (
                await self._running.as_payments.fetchval(f"select {call}", order_id, nobody)
                is answer
            ), call

    async def compare(self) -> None:
        await self._comparison.compare_state()

    async def end(self) -> None:
        """Finish all that is pending, then compare the state and the whole history."""
        for order in self.orders:
            if order.status in UNPAID:
                await self.clock.make_overdue(order)
        await self.clock.expire_due(1000)
        for _ in range(2):
            await self.messages.reconcile()
        for _ in range(2):
            await self.messages.run_all_jobs()
        await self._settle_refunds()
        await self.compare()
        assert self.model.unresolved() == []
        assert self.model.refunding() == []
        assert {order.status for order in self.orders} <= {"completed", "refunded", *ENDED}
        for order in self.orders:
            kept = order.received - order.returned("succeeded")
            assert (order.status == "completed") == (kept > 0)
            assert (order.capturable, order.returned("pending")) == (0, 0)
        await self.messages.publish()
        await self._comparison.compare_history()

    async def _settle_refunds(self) -> None:
        """Request each open refund, let the bank decide, and deliver the messages."""
        await self.messages.reconcile_refunds()
        for order in self.orders:
            while order.returned("pending"):
                await self.payment_actions.settle_refund(order, succeed=True)
        await self.messages.reconcile_refunds()
        if any(order.is_returned_unnoticed or order.is_failed_unnoticed for order in self.orders):
            await self.messages.deliver_all_webhooks()
            await self.messages.run_all_jobs()
        for order in self.orders:
            if order.is_owed:
                buyer = next(person for person in self.people if person.name == order.buyer)
                await self.payment_actions.refund(buyer, order, relist=False)

    async def close(self, *, wipe: bool) -> None:
        """`wipe` deletes the rows, so that a failed example does not fail the next one."""
        for person in self.people:
            await person.http.aclose()
        if wipe:
            await self._running.shop.rows.execute(_WIPE)
