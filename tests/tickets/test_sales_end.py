"""When a show ends and its sales do: in the reply, in the lists, and in what is refused."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests import factories
from tests.factories import Json
from tests.orders.rows import end_sales
from tests.replies import code
from tests.system import Person, System
from tests.tickets.test_finding_shows import titles

ENDED = (409, "sales_ended")


def later(**time: float) -> str:
    return (datetime.now(UTC) + timedelta(**time)).isoformat()


async def times(person: Person, show: Json) -> tuple[Any, ...]:
    found = (await person.get(f"/api/shows/{show['id']}")).json()
    return found["starts_at"], found["ends_at"], found["sales_end_at"]


async def test_sales_end_at_the_start_unless_the_owner_sets_another_time(system: System) -> None:
    await system.start("api")
    owner = system.person()
    one, two, end = "2030-05-01T18:00:00Z", "2030-05-02T18:00:00Z", "2030-05-03T01:00:00Z"
    show = await factories.show(owner, starts_at=one)
    assert (show["ends_at"], show["sales_end_at"], show["status"]) == (None, one, "on_sale")
    path = f"/api/shows/{show['id']}"
    await owner.put(path, {"starts_at": two})
    assert await times(owner, show) == (two, None, two)
    changed = (await owner.put(path, {"ends_at": end, "sales_end_at": end})).json()
    assert (changed["ends_at"], changed["sales_end_at"]) == (end, end)
    assert (await owner.put(path, {"title": "Other"})).json()["sales_end_at"] == end
    assert (await owner.put(path, {"sales_end_at": None})).json()["sales_end_at"] == two
    # The page sends all times; the one that is the start follows the start.
    await owner.put(path, {"sales_end_at": two, "ends_at": None})
    await owner.put(path, {"starts_at": one})
    assert await times(owner, show) == (one, None, one)
    rows = await system.connect()
    event = await rows.fetchval("select data from events.outbox order by id desc limit 1")
    assert (event["starts_at"], event["sales_end_at"]) == (one, None)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"starts_at": "2020-01-01T20:00:00Z"}, "starts_at"),
        ({"sales_end_at": "2020-01-01T20:00:00Z"}, "sales_end_at"),
        ({"sales_end_at": "2030-12-05T20:00:00Z"}, "sales_end_at"),
        ({"ends_at": "2030-12-04T19:00:00Z"}, "ends_at"),
        ({"ends_at": "2030-12-18T19:00:01Z"}, "ends_at"),
    ],
)
async def test_impossible_times_of_a_show_are_refused(
    fields: Json, field: str, system: System
) -> None:
    await system.start("api")
    owner = system.person()
    show = await factories.show(owner)
    for reply in (
        await owner.post("/api/shows", factories.SHOW | fields),
        await owner.put(f"/api/shows/{show['id']}", fields),
    ):
        assert code(reply) == (422, "invalid_input")
        assert [error["field"] for error in reply.json()["errors"]] == [field]


async def test_a_show_that_is_over_can_still_be_renamed(system: System) -> None:
    await system.start("api")
    owner = system.person()
    show = await factories.show(owner)
    await end_sales(await system.connect(), show["id"], seconds=86_400)
    renamed = await owner.put(f"/api/shows/{show['id']}", {"title": "Renamed"})
    assert (renamed.json()["title"], renamed.json()["status"]) == ("Renamed", "over")


async def test_the_database_refuses_impossible_times(system: System) -> None:
    await system.start("api")
    show = await factories.show(system.person())
    tickets = await system.connect("tickets")
    for change in (
        "ends_at = starts_at",
        "ends_at = starts_at + interval '15 days'",
        "sales_end_at = starts_at + interval '1 s'",
        "sales_end_at = created_at - interval '1 s'",
    ):
        with pytest.raises(asyncpg.CheckViolationError):
            await tickets.execute(
                f"update tickets.shows set {change} where id = $1", UUID(show["id"])
            )


async def test_after_the_end_of_sales_nothing_is_listed_or_held(system: System) -> None:
    await system.start("api")
    owner, buyer = system.person("owner"), system.person("buyer")
    show, other = await factories.show(owner), await factories.show(owner)
    late, good = [await factories.ticket(owner, each["id"]) for each in (show, other)]
    await end_sales(await system.connect(), show["id"])
    spec = {"price": 4500, "currency": "EUR"}
    assert code(await owner.post("/api/tickets", spec | {"show_id": show["id"]})) == ENDED
    assert code(await owner.post(f"/api/shows/{show['id']}/tickets", {"tickets": [spec]})) == ENDED
    for ids in ([late["id"]], [good["id"], late["id"]]):
        refused = await buyer.post("/api/orders", {"ticket_ids": ids})
        assert (code(refused), refused.json()["ticket_id"]) == (ENDED, late["id"])
    assert (await buyer.post("/api/orders", {"ticket_id": good["id"]})).status_code == 201
    assert (await buyer.get(f"/api/shows/{show['id']}")).json()["status"] == "over"


async def test_an_ended_hold_is_not_taken_over_after_the_end_of_sales(system: System) -> None:
    await system.start("api")
    ticket = await factories.ticket(system.person("seller"))
    await factories.order(system.person("first"), ticket["id"])
    rows = await system.connect()
    await rows.execute("update tickets.tickets set held_until = now() - interval '2 s'")
    await end_sales(rows, ticket["show_id"])
    refused = await system.person("second").post("/api/orders", {"ticket_id": ticket["id"]})
    assert code(refused) == ENDED


async def test_a_hold_ends_with_the_sales_and_costs_no_more(system: System) -> None:
    system.configure(RATE_LIMITS="on")
    await system.start("api")
    owner, buyer = system.person("owner"), system.person("buyer")
    show = await factories.show(owner, sales_end_at=later(seconds=30))
    one, two = [await factories.ticket(owner, show["id"]) for _ in range(2)]
    order = await factories.order(buyer, one["id"], two["id"])
    assert order["expires_at"] == show["sales_end_at"]
    assert order["seconds_left"] <= 30
    held = (await buyer.get(f"/api/tickets/{one['id']}")).json()
    assert held["held_until"] == show["sales_end_at"]
    rows = await system.connect()
    left = await rows.fetchval(
        "select extract(epoch from max(full_at) - now())::float8 from orders.budgets"
    )
    whole = await rows.fetchval(
        "select 2 * extract(epoch from expires_at - created_at)::float8 from orders.orders"
    )
    assert left == pytest.approx(whole, abs=2)


async def test_shows_that_are_over_leave_the_lists(system: System) -> None:
    await system.start("api")
    owner = system.person()
    rows = await system.connect()
    for title, fields in {
        "Upcoming": {},
        "Started": {},
        "Running": {"ends_at": "2030-12-10T20:00:00Z"},
        "Ended": {"ends_at": "2030-12-10T20:00:00Z"},
    }.items():
        show = await factories.show(owner, title=title, city=title, **fields)
        if title != "Upcoming":
            end = {"Running": "now() + interval '1 h'", "Ended": "now() - interval '1 s'"}
            await end_sales(rows, show["id"], seconds=7_200, ends_at=end.get(title, "null"))
    assert await titles(owner) == ["Running", "Upcoming"]
    assert await titles(owner, q="rotterdam started") == []
    assert await titles(owner, city="ended") == []
    assert await titles(owner, sort="-starts_at") == ["Upcoming", "Running"]
    every = ["Running", "Started", "Upcoming"]
    assert sorted(await titles(owner, owner="me")) == ["Ended", *every]
    assert sorted(await titles(owner, **{"from": "2020-01-01T00:00:00Z"})) == ["Ended", *every]
    facets = (await owner.get("/api/shows/facets")).json()
    assert sorted(city["name"] for city in facets["cities"]) == ["Running", "Upcoming"]
    found = {
        show["title"]: show["status"]
        for show in (await owner.get("/api/shows", owner="me")).json()["items"]
    }
    assert found == {
        "Upcoming": "on_sale",
        "Running": "on_sale",
        "Started": "over",
        "Ended": "over",
    }


async def test_tickets_of_a_show_that_is_over_are_found_only_by_show_or_seller(
    system: System,
) -> None:
    await system.start("api")
    seller = system.person()
    over, other = [await factories.ticket(seller, section="Pit") for _ in range(2)]
    await end_sales(await system.connect(), over["show_id"])
    for query, found in [
        ({}, [other]),
        ({"q": "pit"}, [other]),
        ({"sort": "price"}, [other]),
        ({"show_id": over["show_id"]}, [over]),
        ({"seller": "me"}, [other, over]),
    ]:
        items = (await seller.get("/api/tickets", **query)).json()["items"]
        assert [ticket["id"] for ticket in items] == [ticket["id"] for ticket in found], query
