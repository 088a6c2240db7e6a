"""Lists of shows: words, filters, facets, pages, and the days of a venue."""

import unicodedata
from datetime import datetime
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from backend.kernel import time_zones
from tests import factories
from tests.orders.rows import end_sales
from tests.replies import code
from tests.system import Person, System


async def titles(person: Person, **query: Any) -> list[str]:
    reply = await person.get("/api/shows", **query)
    assert reply.status_code == 200, reply.text
    return [show["title"] for show in reply.json()["items"]]


async def test_facets_have_every_city_and_category_of_upcoming_shows(system: System) -> None:
    await system.start("api")
    person, anyone = system.person(), system.anonymous()
    assert (await anyone.get("/api/shows/facets")).json() == {
        "cities": [],
        "categories": [],
        "last_starts_at": None,
    }
    for city, category in [
        ("Delft", "concert"),
        ("Delft", "dance"),
        ("delft", "Dance"),
        ("Gent", "dance"),
    ]:
        await factories.show(person, city=city, category=category)
    await factories.show(person, city="Delft", category="sport", starts_at="2031-05-01T20:00:00Z")
    over = await factories.show(person, city="Breda", category="opera")
    await end_sales(await system.connect(), over["id"])
    reply = await anyone.get("/api/shows/facets")
    assert reply.json() == {
        "cities": [{"name": "Delft", "shows": 4}, {"name": "Gent", "shows": 1}],
        "categories": [
            {"name": "dance", "shows": 3},
            {"name": "concert", "shows": 1},
            {"name": "sport", "shows": 1},
        ],
        "last_starts_at": "2031-05-01T20:00:00Z",
    }
    assert reply.headers["cache-control"] == "public, max-age=60"
    for city in reply.json()["cities"]:
        assert len(await titles(person, city=city["name"])) == city["shows"]


async def test_facets_have_an_upper_bound(system: System) -> None:
    await system.start("api")
    owner = await system.connect()
    await owner.execute(
        """
        insert into tickets.shows (owner_id, title, venue, city, starts_at, timezone, category)
        select gen_random_uuid(), 'Show', 'Hall', 'City ' || n % 300,
               now() + n * interval '1 minute', 'UTC', 'other'
        from generate_series(1, 700) n
        """
    )
    found = (await system.anonymous().get("/api/shows/facets")).json()
    assert (len(found["cities"]), {city["shows"] for city in found["cities"]}) == (200, {3, 2})
    assert found["categories"] == [{"name": "other", "shows": 700}]


async def test_shows_are_found_by_words_city_category_date_and_owner(system: System) -> None:
    await system.start("api")
    one, two = system.person("one"), system.person("two")
    harbour = await factories.show(
        one, title="Harbour Lights", city="Rotterdam", starts_at="2030-01-01T20:00:00Z"
    )
    await factories.show(
        one, title="Hamlet", city="Delft", category="theatre", starts_at="2030-02-01T20:00:00Z"
    )
    await factories.show(
        two, title="Caf\u00e9 Noir", city="delft", starts_at="2030-03-01T20:00:00Z"
    )
    past = await factories.show(two, title="Yesterday")
    await end_sales(await system.connect(), past["id"], seconds=86_400)
    every = ["Harbour Lights", "Hamlet", "Caf\u00e9 Noir"]
    assert await titles(one) == every
    assert await titles(one, q="harb li") == ["Harbour Lights"]
    assert await titles(one, q="HAMLET delft") == ["Hamlet"]
    assert await titles(one, q="caf\u00e9") == ["Caf\u00e9 Noir"]
    assert await titles(one, q="'); drop table tickets.shows; --") == []
    assert await titles(one, q="nothing") == []
    assert await titles(one, city="DELFT") == ["Hamlet", "Caf\u00e9 Noir"]
    assert await titles(one, category="Theatre") == ["Hamlet"]
    assert await titles(one, **{"from": "2030-01-15T00:00:00Z"}) == every[1:]
    assert await titles(one, to="2030-02-01T20:00:00Z") == every[:1]
    assert await titles(one, **{"from": "2019-01-01T00:00:00Z", "to": "2029-01-01T00:00:00Z"}) == [
        "Yesterday"
    ]
    assert await titles(two, owner="me") == ["Yesterday", "Caf\u00e9 Noir"]
    assert await titles(two, owner=str(one.id)) == every[:2]
    assert await titles(one, sort="-starts_at") == every[::-1]
    ids = f"{harbour['id']},{past['id']}"
    assert await titles(one, ids=f"{ids},{uuid4()}") == ["Yesterday", "Harbour Lights"]
    assert await titles(one, ids=ids, q="lights") == ["Harbour Lights"]
    assert code(await system.anonymous().get("/api/shows?owner=me")) == (401, "unauthorized")


