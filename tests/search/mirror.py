"""Does each thing to the system and to the model, and compares what both say."""

from uuid import UUID, uuid4

from tests.search.clock import Clock
from tests.search.comparison import Comparison
from tests.search.entities import ENDED, UNPAID, Order
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
        """All that could still arrive for an order that ended, as the roles that say it."""
        assert order.status in ENDED
        order_id, nobody = UUID(order.id), uuid4()
        for call in (
            "tickets.release($1, $2)",
            "tickets.extend($1, now() + interval '1 h', $2)",
            "tickets.sell($1, $2)",
            "cardinality(orders.close(array[$1::uuid], 'cancelled', $2))",
            "cardinality(orders.close(array[$1::uuid], 'expired', $2))",
        ):
            assert await self._on.as_orders.fetchval(f"select {call}", order_id, nobody) == 0, call
        for call in ("orders.finish($1, $2, $2)", "orders.fail($1, $2, $2)"):
            assert await self._on.as_payments.fetchval(f"select {call}", order_id, nobody) is False, call

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
        await self.compare()
        assert self.model.unresolved() == []
        assert {order.status for order in self.orders} <= {"completed", *ENDED}
        for order in self.orders:
            assert (order.status == "completed") == (order.received > 0)
            assert order.capturable == 0
        await self.messages.publish()
        await self._comparison.of_the_history()

    async def close(self, *, wipe: bool) -> None:
        """`wipe`: this example went wrong, and what it left must not be the next one's fault."""
        for person in self.people:
            await person.http.aclose()
        if wipe:
            await self._on.shop.rows.execute(_WIPE)
