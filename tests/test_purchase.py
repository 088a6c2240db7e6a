"""The way of a purchase, end to end: list, hold, pay; the seller hears of it."""

from redis.asyncio import Redis

from tests import factories
from tests.system import System, until


async def test_a_paid_order_is_completed_and_its_ticket_sold(system: System) -> None:
    await system.start("stripe", "api", "relay", "worker")
    seller, buyer = system.person("seller"), system.person("buyer")
    ticket = await factories.ticket(seller)
    order = await factories.order(buyer, ticket["id"])
    assert (order["subtotal"], order["fee"], order["total"], order["currency"]) == (4500, 225, 4725, "EUR")
    paid = await factories.payment(buyer, order["id"])
    assert paid["status"] == "captured"
    assert (await buyer.get(f"/api/orders/{order['id']}")).json()["status"] == "completed"
    assert (await buyer.get(f"/api/tickets/{ticket['id']}")).json()["status"] == "sold"
    redis = system.redis()
    published = await until(lambda: _published(redis, 10))
    assert published >= 10


async def _published(redis: Redis, least: int) -> int:
    count: int = await redis.xlen("gittix:events")
    return count if count >= least else 0
