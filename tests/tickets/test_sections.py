"""A show with any number of tickets is read in parts: its sections with their counts, the tickets
of a section, and the cheapest open tickets. Each part costs the same for any number of tickets.
"""

from typing import Any
from uuid import UUID

from backend.kernel import conditions
from backend.tickets import queries, service
from backend.tickets.app import SESSION
from backend.tickets.model import SectionQuery, TicketQuery
from tests import factories
from tests.explaining import explaining_connection
from tests.replies import code
from tests.system import Person, System
from tests.tickets.test_tickets import taken

# 50,000 tickets of a show: 100 sections with 20 rows of 25 seats. The first 80 % of the tickets of
# each section, which are the cheapest, are sold.
STADIUM = """
    insert into tickets.tickets (
        show_id, seller_id, seller_name, price, currency, section, "row", seat, status, order_id
    )
    select $1, $2, 'seller', 1000 + n / 100, 'EUR', 'Block ' || lpad((n % 100)::text, 2, '0'),
           (n / 100 / 25)::text, (n / 100 % 25 + 1)::text,
           case when n < 40000 then 'sold' else 'available' end,
           case when n < 40000 then uuidv7() end
    from generate_series(0, 49999) n
"""
# So many tickets, each in a section of its own and at a price of its own.
ALL_DIFFERENT = """
    insert into tickets.tickets (show_id, seller_id, seller_name, price, currency, section)
    select $1, $2, 'seller', 1000 + n, 'EUR', 'Section ' || n from generate_series(1, $3::int) n
"""
# The same in one section.
ONE_SECTION = """
    insert into tickets.tickets (show_id, seller_id, seller_name, price, currency, section)
    select $1, $2, 'seller', 1000 + n, 'EUR', 'Floor' from generate_series(1, $3::int) n
"""
# The updates of tickets in this transaction; a heap-only one (hot) writes to no index.
UPDATES = """
    select n_tup_upd, n_tup_hot_upd from pg_stat_xact_user_tables
    where schemaname = 'tickets' and relname = 'tickets'
"""


async def sections(person: Person, show_id: str, **query: Any) -> list[dict[str, Any]]:
    reply = await person.get(f"/api/shows/{show_id}/sections", **query)
    assert reply.status_code == 200, reply.text
    items: list[dict[str, Any]] = reply.json()["items"]
    return items


async def fold(system: System) -> None:
    connection = await system.connect("tickets")
    await connection.execute("set statement_timeout = '60s'")
    while await queries.fold_counts(connection, 5_000):
        pass


async def test_a_section_counts_its_tickets_by_state_and_has_its_lowest_prices(
    system: System,
) -> None:
    await system.start("api")
    seller = system.person("seller")
    show = await factories.show(seller)
    tickets = [
        await factories.ticket(seller, show["id"], section=section, price=price, currency=currency)
        for section, price, currency in (
            ("Floor", 5000, "EUR"),
            ("Floor", 4000, "EUR"),
            ("Floor", 3000, "EUR"),
            ("Floor", 2000, "USD"),
            ("Balcony", 900, "EUR"),
            (None, 800, "EUR"),
        )
    ]
    await taken(system, system.person("ana"), tickets[2], "held")
    await taken(system, system.person("ben"), tickets[1], "sold")
    await taken(system, system.person("cem"), tickets[4], "sold")
    expected = [
        ("", 1, 0, 0, [("EUR", 800)]),
        ("Balcony", 0, 0, 1, []),
        ("Floor", 2, 1, 1, [("EUR", 5000), ("USD", 2000)]),
    ]
    for is_folded in (False, True):
        if is_folded:
            await fold(system)
        found = [
            (
                section["section"],
                section["available"],
                section["held"],
                section["sold"],
                [(offer["currency"], offer["price"]) for offer in section["from_prices"]],
            )
            for section in await sections(seller, show["id"])
        ]
        assert found == expected, is_folded


