"""A late call for an order that lost its ticket changes nothing and is counted."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from backend.events.resources import open_resources
from backend.kernel import correlation
from tests import factories
from tests.factories import Json
from tests.orders.rows import make_overdue, snapshot
from tests.payments.shop import Shop, open_shop, worker_context
from tests.replies import code
from tests.system import System
from workers.expiration import Expiry, expire_due

Late = Callable[[Shop, Json], Awaitable[Any]]


async def cancel(shop: Shop, first: Json) -> Any:
    return code(await shop.buyer.delete(f"/api/orders/{first['id']}"))


async def pay(shop: Shop, first: Json) -> Any:
    return code(await shop.pay(first))


async def settle(shop: Shop, first: Json) -> Any:
    """The authorisation of a payment that began in time."""
    await shop.stripe.authenticate(first["id"])
    intent = await shop.stripe.intent(first["id"])
    async with worker_context(shop.system) as context:
        await context["payment_flow"].resume_intent(intent["id"])
    await shop.assert_nothing_taken(first)
    return await shop.attempts(first)


async def finish(shop: Shop, first: Json) -> Any:
    """The capture of a payment that did not win its order."""
    (payment,) = await shop.rows.fetch(
        "select id from payments.payments where order_id = $1", UUID(first["id"])
    )
    payments = await shop.system.connect("payments")
    return await payments.fetchval("select orders.finish($1, $2)", UUID(first["id"]), payment["id"])


async def expire(shop: Shop, _first: Json) -> Any:
    """The alarm that was set for the first order."""
    async with open_resources(shop.system.settings, "orders") as stores:
        with correlation.bound():
            return await expire_due({"expiry": Expiry(stores)}, 17)


@pytest.mark.parametrize(
    ("late", "answer", "counted"),
    [
        (cancel, (409, "order_not_cancellable"), "cancel"),
        (pay, (409, "order_expired"), "pay"),
        (settle, ["voided"], "settle"),
        (finish, False, None),
        (expire, 0, "expire"),
    ],
)
async def test_a_late_call_for_one_order_does_not_change_the_next(
    late: Late, answer: Any, counted: str | None, system: System
) -> None:
    await system.start("stripe", "api")
    async with open_shop(system) as shop:
        await shop.stripe.faults(webhooks={"paused": True})
        first = await shop.order()
        if late in {settle, finish}:
            assert (await shop.pay(first, "pm_card_authenticationRequired")).status_code == 201
        await make_overdue(shop.rows, first)
        second = await factories.order(system.person("next"), first["tickets"][0]["id"])
        before, count = await of_order(shop, second), stale(counted)
        assert await late(shop, first) == answer
        assert await of_order(shop, second) == before
        assert stale(counted) - count == (counted is not None)
        assert await shop.order_status(first) == "expired"


async def of_order(shop: Shop, order: Json) -> Any:
    """The order's row, its ticket, its lines and their events."""
    names = {order["id"], order["tickets"][0]["id"]}
    return [row for row in await snapshot(shop.rows) if names & set(row)]


def stale(operation: str | None) -> float:
    return (
        REGISTRY.get_sample_value("gittix_stale_attempts_total", {"operation": str(operation)})
        or 0.0
    )
