"""Shows: created and changed by their owner, with live counts."""

from typing import Any
from uuid import UUID, uuid4

from tests import factories
from tests.orders.rows import make_overdue
from tests.replies import code
from tests.system import System


async def test_a_new_show_is_returned_and_published(system: System) -> None:
    await system.start("api")
    owner_person = system.person("owner")
    body = {
        "title": "  Harbour   Lights ",
        "venue": "Harbour Hall",
        "city": "Rotterdam",
        "starts_at": "2030-12-04T20:00:00+01:00",
        "timezone": "Europe/Amsterdam",
        "category": "Concert",
    }
    reply = await owner_person.post("/api/shows", body)
    assert reply.status_code == 201
    show = reply.json()
    assert reply.headers["location"] == f"/api/shows/{show['id']}"
    assert (show["title"], show["category"], show["owner_id"]) == (
        "Harbour Lights",
        "concert",
        str(owner_person.id),
    )
    assert show["starts_at"] == "2030-12-04T19:00:00Z"
    assert (show["available"], show["held"], show["sold"], show["from_price"], show["version"]) == (
        0,
        0,
        0,
        None,
        1,
    )
    found = await system.anonymous().get(reply.headers["location"])
    assert (found.json(), found.headers["etag"]) == (show, '"1"')
    owner = await system.connect()
    assert await system.events(owner) == [("show.created", show["id"])]


async def test_a_show_needs_a_session_and_a_missing_one_is_404(system: System) -> None:
    await system.start("api")
    anonymous, show = system.anonymous(), await factories.show(system.person())
    assert code(await anonymous.post("/api/shows", json={})) == (401, "unauthorized")
    assert code(await anonymous.put(f"/api/shows/{show['id']}", json={})) == (401, "unauthorized")
    assert code(await anonymous.get(f"/api/shows/{uuid4()}")) == (404, "show_not_found")
    assert code(await anonymous.get("/api/shows/nonsense")) == (404, "show_not_found")


async def test_a_change_of_a_show_changes_only_the_given_fields(system: System) -> None:
    await system.start("api")
    person = system.person()
    show = await factories.show(person)
    reply = await person.put(
        f"/api/shows/{show['id']}", {"title": "Harbour Nights", "timezone": "UTC"}
    )
    assert (reply.status_code, reply.headers["etag"]) == (200, '"2"')
    changed = reply.json()
    assert changed.pop("updated_at") > show.pop("updated_at")
    # The instant stays, and the clocks in UTC show another time at it.
    local = {"timezone": "UTC", "local_start": show["starts_at"].removesuffix("Z")}
    assert changed == show | local | {"title": "Harbour Nights", "version": 2}
    owner = await system.connect()
    assert (await system.events(owner))[-1] == ("show.updated", show["id"])
    data = await owner.fetchval("select data from events.outbox order by id desc limit 1")
    assert (data["title"], data["version"]) == ("Harbour Nights", 2)


async def test_another_users_show_cannot_be_changed(system: System) -> None:
    await system.start("api")
    show = await factories.show(system.person("owner"))
    other = system.person("other")
    assert code(await other.put(f"/api/shows/{show['id']}", {"title": "x"})) == (
        403,
        "not_your_show",
    )
    assert code(await other.put(f"/api/shows/{uuid4()}", {"title": "x"})) == (404, "show_not_found")
    assert (await other.get(f"/api/shows/{show['id']}")).json() == show


async def test_if_match_compares_the_version_of_the_show_alone(system: System) -> None:
    await system.start("api")
    person = system.person()
    show = await factories.show(person)
    await factories.ticket(person, show["id"])
    path = f"/api/shows/{show['id']}"
    read = await person.get(path)
    assert (read.headers["etag"], read.json()["version"]) == ('"1"', 2)
    changed = await person.put(path, {"city": "Delft"}, If_Match=read.headers["etag"])
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    stale = await person.put(path, {"city": "Gouda"}, If_Match='"1"')
    assert code(stale) == (412, "version_mismatch")
    assert stale.json()["version"] == 2
    assert (await person.get(path)).json()["city"] == "Delft"
    assert (await person.put(path, {"city": "Gouda"}, If_Match="*")).status_code == 200
    assert (await person.put(path, {"city": "Leiden"}, If_Match='W/"3"')).status_code == 200


