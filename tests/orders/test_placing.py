"""Placing an order: all of its tickets or none, at prices that stay."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests import factories
from tests.orders.rows import holder, live_orders, make_overdue, snapshot, status
from tests.replies import code
from tests.system import System


async def test_an_order_holds_its_ticket_for_a_minute_and_appends_events(system: System) -> None:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    ticket = await factories.ticket(seller, title="Stalls", seat="7")
    reply = await buyer.post("/api/orders", {"ticket_id": ticket["id"]})
    assert reply.status_code == 201
    order = reply.json()
    assert (order["status"], order["buyer_id"], order["version"]) == ("pending", str(buyer.id), 1)
    assert 59 < order["seconds_left"] <= 60
    assert [
        (line["id"], line["price"], line["title"], line["seat"]) for line in order["tickets"]
    ] == [(ticket["id"], 4500, "Stalls", "7")]
    owner = await system.connect()
    assert await holder(owner, ticket) == ("held", order["id"])
    assert await live_orders(owner, ticket) == [order["id"]]
    assert await system.events(owner) == [
        ("show.created", ticket["show_id"]),
        ("ticket.listed", ticket["id"]),
        ("ticket.held", ticket["id"]),
        ("order.created", order["id"]),
    ]
    correlations = await owner.fetch(
        "select distinct correlation_id from events.outbox"
        " where subject = any ($1) and type <> 'ticket.listed'",
        [UUID(ticket["id"]), UUID(order["id"])],
    )
    assert [str(row["correlation_id"]) for row in correlations] == [reply.headers["x-request-id"]]
    assert (await buyer.get(f"/api/orders/{order['id']}")).json()["tickets"] == order["tickets"]


async def test_an_order_that_costs_more_than_was_shown_holds_nothing(system: System) -> None:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    ticket = await factories.ticket(seller)
    shown = 4725
    assert (await seller.put(f"/api/tickets/{ticket['id']}", {"price": 6000})).status_code == 200
    body = {"ticket_id": ticket["id"], "shown_total": shown}
    owner = await system.connect()
    before = await snapshot(owner)
    refused = await buyer.post("/api/orders", body)
    assert code(refused) == (409, "price_changed")
    assert {
        name: refused.json()[name] for name in ("shown_total", "total", "currency", "prices")
    } == {
        "shown_total": shown,
        "total": 6300,
        "currency": "EUR",
        "prices": [{"ticket_id": ticket["id"], "price": 6000}],
    }
    assert await snapshot(owner) == before
    # The buyer agrees to the new total; one that fell needs no consent.
    confirmed = await buyer.post("/api/orders", body | {"shown_total": 6300})
    assert (confirmed.status_code, confirmed.json()["total"]) == (201, 6300)
    cheaper = await factories.ticket(seller, seat="8")
    placed = await buyer.post("/api/orders", {"ticket_id": cheaper["id"], "shown_total": 9999})
    assert (placed.status_code, placed.json()["total"]) == (201, 4725)


PLACE = ("venue", "city", "starts_at", "timezone")
OTHERS = {
    "venue": "River Hall",
    "city": "Delft",
    "starts_at": "2030-12-05T20:00:00+01:00",
    "timezone": "Europe/London",
}


@pytest.mark.parametrize("field", [*PLACE, None])
async def test_an_order_for_a_show_that_moved_since_it_was_shown_holds_nothing(
    field: str | None, system: System
) -> None:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    ticket = await factories.ticket(seller)
    show_id = ticket["show_id"]
    shown = (await buyer.get(f"/api/shows/{show_id}")).json()
    # A show that was not shown at all is refused too.
    body = {"ticket_id": ticket["id"], "shown_shows": {}}
    if field is not None:
        body["shown_shows"] = {show_id: {name: shown[name] for name in PLACE}}
        change = {field: OTHERS[field]}
        assert (await seller.put(f"/api/shows/{show_id}", change)).status_code == 200
    owner = await system.connect()
    before = await snapshot(owner)
    refused = await buyer.post("/api/orders", body, key=str(uuid4()))
    assert code(refused) == (409, "show_changed")
    present = (await buyer.get(f"/api/shows/{show_id}")).json()
    assert refused.json()["shows"] == {show_id: {name: present[name] for name in (*PLACE, "title")}}
    assert await snapshot(owner) == before
    # The buyer agrees to the present one. Another title needs no consent.
    assert (await seller.put(f"/api/shows/{show_id}", {"title": "Renamed"})).status_code == 200
    body["shown_shows"] = {show_id: {name: present[name] for name in PLACE}}
    assert (await buyer.post("/api/orders", body)).status_code == 201


async def test_an_order_needs_a_session(system: System) -> None:
    await system.start("api")
    ticket = await factories.ticket(system.person())
    anonymous = system.anonymous()
    assert code(await anonymous.post("/api/orders", json={"ticket_id": ticket["id"]})) == (
        401,
        "unauthorized",
    )
    assert code(await anonymous.get("/api/orders")) == (401, "unauthorized")
    assert code(await anonymous.get(f"/api/orders/{uuid4()}")) == (401, "unauthorized")
    assert code(await anonymous.delete(f"/api/orders/{uuid4()}")) == (401, "unauthorized")


async def test_a_held_ticket_is_refused_with_the_end_of_its_hold(system: System) -> None:
    await system.start("api")
    ticket = await factories.ticket(system.person("seller"))
    order = await factories.order(system.person("first"), ticket["id"])
    owner = await system.connect()
    before = await snapshot(owner)
    reply = await system.person("second").post("/api/orders", {"ticket_id": ticket["id"]})
    assert code(reply) == (409, "ticket_unavailable")
    assert reply.json()["ticket_id"] == ticket["id"]
    assert reply.json()["held_until"] == order["expires_at"].replace("+00:00", "Z")
    assert await snapshot(owner) == before


async def test_a_cart_is_held_all_or_none(system: System) -> None:
    await system.start("api")
    seller = system.person("seller")
    show = await factories.show(seller)
    tickets = [await factories.ticket(seller, show["id"]) for _ in range(3)]
    await factories.order(system.person("first"), tickets[1]["id"])
    owner = await system.connect()
    before = await snapshot(owner)
    buyer = system.person("second")
    refused = await buyer.post("/api/orders", {"ticket_ids": [ticket["id"] for ticket in tickets]})
    assert code(refused) == (409, "ticket_unavailable")
    assert await snapshot(owner) == before
    cart = await factories.order(buyer, tickets[2]["id"], tickets[0]["id"])
    assert {line["id"] for line in cart["tickets"]} == {tickets[0]["id"], tickets[2]["id"]}
    assert (cart["subtotal"], cart["fee"], cart["total"]) == (9000, 450, 9450)


async def test_a_cart_has_one_currency(system: System) -> None:
    await system.start("api")
    seller = system.person("seller")
    show = await factories.show(seller)
    tickets = [await factories.ticket(seller, show["id"], currency=each) for each in ("EUR", "USD")]
    refused = await system.person().post(
        "/api/orders", {"ticket_ids": [ticket["id"] for ticket in tickets]}
    )
    assert code(refused) == (422, "mixed_currency")


async def test_a_seller_cannot_hold_its_own_ticket(system: System) -> None:
    await system.start("api")
    seller, other = system.person("seller"), system.person("other")
    show = await factories.show(seller)
    own, foreign = (
        await factories.ticket(seller, show["id"]),
        await factories.ticket(other, show["id"]),
    )
    assert code(await seller.post("/api/orders", {"ticket_id": own["id"]})) == (409, "own_ticket")
    cart = await seller.post("/api/orders", {"ticket_ids": [foreign["id"], own["id"]]})
    assert code(cart) == (409, "own_ticket")
    assert cart.json()["ticket_id"] == own["id"]
    assert await holder(await system.connect(), foreign) == ("available", None)


async def test_a_withdrawn_ticket_cannot_be_ordered(system: System) -> None:
    await system.start("api")
    seller = system.person("seller")
    ticket = await factories.ticket(seller)
    assert (await seller.delete(f"/api/tickets/{ticket['id']}")).status_code == 204
    reply = await system.person().post("/api/orders", {"ticket_id": ticket["id"]})
    assert code(reply) == (409, "ticket_unavailable")
    assert reply.json()["held_until"] is None


async def test_unknown_duplicate_and_too_many_tickets_are_refused(system: System) -> None:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    ticket = await factories.ticket(seller)
    known, unknown = ticket["id"], str(uuid4())
    many = [str(uuid4()) for _ in range(9)]
    refusals: list[tuple[dict[str, Any], tuple[int, str]]] = [
        ({"ticket_id": unknown}, (404, "ticket_not_found")),
        ({"ticket_ids": [known, unknown]}, (404, "ticket_not_found")),
        ({"ticket_ids": [known, known]}, (422, "duplicate_ticket")),
        ({"ticket_ids": [known, known.upper()]}, (422, "duplicate_ticket")),
        ({"ticket_ids": many}, (422, "too_many_tickets")),
        ({"ticket_ids": []}, (422, "invalid_input")),
        ({"ticket_id": known, "ticket_ids": [known]}, (422, "invalid_input")),
        ({}, (422, "invalid_input")),
    ]
    owner = await system.connect()
    before = await snapshot(owner)
    assert [code(await buyer.post("/api/orders", body)) for body, _ in refusals] == [
        expected for _, expected in refusals
    ]
    assert await snapshot(owner) == before


async def test_a_buyer_has_at_most_five_open_orders(system: System) -> None:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    show = await factories.show(seller)
    tickets = [await factories.ticket(seller, show["id"]) for _ in range(8)]
    replies = await asyncio.gather(
        *(buyer.post("/api/orders", {"ticket_id": ticket["id"]}) for ticket in tickets[:7])
    )
    assert sorted(reply.status_code for reply in replies) == [201] * 5 + [409] * 2
    refused = next(reply for reply in replies if reply.status_code == 409)
    assert code(refused) == (409, "too_many_open_orders")
    assert refused.json()["max_open_orders"] == 5
    first = next(reply for reply in replies if reply.status_code == 201).json()
    owner = await system.connect()
    await make_overdue(owner, first)
    assert (await buyer.post("/api/orders", {"ticket_id": tickets[7]["id"]})).status_code == 201


@pytest.mark.parametrize(
    ("prices", "currency", "fee"),
    [
        ([50], "EUR", 3),
        ([69], "EUR", 3),
        ([70], "EUR", 4),
        ([50, 60], "EUR", 6),
        ([500], "JPY", 25),
        ([61], "JPY", 3),
        ([4940, 55], "USD", 250),
        ([5130], "KWD", 260),
        ([5130, 5130], "KWD", 510),
        ([66_666_660], "KWD", 3_333_330),
        ([1050_00], "ISK", 53_00),
        ([2550], "UGX", 128),
    ],
)
async def test_the_fee_is_a_share_of_the_sum_rounded_half_up_in_steps(
    prices: list[int], currency: str, fee: int, system: System
) -> None:
    await system.start("api")
    seller = system.person("seller")
    show = await factories.show(seller)
    tickets = [
        await factories.ticket(seller, show["id"], price=price, currency=currency)
        for price in prices
    ]
    order = await factories.order(system.person("buyer"), *(ticket["id"] for ticket in tickets))
    subtotal = sum(prices)
    assert (order["subtotal"], order["fee"], order["total"]) == (subtotal, fee, subtotal + fee)
    assert order["currency"] == currency


async def test_an_order_is_at_most_what_one_payment_takes(system: System) -> None:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    show = await factories.show(seller)
    dear = [await factories.ticket(seller, show["id"], price=66_666_666) for _ in range(2)]
    refused = await buyer.post("/api/orders", {"ticket_ids": [one["id"] for one in dear]})
    assert code(refused) == (422, "total_too_large")
    assert (refused.json()["maximum"], refused.json()["currency"]) == (99_999_999, "EUR")
    assert refused.json()["detail"] == (
        "one payment takes at most 999999.99 EUR: choose fewer tickets"
    )
    order = await factories.order(buyer, dear[0]["id"])
    assert order["total"] == 69_999_999


async def test_a_ticket_from_before_the_lowest_price_is_never_held_alone(system: System) -> None:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    show = await factories.show(seller)
    cheap, other = [await factories.ticket(seller, show["id"], price=100) for _ in range(2)]
    owner = await system.connect()
    await owner.execute("set session_replication_role = replica")
    await owner.execute("update tickets.tickets set price = 10 where id = $1", cheap["id"])
    refused = await buyer.post("/api/orders", {"ticket_id": cheap["id"]})
    assert code(refused) == (422, "total_too_small")
    assert refused.json()["minimum"] == 50
    assert (await factories.order(buyer, cheap["id"], other["id"]))["total"] == 116


async def test_a_later_price_changes_no_earlier_order(system: System) -> None:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    ticket = await factories.ticket(seller, price=4500)
    order = await factories.order(buyer, ticket["id"])
    owner = await system.connect()
    await make_overdue(owner, order)
    changed = await seller.put(f"/api/tickets/{ticket['id']}", {"price": 9900})
    assert changed.status_code == 200
    kept = (await buyer.get(f"/api/orders/{order['id']}")).json()
    assert (kept["status"], kept["subtotal"], kept["tickets"][0]["price"]) == (
        "expired",
        4500,
        4500,
    )
    second = await factories.order(system.person("another"), ticket["id"])
    assert second["subtotal"] == 9900
    assert await status(owner, order) == "expired"
    assert await live_orders(owner, ticket) == [second["id"]]


async def test_my_orders_come_newest_first_page_by_page(system: System) -> None:
    system.configure(MAX_OPEN_ORDERS="20")
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    show = await factories.show(seller)
    made = []
    for _ in range(5):
        ticket = await factories.ticket(seller, show["id"])
        made.append((await factories.order(buyer, ticket["id"]))["id"])
    await factories.order(
        system.person("other"), (await factories.ticket(seller, show["id"]))["id"]
    )
    await buyer.delete(f"/api/orders/{made[1]}")
    owner = await system.connect()
    await make_overdue(owner, {"id": made[2]})
    seen: list[str] = []
    cursor = None
    while True:
        page = (
            await buyer.get("/api/orders", limit=2, **({"cursor": cursor} if cursor else {}))
        ).json()
        seen += [order["id"] for order in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == made[::-1]
    by_status = {
        status: [
            order["id"] for order in (await buyer.get("/api/orders", status=status)).json()["items"]
        ]
        for status in ("pending", "cancelled", "expired", "completed")
    }
    assert by_status == {
        "pending": [made[4], made[3], made[0]],
        "cancelled": [made[1]],
        "expired": [made[2]],
        "completed": [],
    }


async def test_another_users_order_and_a_missing_one_get_the_same_reply(system: System) -> None:
    await system.start("api")
    ticket = await factories.ticket(system.person("seller"))
    order = await factories.order(system.person("buyer"), ticket["id"])
    stranger = system.person("stranger")
    foreign = await stranger.get(f"/api/orders/{order['id']}")
    missing = await stranger.get(f"/api/orders/{uuid4()}")
    assert code(foreign) == (404, "order_not_found")
    assert foreign.content == missing.content
    foreign = await stranger.delete(f"/api/orders/{order['id']}")
    missing = await stranger.delete(f"/api/orders/{uuid4()}")
    assert code(foreign) == (404, "order_not_found")
    assert foreign.content == missing.content
    assert await holder(await system.connect(), ticket) == ("held", order["id"])
    assert (await stranger.get("/api/orders")).json() == {"items": [], "next_cursor": None}
