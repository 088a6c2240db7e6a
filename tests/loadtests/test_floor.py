"""The floor of the benchmark of holds writes what the tables require."""

from uuid import UUID, uuid4

from loadtests.bench.floor import HOLD
from tests import factories
from tests.orders.rows import holder, live_orders
from tests.system import System


async def test_the_floor_holds_a_free_ticket(system: System) -> None:
    await system.start("api")
    ticket = await factories.ticket(system.person("seller"), section="Floor", seat="7")
    owner, order_id = await system.connect(), uuid4()
    held = await owner.fetchrow(HOLD, UUID(ticket["id"]), order_id, uuid4())
    assert (held["id"], held["total"]) == (order_id, 4600)
    assert await holder(owner, ticket) == ("held", str(order_id))
    assert await live_orders(owner, ticket) == [str(order_id)]
