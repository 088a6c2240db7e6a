"""Does each thing to the system and to the model, and compares what both say."""

from uuid import UUID, uuid4

from tests.search.clock import Clock
from tests.search.comparison import Comparison
from tests.search.entities import ENDED, PAID, UNPAID, Order
from tests.search.messages import Messages
from tests.search.model import Model
from tests.search.requests import Requests
from tests.search.stage import Stage
from tests.search.till import Till
from tests.search.trade import Trade

SELLERS, BUYERS = 2, 3

_WIPE = """
    do $$
    begin
        execute (
            select 'truncate ' || string_agg(format('%I.%I', schemaname, tablename), ', ') from pg_tables
            where schemaname in ('tickets', 'orders', 'payments') or (schemaname, tablename) = ('events', 'outbox')
        );
    end
    $$
"""


class Mirror:
    """One example: people, shows, tickets and orders of its own, in the system and in the model."""

    def __init__(self, on: Stage) -> None:
        self._on = on
        self.model = Model()
        self.sellers = [on.system.person(f"seller-{number}") for number in range(SELLERS)]
        self.buyers = [on.system.person(f"buyer-{number}") for number in range(BUYERS)]
        self.people = [*self.sellers, *self.buyers]
        self.requests = Requests()
        self.trade = Trade(self.model, self.requests)
        self.till = Till(on, self.model, self.requests)
        self.clock = Clock(on, self.model)
        self.messages = Messages(on, self.model, self.till.intents)
        self._comparison = Comparison(on, self.model, self.people, self.trade.shows)

    @property
    def orders(self) -> list[Order]:
        return self.model.orders

    async def stale_calls(self, order: Order) -> None:
        """All that could still arrive for an order that is paid or ended, as the roles that say it."""
        assert order.status in PAID | ENDED
        order_id, nobody = UUID(order.id), uuid4()
        for call in (
            "tickets.release($1, orders.tickets_of($1), $2)",
            "tickets.extend($1, orders.tickets_of($1), now() + interval '1 h', $2)",
            "tickets.sell($1, orders.tickets_of($1), $2)",
            "cardinality(orders.close(array[$1::uuid], 'cancelled', $2))",
            "cardinality(orders.close(array[$1::uuid], 'expired', $2))",
        ):
            assert await self._on.as_orders.fetchval(f"select {call}", order_id, nobody) == 0, call
        for call, answer in {
            "orders.finish($1, $2, $2)": False,
            "orders.fail($1, $2, $2)": False,
            "orders.finish_refund($1, $2, true, $2)": order.status == "refunded",
            "orders.finish_refund($1, $2, false, $2)": order.status == "refunded",
            "orders.fail_refund($1, $2, $2)": False,
        }.items():
            assert (
                await self._on.as_payments.fetchval(f"select {call}", order_id, nobody) is answer
            ), call

    async def compare(self) -> None:
        await self._comparison.of_the_moment()

    async def end(self) -> None:
        """Let everything come to rest; compare; look at the whole history."""
        for order in self.orders:
            if order.status in UNPAID:
                await self.clock.lapse(order)
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
        await self._comparison.of_the_history()

    async def _settle_refunds(self) -> None:
        """What Stripe has not been asked for is asked for, what is at the bank comes back, and the shop hears of it."""
        await self.messages.reconcile_refunds()
        for order in self.orders:
            if order.returned("pending"):
                await self.till.settle_refund(order, succeed=True)
        await self.messages.reconcile_refunds()
        if any(order.is_returned_unnoticed or order.is_failed_unnoticed for order in self.orders):
            await self.messages.deliver_all_webhooks()
            await self.messages.run_all_jobs()
        for order in self.orders:
            if order.is_owed:
                buyer = next(person for person in self.people if person.name == order.buyer)
                await self.till.refund(buyer, order, relist=False)

    async def close(self, *, wipe: bool) -> None:
        """`wipe`: this example went wrong, and what it left must not be the next one's fault."""
        for person in self.people:
            await person.http.aclose()
        if wipe:
            await self._on.shop.rows.execute(_WIPE)
