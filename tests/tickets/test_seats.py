"""One seat is one ticket: a seat of a show that is listed already is refused, also in a race."""

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID

from tests import factories
from tests.factories import Json
from tests.orders.test_sales import pay, refund
from tests.replies import code
from tests.system import Person, System

SPEC: Json = {"price": 4500, "currency": "EUR"}
SEAT: Json = {"section": "Balcony", "row": "A", "seat": "7"}
TAKEN = (409, "seat_taken")
SELLERS = 12


async def list_seat(seller: Person, show: Json, **seat: Any) -> Any:
    return await seller.post("/api/tickets", {"show_id": show["id"]} | SPEC | SEAT | seat)


async def list_seats(seller: Person, show: Json, *seats: str) -> Any:
    specs = [SPEC | SEAT | {"seat": seat} for seat in seats]
    return await seller.post(f"/api/shows/{show['id']}/tickets", {"tickets": specs})


async def listed_in_parallel(system: System, show: Json) -> Counter[Any]:
    """The numbers of each reply when all sellers list the same seat at the same time."""
    sellers = [system.person(f"seller-{number}") for number in range(SELLERS)]
    replies = await asyncio.gather(*(list_seat(seller, show) for seller in sellers))
    return Counter(201 if reply.status_code == 201 else code(reply) for reply in replies)


async def test_a_seat_is_listed_once_in_a_show(system: System) -> None:
    await system.start("api")
    owner, other = system.person("owner"), system.person("other")
    show, later = await factories.show(owner), await factories.show(owner)
    first = (await list_seat(owner, show)).json()
    refused = await list_seat(other, show, section=" BALCONY ", row="a")
    assert code(refused) == TAKEN
    name = "BALCONY, row a, seat 7"
    assert refused.json()["detail"].startswith(f"{name} is listed in this show already")
    assert refused.json()["errors"] == [
        {"field": "seat", "message": f"must be free: {name} is listed in this show already"}
    ]
    for other_seat in ({"seat": "8"}, {"row": None}, {"section": "Stalls"}):
        assert (await list_seat(other, show, **other_seat)).status_code == 201
    assert (await list_seat(other, later)).status_code == 201
    # A hidden ticket keeps its seat, a withdrawn one does not.
    await owner.post(f"/api/tickets/{first['id']}/hide")
    assert code(await list_seat(other, show)) == TAKEN
    assert (await owner.delete(f"/api/tickets/{first['id']}")).status_code == 204
    assert (await list_seat(other, show)).status_code == 201


async def test_tickets_without_a_seat_are_alike(system: System) -> None:
    await system.start("api")
    owner = system.person("owner")
    show = await factories.show(owner)
    for seat in (None, "", "  "):
        assert (await list_seat(owner, show, seat=seat)).status_code == 201


async def test_a_block_with_a_taken_seat_is_not_listed(system: System) -> None:
    await system.start("api")
    owner = system.person("owner")
    show = await factories.show(owner)
    assert (await list_seats(owner, show, "b", "3")).status_code == 201
    for seats, fields in (
        (("1", "2", "3"), ["tickets[2].seat"]),
        (("B", "4", "3"), ["tickets[0].seat", "tickets[2].seat"]),
        (("5", "6", "5"), ["tickets[2].seat"]),
    ):
        refused = await list_seats(owner, show, *seats)
        assert code(refused) == TAKEN
        assert [error["field"] for error in refused.json()["errors"]] == fields
        assert refused.json()["taken"] == len(fields)
    many = await list_seats(owner, show, *["1"] * 500)
    assert (many.json()["taken"], len(many.json()["errors"])) == (499, 20)
    listed = (await list_seats(owner, show, "9", "8", "10")).json()["items"]
    assert [ticket["seat"] for ticket in listed] == ["9", "8", "10"]
    assert (await owner.get(f"/api/shows/{show['id']}")).json()["available"] == 5


async def test_a_ticket_does_not_move_to_a_taken_seat(system: System) -> None:
    await system.start("api")
    owner = system.person("owner")
    show = await factories.show(owner)
    [_, second] = (await list_seats(owner, show, "7", "8")).json()["items"]
    path = f"/api/tickets/{second['id']}"
    refused = await owner.put(path, {"seat": "7"})
    assert code(refused) == TAKEN
    assert refused.json()["detail"].startswith("Balcony, row A, seat 7 is listed")
    assert [error["field"] for error in refused.json()["errors"]] == ["seat"]
    assert (await owner.get(path)).json() == second
    changed = await owner.put(path, SEAT | {"seat": "8", "price": 5000})
    assert (changed.status_code, changed.json()["price"]) == (200, 5000)
    assert (await owner.put(path, {"row": "B", "seat": "7"})).status_code == 200
    assert (await list_seats(owner, show, "8")).status_code == 201


async def test_a_refund_frees_the_seat_unless_it_relists_the_ticket(system: System) -> None:
    await system.start("api")
    owner, buyer = system.person("owner"), system.person("buyer")
    show = await factories.show(owner)
    ticket = (await list_seat(owner, show)).json()
    order = await factories.order(buyer, ticket["id"])
    await pay(system, order)
    assert code(await list_seat(owner, show)) == TAKEN
    await refund(system, order)
    assert (await list_seat(owner, show)).status_code == 201


async def test_of_many_sellers_of_a_seat_one_lists_it(system: System) -> None:
    await system.start("api")
    show = await factories.show(system.person("owner"))
    assert await listed_in_parallel(system, show) == {201: 1, TAKEN: SELLERS - 1}


async def test_without_the_index_many_sellers_list_the_same_seat(system: System) -> None:
    """The negative control of the test above."""
    await system.start("api")
    rows = await system.connect()
    await rows.execute("drop index tickets.tickets_one_per_seat")
    show = await factories.show(system.person("owner"))
    assert await listed_in_parallel(system, show) == {201: SELLERS}


async def test_blocks_in_opposite_orders_do_not_deadlock(system: System) -> None:
    await system.start("api")
    owner = system.person("owner")
    show = await factories.show(owner)
    seats = [str(number) for number in range(200)]
    replies = await asyncio.gather(
        *(list_seats(owner, show, *block) for block in (seats, seats[::-1]) * 3)
    )
    assert Counter(reply.status_code for reply in replies) == {201: 1, 409: 5}
    assert {code(reply) for reply in replies if reply.status_code != 201} == {TAKEN}


async def test_a_ticket_that_shares_its_seat_from_before_the_rule_can_only_be_corrected(
    system: System,
) -> None:
    await system.start("api")
    owner = system.person("owner")
    show = await factories.show(owner)
    [_, double] = (await list_seats(owner, show, "7", "8")).json()["items"]
    rows = await system.connect()
    await rows.execute("alter table tickets.tickets disable trigger claim_seat")
    await rows.execute(
        "update tickets.tickets set seat = '7', claims_seat = false where id = $1",
        UUID(double["id"]),
    )
    await rows.execute("alter table tickets.tickets enable trigger claim_seat")
    path = f"/api/tickets/{double['id']}"
    assert (await owner.put(path, {"price": 5000})).status_code == 200
    assert code(await owner.put(path, SEAT)) == TAKEN
    assert (await owner.put(path, {"seat": "8"})).status_code == 200
    assert code(await list_seats(owner, show, "8")) == TAKEN
