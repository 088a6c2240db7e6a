"""An order keeps its show as it was bought, and has the changes of its place and time."""

from typing import Any

from tests import factories
from tests.factories import SHOW, Json
from tests.system import Person, System

FIELDS = ("title", "venue", "city", "starts_at", "timezone")


def as_read(show: Json) -> Json:
    return {name: show[name] for name in FIELDS}


async def change(seller: Person, show: Json, **fields: Any) -> Json:
    reply = await seller.put(f"/api/shows/{show['id']}", fields)
    assert reply.status_code == 200, reply.text
    changed: Json = reply.json()
    return changed


async def test_an_order_keeps_the_show_that_was_bought(system: System) -> None:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    moved, other = await factories.show(seller), await factories.show(seller, title="Other")
    tickets = [(await factories.ticket(seller, show["id"]))["id"] for show in (moved, other)]
    order = await factories.order(buyer, *tickets)
    bought = {line["show_id"]: line["show"] for line in order["tickets"]}
    assert bought == {moved["id"]: as_read(moved), other["id"]: as_read(other)}
    assert order["show_changed"] == {}

    now = await change(seller, moved, title="New", venue="Elsewhere", city="Ghent")
    found = (await buyer.get(f"/api/orders/{order['id']}")).json()
    assert found["tickets"] == order["tickets"]
    on_sale = {"status": "on_sale"}
    assert found["show_changed"] == {moved["id"]: as_read(now) | on_sale}
    assert (await buyer.get("/api/orders")).json()["items"][0]["show_changed"] == {
        moved["id"]: as_read(now) | on_sale
    }
    await change(seller, moved, venue=SHOW["venue"], city=SHOW["city"])
    assert (await buyer.get(f"/api/orders/{order['id']}")).json()["show_changed"] == {}


async def test_another_time_is_a_change_and_another_title_is_none(system: System) -> None:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    show = await factories.show(seller)
    order = await factories.order(buyer, (await factories.ticket(seller, show["id"]))["id"])
    path = f"/api/orders/{order['id']}"
    await change(seller, show, title="Renamed")
    found = (await buyer.get(path)).json()
    assert found["show_changed"] == {}
    assert found["tickets"][0]["show"]["title"] == SHOW["title"]
    now = await change(seller, show, starts_at="2030-12-05T20:00:00+01:00")
    changed = {show["id"]: as_read(now) | {"status": "on_sale"}}
    assert (await buyer.get(path)).json()["show_changed"] == changed
    # A later order is for the show as it is then.
    second = await factories.order(buyer, (await factories.ticket(seller, show["id"]))["id"])
    assert (second["tickets"][0]["show"], second["show_changed"]) == (as_read(now), {})