async def test_a_section_leaves_with_its_last_ticket_and_hidden_tickets_count_nowhere(
    system: System,
) -> None:
    await system.start("api")
    seller = system.person("seller")
    show = await factories.show(seller)
    gone = await factories.ticket(seller, show["id"], section="Floor")
    hidden = await factories.ticket(seller, show["id"], section="Balcony")
    assert [each["section"] for each in await sections(seller, show["id"])] == ["Balcony", "Floor"]
    await seller.delete(f"/api/tickets/{gone['id']}")
    await seller.post(f"/api/tickets/{hidden['id']}/hide")
    assert await sections(seller, show["id"]) == []
    await fold(system)
    assert await sections(seller, show["id"]) == []
    owner = await system.connect()
    assert await owner.fetchval("select count(*) from tickets.section_counts") == 0
    assert await owner.fetchval("select count(*) from tickets.section_price_counts") == 0


async def test_the_pages_of_sections_have_each_section_once_while_changes_are_folded(
    system: System,
) -> None:
    await system.start("api")
    seller, owner = system.person("seller"), await system.connect()
    show = await factories.show(seller)
    await owner.execute(ALL_DIFFERENT, UUID(show["id"]), seller.id, 23)
    connection = await system.connect("tickets")
    names: list[str] = []
    query: dict[str, Any] = {"limit": 5}
    while True:
        page = (await seller.get(f"/api/shows/{show['id']}/sections", **query)).json()
        names += [section["section"] for section in page["items"]]
        await queries.fold_counts(connection, 4)
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert sorted(names) == sorted(f"Section {n}" for n in range(1, 24))


async def test_sections_of_an_unknown_show_and_wrong_queries_are_refused(system: System) -> None:
    await system.start("api")
    seller = system.person("seller")
    show = await factories.show(seller)
    path = f"/api/shows/{show['id']}/sections"
    unknown = "/api/shows/00000000-0000-7000-8000-000000000000/sections"
    assert code(await seller.get(unknown)) == (404, "show_not_found")
    assert code(await seller.get(path, limit=101)) == (422, "invalid_input")
    assert code(await seller.get(path, cursor="!")) == (422, "invalid_input")
    for query in (
        {"section": "Floor"},
        {"sort": "open_first", "show_id": show["id"]},
        {"sort": "open_first", "show_id": show["id"], "section": "", "seller": "me"},
        {"sort": "open_first", "show_id": show["id"], "section": "", "hidden": "true"},
        {"limit": 501},
    ):
        assert code(await seller.get("/api/tickets", **query)) == (422, "invalid_input"), query


async def test_a_section_lists_its_open_tickets_before_the_sold_ones_on_all_pages(
    system: System,
) -> None:
    await system.start("api")
    seller = system.person("seller")
    show = await factories.show(seller)
    tickets = [await factories.ticket(seller, show["id"], section="Floor") for _ in range(5)]
    await factories.ticket(seller, show["id"], section="floor")
    await factories.ticket(seller, show["id"])
    await taken(system, system.person("ana"), tickets[0], "sold")
    await taken(system, system.person("ben"), tickets[2], "held")
    await seller.delete(f"/api/tickets/{tickets[1]['id']}")
    query: dict[str, Any] = {
        "show_id": show["id"],
        "section": "Floor",
        "sort": "open_first",
        "limit": 2,
    }
    found, cursor = [], None
    while True:
        page = await seller.get("/api/tickets", **query, **({"cursor": cursor} if cursor else {}))
        found += [ticket["id"] for ticket in page.json()["items"]]
        cursor = page.json()["next_cursor"]
        if cursor is None:
            break
    ids = [ticket["id"] for ticket in tickets]
    assert found == [ids[2], ids[3], ids[4], ids[0]]
    for sort in ("oldest", "open_first", "price"):
        reply = await seller.get(
            "/api/tickets", show_id=show["id"], section="Floor", open="true", sort=sort
        )
        assert {ticket["id"] for ticket in reply.json()["items"]} == set(ids[2:]), sort
    other = (await seller.get("/api/tickets", **query)).json()["next_cursor"]
    wrong = await seller.get("/api/tickets", show_id=show["id"], sort="oldest", cursor=other)
    assert code(wrong) == (422, "invalid_input")


