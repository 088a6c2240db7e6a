"""The main job through a real nginx: two processes of each service, real pusher-js, a real browser."""

import pytest

from tests import factories
from tests.deploy.fleet import Fleet
from tests.deploy.nginx import Nginx
from tests.system import until
from tests.test_purchase import theatre

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="module"),
]


async def test_a_ticket_is_held_paid_and_sold_and_everybody_hears_of_it(fleet: Fleet, nginx: Nginx) -> None:
    async with theatre(fleet.system, parts=()) as stage:
        ticket = await stage.listed()
        order = await factories.order(stage.shop.buyer, ticket["id"])
        paid = await factories.payment(stage.shop.buyer, order["id"])
        assert paid["status"] == "captured"
        await stage.hear_sale(ticket)
        await stage.assert_shown_is_fresh(stage.buyer, ticket)

    async def told_by_webhook() -> bool:
        webhooks = [line for line in nginx.access_log() if line["path"] == "/api/payments/webhook"]
        return bool(webhooks) and all(line["status"] == 200 for line in webhooks)

    # Its signature is over the body's bytes.
    await until(told_by_webhook)