async def test_a_shows_counts_follow_its_tickets(system: System) -> None:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    show = await factories.show(seller)
    prices = (300, 100, 200, 400, 500)
    tickets = [await factories.ticket(seller, show["id"], price=price) for price in prices]

    async def counts() -> tuple[Any, ...]:
        now = (await buyer.get(f"/api/shows/{show['id']}")).json()
        return now["available"], now["held"], now["sold"], now["from_price"], now["currency"]

    assert await counts() == (5, 0, 0, 100, "EUR")
    held = await factories.order(buyer, tickets[1]["id"])
    assert await counts() == (4, 1, 0, 200, "EUR")
    owner, payments = await system.connect(), await system.connect("payments")
    await make_overdue(owner, held)
    assert await counts() == (5, 0, 0, 100, "EUR")
    paid, payment = await factories.order(buyer, tickets[2]["id"]), uuid4()
    await payments.execute(
        "select from orders.begin_payment($1, $2, $3)", UUID(paid["id"]), buyer.id, payment
    )
    await payments.execute(
        "select orders.settle($1, $2, $3, 'EUR')", UUID(paid["id"]), payment, paid["total"]
    )
    assert await counts() == (4, 1, 0, 100, "EUR")
    await payments.execute("select orders.finish($1, $2)", UUID(paid["id"]), payment)
    assert await counts() == (4, 0, 1, 100, "EUR")
    await seller.delete(f"/api/tickets/{tickets[1]['id']}")
    assert await counts() == (3, 0, 1, 300, "EUR")


async def test_prices_of_a_show_are_compared_within_a_currency(system: System) -> None:
    """JPY 1,234,567 is not more than KWD 1,234.560, although its number is higher."""
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    show = await factories.show(seller)

    async def ticket(price: int, currency: str) -> Any:
        return await factories.ticket(seller, show["id"], price=price, currency=currency)

    yen, dinar = await ticket(1_234_567, "JPY"), await ticket(1_234_560, "KWD")
    await ticket(5000, "JPY")

    async def offers() -> Any:
        now = (await buyer.get(f"/api/shows/{show['id']}")).json()
        (listed,) = (await buyer.get("/api/shows", ids=show["id"])).json()["items"]
        assert listed["from_prices"] == now["from_prices"]
        return now["from_price"], now["currency"], now["from_prices"]

    both = [{"currency": "JPY", "price": 5000}, {"currency": "KWD", "price": 1_234_560}]
    assert await offers() == (5000, "JPY", both)
    await seller.delete(f"/api/tickets/{yen['id']}")
    assert await offers() == (5000, "JPY", both)
    await factories.order(buyer, dinar["id"])
    assert await offers() == (5000, "JPY", both[:1])
    await (await system.connect()).execute("select tickets.fold_counts(1000)")
    assert await offers() == (5000, "JPY", both[:1])


async def test_a_show_has_the_earliest_end_of_its_holds(system: System) -> None:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    show = await factories.show(seller)
    one, two, _ = [await factories.ticket(seller, show["id"]) for _ in range(3)]

    async def next_free_at() -> Any:
        return (await buyer.get(f"/api/shows/{show['id']}")).json()["next_free_at"]

    assert await next_free_at() is None
    first = await factories.order(buyer, one["id"])
    second = await factories.order(buyer, two["id"])
    assert await next_free_at() == first["expires_at"]
    await buyer.delete(f"/api/orders/{first['id']}")
    assert await next_free_at() == second["expires_at"]
    await make_overdue(await system.connect(), second)
    assert await next_free_at() is None


async def test_a_shows_version_grows_with_every_change_of_it_or_its_tickets(system: System) -> None:
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    show = await factories.show(seller)
    path = f"/api/shows/{show['id']}"
    seen = [show["version"]]

    async def read_version() -> None:
        seen.append((await buyer.get(path)).json()["version"])

    ticket = await factories.ticket(seller, show["id"])
    await read_version()
    order = await factories.order(buyer, ticket["id"])
    await read_version()
    await buyer.delete(f"/api/orders/{order['id']}")
    await read_version()
    await seller.put(path, {"title": "x"})
    await read_version()
    assert seen == sorted(set(seen))
