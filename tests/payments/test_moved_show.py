"""A payment names the place and time of its shows as the buyer was shown them."""

from typing import Any

import httpx
import pytest

from tests.factories import Json
from tests.payments.shop import Shop
from tests.replies import code

PLACE = ("venue", "city", "starts_at", "timezone")


async def pay(shop: Shop, order: Json, shown: dict[str, Any]) -> httpx.Response:
    body = {"order_id": order["id"], "payment_method": "pm_card_visa", "shown_shows": shown}
    return await shop.buyer.post("/api/payments", body)


async def move(shop: Shop, order: Json, **change: str) -> None:
    show_id = order["tickets"][0]["show_id"]
    assert (await shop.seller.put(f"/api/shows/{show_id}", change)).status_code == 200


def bought(order: Json) -> dict[str, Any]:
    return {
        line["show_id"]: {name: line["show"][name] for name in PLACE} for line in order["tickets"]
    }


@pytest.mark.parametrize(
    "change",
    [{"venue": "River Hall"}, {"city": "Delft"}, {"starts_at": "2030-12-05T20:00:00+01:00"}],
)
async def test_no_payment_begins_for_a_show_that_moved_since_it_was_shown(
    change: dict[str, str], shop: Shop
) -> None:
    order = await shop.order()
    (show_id,) = bought(order)
    await move(shop, order, **change)
    refused = await pay(shop, order, bought(order))
    assert code(refused) == (409, "show_changed")
    assert await shop.attempts(order) == []
    assert await shop.stripe.intents() == []
    # The hold is as it was: the payment has not extended it.
    kept = (await shop.buyer.get(f"/api/orders/{order['id']}")).json()
    assert (kept["status"], kept["version"]) == ("pending", 1)
    assert kept["expires_at"] == order["expires_at"]
    # The order and the refusal have the present show, to which the buyer agrees.
    present = refused.json()["shows"]
    assert present == kept["show_changed"]
    agreed = {show_id: {name: present[show_id][name] for name in PLACE}}
    assert (await pay(shop, order, agreed)).json()["status"] == "captured"
    await shop.assert_paid_once(order)


async def test_a_show_that_stays_or_has_another_title_needs_no_consent(shop: Shop) -> None:
    order = await shop.order()
    await move(shop, order, title="Renamed")
    assert (await pay(shop, order, bought(order))).json()["status"] == "captured"


async def test_a_stranger_learns_nothing_of_the_shows_of_an_order(shop: Shop) -> None:
    order = await shop.order()
    await move(shop, order, venue="River Hall")
    body = {"order_id": order["id"], "payment_method": "pm_card_visa", "shown_shows": {}}
    refused = await shop.system.person("stranger").post("/api/payments", body)
    assert code(refused) == (404, "order_not_found")
    assert "River" not in refused.text