async def test_the_sections_of_a_show_cost_the_same_with_many_tickets(system: System) -> None:
    """The attacks: 50,000 tickets, each in a section of its own; and each at a price of its own."""
    await system.start("api")
    seller, owner = system.person("seller"), await system.connect()
    await owner.execute("set statement_timeout = '60s'")
    costs = []
    for statement, count, limit in (
        (ALL_DIFFERENT, 100, 100),
        (ALL_DIFFERENT, 50_000, 100),
        (ONE_SECTION, 50_000, 100),
    ):
        show_id = UUID((await factories.show(seller))["id"])
        await owner.execute(statement, show_id, seller.id, count, timeout=60)
        await fold(system)
        await owner.execute("vacuum tickets.count_changes")
        reading: Any = await explaining_connection(system, "tickets", SESSION)
        found = await service.sections(reading, show_id, SectionQuery(limit=limit))
        assert len(found.items) == (1 if statement is ONE_SECTION else 100)
        assert found.items[0].from_prices[0].price == 1001
        costs.append(reading.blocks())
    assert max(costs) < 1_500, costs
    # Each step reads one block more of a larger index.
    assert costs[1] < 3 * costs[0], costs


async def test_the_parts_of_a_show_with_50_000_tickets_examine_a_bounded_number(
    system: System,
) -> None:
    """Though the first and cheapest 40,000 are sold, the first request finds the open ones."""
    await system.start("api")
    seller, owner = system.person("seller"), await system.connect()
    show_id = UUID((await factories.show(seller))["id"])
    await owner.execute("set session_replication_role = replica")
    await owner.execute(STADIUM, show_id, seller.id, timeout=60)
    reading: Any = None
    for is_fresh in (False, True):
        if is_fresh:
            await owner.execute("vacuum analyze tickets.tickets")
        reading = await explaining_connection(system, "tickets", SESSION)
        for query in (
            TicketQuery(show_id=show_id, section="Block 42", sort="open_first", limit=100),
            TicketQuery(
                show_id=show_id, section="Block 42", sort="open_first", open=True, limit=100
            ),
            TicketQuery(show_id=show_id, sort="price", open=True, limit=500),
            TicketQuery(show_id=show_id, sort="price", open=True, limit=500, currency="EUR"),
            TicketQuery(show_id=show_id, sort="-price", open=True, limit=500, currency="EUR"),
        ):
            reading.plans.clear()
            page = await service.list_tickets(reading, query, None)
            assert len(page.items) == query.limit, query
            assert {ticket.status for ticket in page.items} == {"available"}, query
            assert reading.most_examined() <= conditions.MAX_EXAMINED, query
            # The listed tickets, the last examined one, and the steps of the index.
            assert reading.blocks() < 2 * conditions.MAX_EXAMINED + 100, query
    found = await service.list_tickets(
        reading, TicketQuery(show_id=show_id, sort="price", open=True, limit=1), None
    )
    assert found.items[0].price == 1400


async def test_only_a_change_that_closes_or_opens_a_ticket_writes_to_an_index(
    system: System,
) -> None:
    await system.start("api")
    seller, owner = system.person("seller"), await system.connect()
    await factories.ticket(seller, section="Floor")
    writes = []
    async with owner.transaction():
        for change in (
            "status = 'held', order_id = uuidv7(), held_until = now() + interval '1 minute'",
            "held_until = now() + interval '2 minutes'",
            "status = 'reserved', held_until = null",
            "status = 'available', order_id = null",
            "status = 'held', order_id = uuidv7(), held_until = now()",
            "status = 'reserved', held_until = null",
            "status = 'sold'",
        ):
            before = await owner.fetchrow(UPDATES)
            await owner.execute(f"update tickets.tickets set {change}, version = version + 1")
            after = await owner.fetchrow(UPDATES)
            assert after["n_tup_upd"] == before["n_tup_upd"] + 1
            writes.append(after["n_tup_hot_upd"] == before["n_tup_hot_upd"])
    assert writes == [False] * 6 + [True]