@pytest.mark.parametrize("sort", ["starts_at", "-starts_at"])
async def test_pages_of_shows_are_complete_and_without_duplicates(
    sort: str, system: System
) -> None:
    await system.start("api")
    person = system.person()
    made = [
        await factories.show(
            person, title=f"Show {n}", starts_at=f"2030-01-0{1 + n // 3}T20:00:00Z"
        )
        for n in range(8)
    ]
    expected = sorted(
        made, key=lambda show: (show["starts_at"], show["id"]), reverse=sort.startswith("-")
    )
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(4):
        page = (
            await person.get(
                "/api/shows", sort=sort, limit=3, **({"cursor": cursor} if cursor else {})
            )
        ).json()
        seen += [show["id"] for show in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [show["id"] for show in expected]


async def test_the_shows_of_a_seller_are_those_with_tickets_of_its(system: System) -> None:
    await system.start("api")
    one, two = system.person("one"), system.person("two")
    mine = await factories.show(one, title="Mine")
    await factories.show(one, title="Empty")
    past = await factories.show(two, title="Past")
    await factories.ticket(one, past["id"])
    await end_sales(await system.connect(), past["id"])
    await factories.ticket(two, mine["id"])
    withdrawn = await factories.ticket(one, mine["id"])
    assert (await one.delete(f"/api/tickets/{withdrawn['id']}")).status_code == 204
    assert await titles(one, seller="me") == ["Past", "Mine"]
    assert await titles(one, seller=str(two.id)) == ["Mine"]
    assert await titles(two, owner="me", seller=str(one.id)) == ["Past"]
    assert code(await system.anonymous().get("/api/shows?seller=me")) == (401, "unauthorized")


SEARCHES = {
    "ac/dc": "AC/DC",
    "acdc": "AC/DC",
    "AC DC": "AC/DC",
    "will.i.am": "will.i.am",
    "will i am": "will.i.am",
    "william": "will.i.am",
    "sigur ros": "Sigur R\u00f3s",
    "SIGUR RO\u0301S": "Sigur R\u00f3s",
    "Sigur R\u00f3": "Sigur R\u00f3s",
    "orsted": "\u00d8rsted Trio",
    "don't": "Don\u2019t Look Up",
    "dont look": "Don\u2019t Look Up",
    "\u0646\u0645\u0627\u06cc\u0634\u0646\u0627\u0645\u0647": (
        "\u0646\u0645\u0627\u06cc\u0634\u200c\u0646\u0627\u0645\u0647"
    ),
    "pink \U0001fa77": "Pink \U0001fa77",
}


async def test_words_are_found_without_case_accents_and_punctuation(system: System) -> None:
    await system.start("api")
    person = system.person()
    for title in sorted(set(SEARCHES.values())):
        await factories.show(person, title=title, venue="Hall", city="Z\u00fcrich")
    # As a program of another author may have stored it.
    owner = await system.connect()
    await owner.execute(
        "update tickets.shows set title = normalize(title, nfd) where title like 'Sigur%'"
    )
    show = await factories.show(person, title="Other", city="Basel")
    await factories.ticket(person, show["id"], section="Caf\u00e9", seat="7")
    found = {words: await titles(person, q=words) for words in SEARCHES}
    found |= {
        words: [unicodedata.normalize("NFC", title) for title in titles_found]
        for words, titles_found in found.items()
    }
    assert found == {words: [title] for words, title in SEARCHES.items()}
    for city in ("zurich", "Z\u00dcRICH", "Zu\u0308rich", " z\u00fcrich "):
        assert len(await titles(person, city=city)) == len(set(SEARCHES.values()))
    for words in ("caf\u00e9", "CAFE\u0301 7", "b\u00e2sel", "BASEL"):
        tickets = (await person.get("/api/tickets", q=words)).json()["items"]
        assert [ticket["seat"] for ticket in tickets] == ["7"], words


async def test_words_of_which_a_letter_differs_are_found_when_no_others_are(
    system: System,
) -> None:
    await system.start("api")
    person = system.person()
    await factories.show(person, title="Harbour Lights", venue="Theatre Hall")
    await factories.show(person, title="Hamlet", venue="Old Mill")

    async def found(words: str) -> tuple[list[str], bool]:
        page = (await person.get("/api/shows", q=words)).json()
        return [show["title"] for show in page["items"]], page["alike"]

    assert await found("harbour") == (["Harbour Lights"], False)
    for words in ("harbor", "habrour", "hartour", "harbor lihgts", "theater harb", "harrbour"):
        assert await found(words) == (["Harbour Lights"], True), words
    for words in ("harb ham", "hrbr", "ham let", "hamlettes"):
        assert await found(words) == ([], False), words
    await factories.show(person, title="The Harbor")
    assert await found("harbor") == (["The Harbor"], False)


async def test_a_search_that_finds_nothing_names_the_nearest_date_and_city(
    system: System,
) -> None:
    await system.start("api")
    person = system.person()
    zurich = await factories.show(
        person, title="Jazz", city="Z\u00fcrich", starts_at="2030-12-09T20:00:00Z"
    )
    basel = await factories.show(
        person, title="Jazz", city="Basel", starts_at="2030-12-05T20:00:00Z"
    )
    day = {"from": "2030-12-05T00:00:00Z", "to": "2030-12-06T00:00:00Z"}

    async def suggested(**query: Any) -> list[str | None]:
        page = (await person.get("/api/shows", **query)).json()
        assert page["items"] == []
        return [
            suggestion and suggestion["show_id"]
            for suggestion in (page["suggestions"]["date"], page["suggestions"]["city"])
        ]

    assert await suggested(q="jaz", city="zurich", **day) == [zurich["id"], basel["id"]]
    assert await suggested(city="Zurch") == [None, zurich["id"]]
    assert await suggested(city="Basel", **{"from": "2030-12-20T00:00:00Z"}) == [basel["id"], None]
    assert await suggested(q="opera", city="Basel", **day) == [None, None]
    assert (await person.get("/api/shows", q="jazz")).json()["suggestions"] is None


async def test_facets_count_what_the_other_filters_find(system: System) -> None:
    await system.start("api")
    person = system.person()
    for city, category, month in [
        ("Z\u00fcrich", "concert", 1),
        ("Zurich", "dance", 2),
        ("Z\u00fcrich", "dance", 2),
        ("Gent", "dance", 3),
    ]:
        await factories.show(
            person, city=city, category=category, starts_at=f"2030-0{month}-01T20:00:00Z"
        )

    async def facets(**query: Any) -> tuple[dict[str, int], dict[str, int], str]:
        found = (await person.get("/api/shows/facets", **query)).json()
        cities, categories = (
            {facet["name"]: facet["shows"] for facet in found[name]}
            for name in ("cities", "categories")
        )
        return cities, categories, found["last_starts_at"]

    assert await facets() == (
        {"Z\u00fcrich": 3, "Gent": 1},
        {"dance": 3, "concert": 1},
        "2030-03-01T20:00:00Z",
    )
    cities, categories, _ = await facets(category="dance")
    assert (sorted(cities.values()), categories) == ([1, 2], {"dance": 3, "concert": 1})
    assert await facets(city="zurich") == (
        {"Z\u00fcrich": 3, "Gent": 1},
        {"dance": 2, "concert": 1},
        "2030-02-01T20:00:00Z",
    )
    assert await facets(q="zurich", to="2030-01-15T00:00:00Z") == (
        {"Z\u00fcrich": 1},
        {"concert": 1},
        "2030-02-01T20:00:00Z",
    )


async def test_the_day_of_a_show_is_the_day_at_its_venue(system: System) -> None:
    """The weekend of 4 to 6 January 2030, wherever the reader and the server are."""
    await system.start("api")
    owner = system.person()
    for title, zone, starts_at in [
        ("Thursday in Honolulu", "Pacific/Honolulu", "2030-01-04T09:59:00Z"),
        ("Friday in Kiritimati", "Pacific/Kiritimati", "2030-01-03T10:00:00Z"),
        ("Friday in Honolulu", "Pacific/Honolulu", "2030-01-04T10:00:00Z"),
        ("Sunday in Kiritimati", "Pacific/Kiritimati", "2030-01-06T09:59:00Z"),
        ("Sunday in Honolulu", "Pacific/Honolulu", "2030-01-07T09:59:00Z"),
        ("Monday in Kiritimati", "Pacific/Kiritimati", "2030-01-06T10:00:00Z"),
        ("Monday in Honolulu", "Pacific/Honolulu", "2030-01-07T10:00:00Z"),
    ]:
        moved = await factories.show(owner, title=title)
        change = {"starts_at": starts_at, "timezone": zone}
        changed = await owner.put(f"/api/shows/{moved['id']}", change)
        local = datetime.fromisoformat(starts_at).astimezone(ZoneInfo(zone))
        assert changed.json()["local_start"] == f"{local:%Y-%m-%dT%H:%M:%S}"
    weekend = [
        "Friday in Kiritimati",
        "Friday in Honolulu",
        "Sunday in Kiritimati",
        "Sunday in Honolulu",
    ]
    assert await titles(owner, first_day="2030-01-04", last_day="2030-01-06") == weekend
    assert await titles(owner, last_day="2030-01-03") == ["Thursday in Honolulu"]
    assert sorted(await titles(owner, first_day="2030-01-07")) == [
        "Monday in Honolulu",
        "Monday in Kiritimati",
    ]


async def test_postgres_knows_every_zone_that_the_api_accepts(system: System) -> None:
    rows = await (await system.connect()).fetch("select name from pg_timezone_names")
    assert time_zones.ZONES - {row["name"] for row in rows} == set()
