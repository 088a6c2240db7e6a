"""A seller who refunds a sale lists the ticket, or its seat, again at most at its price."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests import factories
from tests.factories import Json
from tests.orders.test_refund_functions import complete
from tests.replies import code
from tests.system import Person, System, until

ABOVE = (422, "price_above_refunded")
SEAT: Json = {"section": "Balcony", "row": "A", "seat": "7"}


class Market:
    """A show with one sold ticket, which its seller or its buyer refunds."""

    def __init__(self, system: System, rows: Any, payments: Any) -> None:
        self.seller, self.buyer = system.person("seller"), system.person("buyer")
        self.rows, self.payments = rows, payments
        self.show: Json = {}

    async def sold(self, **fields: Any) -> Json:
        self.show = self.show or await factories.show(self.seller)
        ticket = await factories.ticket(self.seller, self.show["id"], **fields)
        order = await factories.order(self.buyer, ticket["id"])
        await complete(self.payments, order, self.buyer, uuid4())
        return ticket | {"order": order}

    async def begin_refund(self, ticket: Json, *, by: Person | None = None) -> UUID:
        refund = uuid4()
        outcome = await self.payments.fetchval(
            "select outcome from orders.begin_refund($1, $2, $3, true, false)",
            UUID(ticket["order"]["id"]),
            refund,
            (by or self.seller).id,
        )
        assert outcome == "ok"
        return refund

    async def finish_refund(
        self, ticket: Json, refund: UUID, *, relist: bool, by_seller: bool = True
    ) -> None:
        assert await self.payments.fetchval(
            "select orders.finish_refund($1, $2, $3, $4)",
            UUID(ticket["order"]["id"]),
            refund,
            relist,
            by_seller,
        )

    async def refund(self, ticket: Json, *, relist: bool, by_seller: bool = True) -> None:
        refund = await self.begin_refund(ticket, by=None if by_seller else self.buyer)
        await self.finish_refund(ticket, refund, relist=relist, by_seller=by_seller)

    async def change(self, ticket: Json, **fields: Any) -> Any:
        return await self.seller.put(f"/api/tickets/{ticket['id']}", fields)

    async def list_again(self, *, by: Person | None = None, **fields: Any) -> Any:
        body = {"show_id": self.show["id"], "price": 4500, "currency": "EUR"} | SEAT | fields
        return await (by or self.seller).post("/api/tickets", body)


@pytest.fixture
async def market(system: System) -> Market:
    await system.start("api")
    return Market(system, await system.connect(), await system.connect("payments"))


@pytest.mark.parametrize("seat", [{}, SEAT])
async def test_a_relisted_ticket_costs_at_most_what_was_refunded(
    market: Market, seat: Json
) -> None:
    ticket = await market.sold(price=4500, **seat)
    await market.refund(ticket, relist=True)
    refused = await market.change(ticket, price=4501)
    assert code(refused) == ABOVE
    assert refused.json()["errors"] == [
        {
            "field": "price",
            "message": "must be at most 45.00 EUR: you refunded its sale",
            "maximum": 4500,
        }
    ]
    assert code(await market.change(ticket, price=900, currency="USD")) == ABOVE
    assert (await market.change(ticket, price=2000)).status_code == 200
    assert code(await market.change(ticket, price=9000)) == ABOVE
    assert (await market.change(ticket, price=4500)).status_code == 200


async def test_a_seat_that_is_listed_anew_costs_at_most_what_was_refunded(
    market: Market, system: System
) -> None:
    ticket = await market.sold(price=4500, **SEAT)
    await market.refund(ticket, relist=False)
    like = {"section": " balcony", "row": "a", "seat": "7 "}
    for fields in ({"price": 4501}, {"price": 9000} | like, {"price": 5000, "currency": "USD"}):
        assert code(await market.list_again(**fields)) == ABOVE
    specs = [
        {"price": 9900, "currency": "EUR", "seat": "1"},
        {"price": 9900, "currency": "EUR"} | SEAT,
    ]
    several = await market.seller.post(
        f"/api/shows/{market.show['id']}/tickets", {"tickets": specs}
    )
    assert code(several) == ABOVE
    assert several.json()["errors"][0]["field"] == "tickets[1].price"
    # Another seller, another seat and another show are free.
    assert (await market.list_again(price=9000, seat="8")).status_code == 201
    other = await factories.show(market.seller)
    assert (await market.list_again(price=9000, show_id=other["id"])).status_code == 201
    other_seller = system.person("other")
    listed = await market.list_again(by=other_seller, price=9000)
    assert listed.status_code == 201
    await other_seller.delete(f"/api/tickets/{listed.json()['id']}")
    again = await market.list_again(price=4500)
    assert again.status_code == 201
    assert code(await market.change(again.json(), price=4600)) == ABOVE


async def test_a_cap_follows_neither_a_change_of_the_seat_nor_a_withdrawal(
    market: Market,
) -> None:
    ticket = await market.sold(price=4500, **SEAT)
    await market.refund(ticket, relist=True)
    # The ticket keeps its cap under another seat, and the seat keeps its own.
    assert (await market.change(ticket, seat="9")).status_code == 200
    assert code(await market.change(ticket, price=4501)) == ABOVE
    assert code(await market.list_again(price=4501)) == ABOVE
    dear = (await market.list_again(price=9000, seat="10")).json()
    assert code(await market.change(dear, seat="7")) == ABOVE
    assert (await market.change(dear, seat="7", price=4400)).status_code == 200


async def test_of_two_refunds_of_a_seat_the_lower_price_counts(market: Market) -> None:
    first = await market.sold(price=4500, **SEAT)
    await market.refund(first, relist=False)
    second = await market.sold(price=3000, **SEAT)
    await market.refund(second, relist=False)
    assert code(await market.list_again(price=3001)) == ABOVE
    assert (await market.list_again(price=3000)).status_code == 201


async def test_a_refund_of_the_buyer_caps_no_price(market: Market) -> None:
    ticket = await market.sold(price=4500, **SEAT)
    await market.refund(ticket, relist=False, by_seller=False)
    assert (await market.list_again(price=9000)).status_code == 201


async def test_a_seat_that_is_listed_while_it_is_refunded_is_capped(
    market: Market, system: System
) -> None:
    """The insert waits for the seat, and then reads the cap of the transaction it waited for."""
    ticket = await market.sold(price=4500, **SEAT)
    refund = await market.begin_refund(ticket)
    waiting = "select count(*) from pg_locks where not granted"

    async def waits() -> bool:
        return bool(await market.rows.fetchval(waiting))

    async with asyncio.TaskGroup() as tasks, market.payments.transaction():
        await market.finish_refund(ticket, refund, relist=False)
        listing = tasks.create_task(market.list_again(price=9000))
        await until(waits)
    assert code(listing.result()) == ABOVE


async def test_the_database_refuses_a_capped_price_without_the_api(market: Market) -> None:
    ticket = await market.sold(price=4500)
    await market.refund(ticket, relist=True)
    with pytest.raises(Exception, match="above that of the refunded"):
        await market.rows.execute(
            "update tickets.tickets set price = 4501 where id = $1", UUID(ticket["id"])
        )


async def test_of_many_tickets_only_those_with_a_cap_below_the_price_stay_as_they_were(
    market: Market,
) -> None:
    free = await factories.ticket(market.seller)
    market.show = {"id": free["show_id"]}
    capped = await market.sold(price=4500, **SEAT)
    await market.refund(capped, relist=True)
    ids = [free["id"], capped["id"]]
    items: list[Json] = []
    for price, codes in ((9900, [None, "price_above_refunded"]), (4400, [None, None])):
        body = {"ticket_ids": ids, "price": price, "currency": "EUR"}
        reply = await market.seller.post("/api/tickets/changes", body)
        assert reply.status_code == 200, reply.text
        items = reply.json()["items"]
        assert [item["error"] and item["error"]["code"] for item in items] == codes
    assert [item["ticket"]["price"] for item in items] == [4400, 4400]
