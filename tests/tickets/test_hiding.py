"""Hiding: the owner of a show takes a listing out of it; an order that has the ticket keeps it."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests import factories
from tests.factories import Json
from tests.orders.rows import make_overdue
from tests.replies import code
from tests.system import Person, System
from tests.tickets.test_tickets import listed, taken


class Stage:
    """The owner of a show, and a stranger with a ticket in it."""

    def __init__(self, system: System) -> None:
        self.owner, self.stranger, self.buyer = (
            system.person(name) for name in ("owner", "stranger", "buyer")
        )
        self.show: Json = {}
        self.ticket: Json = {}

    async def open(self) -> "Stage":
        self.show = await factories.show(self.owner)
        self.ticket = await factories.ticket(self.stranger, self.show["id"], price=60)
        return self

    async def hide(self, person: Person | None = None, *, undo: bool = False) -> Any:
        action = "unhide" if undo else "hide"
        return await (person or self.owner).post(f"/api/tickets/{self.ticket['id']}/{action}")

    async def counts(self) -> tuple[Any, ...]:
        show = (await self.buyer.get(f"/api/shows/{self.show['id']}")).json()
        return tuple(show[name] for name in ("available", "held", "sold", "from_price"))

    async def order(self) -> Any:
        return await self.buyer.post("/api/orders", {"ticket_id": self.ticket["id"]})


@pytest.fixture
async def stage(system: System) -> Stage:
    await system.start("api")
    return await Stage(system).open()


async def test_a_hidden_ticket_is_not_listed_counted_or_held(stage: Stage) -> None:
    await factories.ticket(stage.owner, stage.show["id"], price=4500)
    assert await stage.counts() == (2, 0, 0, 60)
    hidden = await stage.hide()
    assert (hidden.status_code, hidden.json()["hidden"], hidden.headers["etag"]) == (
        200,
        True,
        '"2"',
    )
    assert await stage.counts() == (1, 0, 0, 4500)
    ticket_id = stage.ticket["id"]
    for query in ({}, {"sort": "price"}, {"q": "harbour"}, {"seller": str(stage.stranger.id)}):
        assert ticket_id not in await listed(stage.buyer, **query)
    assert code(await stage.order()) == (409, "ticket_unavailable")
    assert (await stage.buyer.get(f"/api/tickets/{ticket_id}")).json()["hidden"] is True


async def test_hiding_is_undone(stage: Stage) -> None:
    await stage.hide()
    shown = await stage.hide(undo=True)
    assert (shown.status_code, shown.json()["hidden"]) == (200, False)
    assert await stage.counts() == (1, 0, 0, 60)
    assert await listed(stage.buyer) == [stage.ticket["id"]]
    assert (await stage.order()).status_code == 201


async def test_only_the_owner_of_the_show_hides(stage: Stage, system: System) -> None:
    for person in (stage.stranger, stage.buyer):
        for undo in (False, True):
            assert code(await stage.hide(person, undo=undo)) == (403, "not_your_show")
    assert code(await stage.owner.post(f"/api/tickets/{uuid4()}/hide")) == (404, "ticket_not_found")
    anonymous = system.person("nobody").http
    anonymous.headers.pop("authorization")
    path = f"/api/tickets/{stage.ticket['id']}/hide"
    assert code(await anonymous.post(path)) == (401, "unauthorized")
    assert await stage.counts() == (1, 0, 0, 60)


async def test_the_seller_and_the_owner_find_a_hidden_ticket(stage: Stage) -> None:
    await stage.hide()
    ticket_id, show_id = stage.ticket["id"], stage.show["id"]
    assert await listed(stage.stranger, seller="me") == [ticket_id]
    assert await listed(stage.stranger, seller="me", show_id=show_id) == [ticket_id]
    assert await listed(stage.stranger, hidden=True, show_id=show_id) == [ticket_id]
    assert await listed(stage.owner, hidden=True, show_id=show_id) == [ticket_id]
    assert await listed(stage.buyer, hidden=True, show_id=show_id) == []
    refused = await stage.owner.get("/api/tickets", hidden=True)
    assert code(refused) == (422, "invalid_input")


async def test_hiding_twice_publishes_one_event(stage: Stage, system: System) -> None:
    for undo in (True, False, False, True, True):
        assert (await stage.hide(undo=undo)).status_code == 200
    rows = await system.connect()
    found = await rows.fetch(
        "select type, version, data->>'hidden' as hidden from events.outbox"
        " where subject = $1 order by id",
        UUID(stage.ticket["id"]),
    )
    assert [tuple(row) for row in found] == [
        ("ticket.listed", 1, "false"),
        ("ticket.hidden", 2, "true"),
        ("ticket.unhidden", 3, "false"),
    ]


async def test_a_withdrawn_ticket_cannot_be_hidden(stage: Stage) -> None:
    await stage.stranger.delete(f"/api/tickets/{stage.ticket['id']}")
    assert code(await stage.hide()) == (409, "ticket_withdrawn")


async def test_the_seller_may_change_and_withdraw_a_hidden_ticket(stage: Stage) -> None:
    await stage.hide()
    path = f"/api/tickets/{stage.ticket['id']}"
    changed = await stage.stranger.put(path, {"price": 70})
    assert (changed.status_code, changed.json()["hidden"]) == (200, True)
    assert await stage.counts() == (0, 0, 0, None)
    assert (await stage.stranger.delete(path)).status_code == 204


@pytest.mark.parametrize(
    ("status", "counts"),
    [("held", (0, 0, 0, None)), ("reserved", (0, 1, 0, None)), ("sold", (0, 0, 1, None))],
)
async def test_an_order_keeps_a_ticket_that_is_hidden_afterwards(
    status: str, counts: tuple[Any, ...], stage: Stage, system: System
) -> None:
    order = await taken(system, stage.buyer, stage.ticket, status)
    assert (await stage.hide()).status_code == 200
    assert await stage.counts() == counts
    payments, order_id, payment = await system.connect("payments"), UUID(order["id"]), uuid4()
    if status == "held":
        await payments.execute(
            "select from orders.begin_payment($1, $2, $3)", order_id, stage.buyer.id, payment
        )
        settled = await payments.fetchval(
            "select orders.settle($1, $2, $3, 'EUR')", order_id, payment, order["total"]
        )
        assert settled == "won"
        assert await stage.counts() == (0, 1, 0, None)
    assert (await stage.buyer.get(f"/api/orders/{order['id']}")).json()["tickets"][0]["id"] == (
        stage.ticket["id"]
    )


async def test_a_hold_that_ends_does_not_list_a_hidden_ticket_again(
    stage: Stage, system: System
) -> None:
    order = await factories.order(stage.buyer, stage.ticket["id"])
    await stage.hide()
    await make_overdue(await system.connect(), order)
    assert await stage.counts() == (0, 0, 0, None)
    rival = system.person("rival")
    refused = await rival.post("/api/orders", {"ticket_id": stage.ticket["id"]})
    assert code(refused) == (409, "ticket_unavailable")


async def test_a_late_payment_does_not_win_a_ticket_that_was_hidden_meanwhile(
    stage: Stage, system: System
) -> None:
    order = await factories.order(stage.buyer, stage.ticket["id"])
    payments, order_id, payment = await system.connect("payments"), UUID(order["id"]), uuid4()
    await payments.execute(
        "select from orders.begin_payment($1, $2, $3)", order_id, stage.buyer.id, payment
    )
    owner, orders = await system.connect(), await system.connect("orders")
    await make_overdue(owner, order)
    await orders.execute("select orders.expire_due(10)")
    await stage.hide()
    settled = await payments.fetchval(
        "select orders.settle($1, $2, $3, 'EUR')", order_id, payment, order["total"]
    )
    assert settled != "won"


async def test_of_a_hold_and_a_hiding_at_once_the_order_is_placed_or_refused_whole(
    system: System,
) -> None:
    await system.start("api")
    outcomes = set()
    for _ in range(12):
        stage = await Stage(system).open()
        ordered, hidden = await asyncio.gather(stage.order(), stage.hide())
        assert hidden.status_code == 200
        found = (await stage.buyer.get(f"/api/tickets/{stage.ticket['id']}")).json()
        expected = "held" if ordered.status_code == 201 else "available"
        assert (found["status"], found["hidden"]) == (expected, True)
        outcomes.add(ordered.status_code)
    assert outcomes <= {201, 409}
