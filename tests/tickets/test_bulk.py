"""Many tickets change at once: each has its own outcome, event and audit row."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from tests import factories
from tests.factories import Json
from tests.orders.rows import make_overdue
from tests.replies import code
from tests.system import Person, System


async def listed(seller: Person, count: int, **fields: Any) -> list[str]:
    show = await factories.show(seller)
    return [
        (await factories.ticket(seller, show["id"], seat=str(number), **fields))["id"]
        for number in range(count)
    ]


async def change(seller: Person, ids: list[str], **fields: Any) -> dict[str, Json]:
    reply = await seller.post("/api/tickets/changes", {"ticket_ids": ids} | fields)
    assert reply.status_code == 200, reply.text
    items = reply.json()["items"]
    assert [item["id"] for item in items] == ids
    return {item["id"]: item for item in items}


def errors(items: dict[str, Json]) -> list[str | None]:
    return [item["error"] and item["error"]["code"] for item in items.values()]


async def events(owner: Any, type_: str) -> list[tuple[str, int]]:
    rows = await owner.fetch(
        "select subject, version from events.outbox where type = $1 order by subject", type_
    )
    return [(str(row["subject"]), row["version"]) for row in rows]


async def test_many_tickets_get_a_price_and_an_event_each(system: System) -> None:
    await system.start("api")
    seller = system.person("seller")
    owner = await system.connect()
    ids = await listed(seller, 5)
    items = await change(seller, ids, price=5200, currency="eur")
    assert errors(items) == [None] * 5
    assert {item["ticket"]["price"] for item in items.values()} == {5200}
    assert {item["ticket"]["version"] for item in items.values()} == {2}
    assert await events(owner, "ticket.updated") == [(ticket_id, 2) for ticket_id in sorted(ids)]
    # The same price again changes nothing, also without a key.
    again = await change(seller, ids, price=5200, currency="EUR")
    assert errors(again) == [None] * 5
    assert len(await events(owner, "ticket.updated")) == 5
    assert {item["ticket"]["version"] for item in again.values()} == {2}


async def test_many_tickets_are_withdrawn_with_an_event_and_an_audit_row_each(
    system: System,
) -> None:
    await system.start("api")
    seller = system.person("seller")
    owner = await system.connect()
    ids = await listed(seller, 4)
    items = await change(seller, ids, withdraw=True)
    assert errors(items) == [None] * 4
    assert {item["ticket"]["status"] for item in items.values()} == {"withdrawn"}
    assert await events(owner, "ticket.withdrawn") == [(ticket_id, 2) for ticket_id in sorted(ids)]
    audited = await owner.fetch(
        "select actor_id, to_status from tickets.audit where ticket_id = any ($1)",
        [UUID(ticket_id) for ticket_id in ids],
    )
    assert [tuple(row) for row in audited] == [(seller.id, "withdrawn")] * 4
    # The seats are free to be listed again.
    show_id = next(iter(items.values()))["ticket"]["show_id"]
    assert (await factories.ticket(seller, show_id, seat="0"))["status"] == "available"


async def test_each_ticket_that_stays_as_it_was_has_its_reason(system: System) -> None:
    await system.start("api")
    seller, other, buyer = (system.person(name) for name in ("seller", "other", "buyer"))
    free, held, sold, gone, yen = await listed(seller, 5)
    strangers = (await factories.ticket(other))["id"]
    unknown = str(uuid4())
    await factories.order(buyer, held)
    owner = await system.connect()
    order = await factories.order(buyer, sold)
    await owner.execute("set session_replication_role = replica")
    await owner.execute(
        "update tickets.tickets set status = 'sold', held_until = null where order_id = $1",
        UUID(order["id"]),
    )
    await owner.execute("set session_replication_role = origin")
    assert (await seller.delete(f"/api/tickets/{gone}")).status_code == 204
    changed = await seller.put(f"/api/tickets/{yen}", {"price": 9800, "currency": "JPY"})
    assert changed.status_code == 200
    ids = [free, held, sold, gone, yen, strangers, unknown]
    items = await change(seller, ids, price=5000, currency="EUR")
    assert errors(items) == [
        None,
        "ticket_taken",
        "ticket_taken",
        "ticket_withdrawn",
        "other_currency",
        "not_your_ticket",
        "ticket_not_found",
    ]
    assert items[strangers]["ticket"] is None
    assert items[yen]["ticket"]["price"] == 9800
    withdrawn = await change(seller, ids, withdraw=True)
    assert errors(withdrawn)[4:] == [None, "not_your_ticket", "ticket_not_found"]
    assert errors(withdrawn)[:4] == [None, "ticket_taken", "ticket_taken", "ticket_withdrawn"]
    stranger = (await other.get(f"/api/tickets/{strangers}")).json()
    assert (stranger["status"], stranger["version"]) == ("available", 1)


async def test_a_ticket_with_an_ended_hold_changes(system: System) -> None:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    owner = await system.connect()
    [ticket_id] = await listed(seller, 1)
    await make_overdue(owner, await factories.order(buyer, ticket_id))
    assert errors(await change(seller, [ticket_id], price=5000, currency="EUR")) == [None]
    assert errors(await change(seller, [ticket_id], withdraw=True)) == [None]


async def test_a_repeated_request_with_its_key_gets_the_stored_outcomes(system: System) -> None:
    await system.start("api")
    seller = system.person("seller")
    owner = await system.connect()
    ids = await listed(seller, 3)
    body, key = {"ticket_ids": ids, "withdraw": True}, str(uuid4())
    first = await seller.post("/api/tickets/changes", body, key=key)
    second = await seller.post("/api/tickets/changes", body, key=key)
    assert first.status_code == 200
    assert first.json() == second.json()
    assert len(await events(owner, "ticket.withdrawn")) == 3


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"ticket_ids": []}, "ticket_ids"),
        ({"ticket_ids": [str(uuid4()) for _ in range(501)], "withdraw": True}, "ticket_ids"),
        ({"ticket_ids": [str(UUID(int=7))] * 2, "withdraw": True}, "ticket_ids"),
        ({"ticket_ids": [str(uuid4())]}, "price"),
        ({"ticket_ids": [str(uuid4())], "price": 5000, "withdraw": True}, "price"),
        ({"ticket_ids": [str(uuid4())], "price": 5000}, "currency"),
        ({"ticket_ids": [str(uuid4())], "price": 5000, "currency": "XXX"}, "currency"),
        ({"ticket_ids": [str(uuid4())], "price": 1, "currency": "EUR"}, "price"),
    ],
)
async def test_an_unusable_change_is_refused_whole(body: Json, field: str, system: System) -> None:
    await system.start("api")
    reply = await system.person("seller").post("/api/tickets/changes", body)
    assert code(reply) == (422, "invalid_input")
    assert field in {error["field"] for error in reply.json()["errors"]}


async def test_a_change_needs_a_session(system: System) -> None:
    await system.start("api")
    body = {"ticket_ids": [str(uuid4())], "withdraw": True}
    reply = await system.anonymous().post("/api/tickets/changes", json=body)
    assert code(reply) == (401, "unauthorized")


async def test_a_sellers_tickets_are_counted_by_show(system: System) -> None:
    await system.start("api")
    seller, owner, buyer = (system.person(name) for name in ("seller", "owner", "buyer"))
    show = await factories.show(owner)
    ids = [(await factories.ticket(seller, show["id"], seat=str(seat)))["id"] for seat in range(5)]
    await factories.ticket(owner, show["id"], seat="9")
    other = await factories.ticket(seller)
    await factories.order(buyer, ids[0])
    assert (await seller.delete(f"/api/tickets/{ids[1]}")).status_code == 204
    assert (await owner.post(f"/api/tickets/{ids[2]}/hide", None)).status_code == 200
    reply = await seller.get("/api/tickets/counts")
    assert reply.status_code == 200, reply.text
    counts = {item.pop("show_id"): item for item in reply.json()["items"]}
    assert counts == {
        show["id"]: {"listed": 4, "free": 2, "held": 1, "sold": 0},
        other["show_id"]: {"listed": 1, "free": 1, "held": 0, "sold": 0},
    }
    assert reply.json()["is_complete"] is True
    assert code(await system.anonymous().get("/api/tickets/counts")) == (401, "unauthorized")
