"""Every public read is planned by an index, and examines a bounded number of rows."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from backend.embedded.postgres import Postgres
from backend.kernel import conditions
from backend.kernel.database import Connection
from backend.kernel.principal import Principal
from backend.tickets import service
from backend.tickets import show_queries as finding
from backend.tickets.app import SESSION
from backend.tickets.model import ShowFilters, ShowQuery, TicketQuery
from tests import factories
from tests.explaining import explaining_connection
from tests.replies import code
from tests.stores import filled_template
from tests.system import System

SELLER, OWNER = uuid4(), uuid4()
BIG_SHOW = UUID("00000000-0000-7000-8000-000000000001")

SHOWS = """
    insert into tickets.shows (id, owner_id, title, venue, city, starts_at, timezone, category)
    select ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
           case when n % 100 = 0 then $1::uuid else uuidv7() end,
           'Show ' || md5(n::text), 'Venue ' || n % 50, 'City ' || n % 40,
           now() + n * interval '1 hour', 'UTC', 'category ' || n % 12
    from generate_series(1, 10000) n
"""
# A tenth of the tickets belongs to one show, and to one seller.
TICKETS = """
    insert into tickets.tickets (
        show_id, seller_id, seller_name, price, currency, section, "row", seat, status, claims_seat,
        hidden
    )
    select ('00000000-0000-7000-8000-' || lpad(to_hex(
               case when n % 10 = 0 then 1 else n % 10000 + 1 end), 12, '0'))::uuid,
           case when n % 10 = 1 then $1::uuid else uuidv7() end,
           'seller', 100 + n * 7919 % 10000, case when n % 20 = 0 then 'USD' else 'EUR' end,
           'Block ' || n % 97, md5(n::text), n::text,
           case when n % 9 = 0 then 'withdrawn' else 'available' end, n % 9 <> 0, n % 50 = 0
    from generate_series(1, 10000) n
"""


def ticket_queries() -> Iterator[TicketQuery]:
    """Each combination of the filters, with each sort order."""
    choices: dict[str, list[Any]] = {
        "q": ["", "block 1"],
        "show_id": [None, BIG_SHOW],
        "seller": [None, str(SELLER)],
        "status": [None, "sold"],
        "min_price": [None, 5000],
        "currency": [None, "XAF"],
        "sort": ["newest", "oldest", "price", "-price"],
    }
    for values in itertools.product(*choices.values()):
        query = TicketQuery(**dict(zip(choices, values, strict=True)))
        if query.min_price is None or query.currency is not None:
            yield query


def show_queries() -> Iterator[ShowQuery]:
    choices: dict[str, list[Any]] = {
        "q": ["", "venue 7", "vneue 7"],
        "city": [None, "CITY 3"],
        "category": [None, "category 3"],
        "owner": [None, str(OWNER)],
        "seller": [None, str(SELLER)],
        "starts_from": [None, datetime.now(UTC)],
        "first_day": [None, datetime.now(UTC).date()],
        "sort": ["starts_at", "-starts_at"],
    }
    for values in itertools.product(*choices.values()):
        yield ShowQuery(**dict(zip(choices, values, strict=True)))


async def fill(owner: Connection) -> None:
    await owner.execute(f"set gittix.correlation = '{uuid4()}'")
    await owner.execute(SHOWS, OWNER)
    await owner.execute(TICKETS, SELLER)
    await owner.execute("select tickets.fold_counts(1000000)")
    await owner.execute("vacuum analyze tickets.shows, tickets.tickets")


@pytest.fixture(scope="module")
def template(postgres: Postgres) -> Iterator[str]:
    with filled_template(postgres, "many_tickets", fill) as name:
        yield name


@pytest.fixture
async def reading(system: System) -> Any:
    """A connection as the API has it, to a database with 10,000 shows and 10,000 tickets."""
    return await explaining_connection(system, "tickets", SESSION)


async def test_no_list_of_tickets_is_planned_with_a_sequential_scan(
    reading: Any,
) -> None:
    for query in ticket_queries():
        reading.plans.clear()
        await service.list_tickets(reading, query, None)
        assert reading.scans() == set(), query
        # Words may be in any number of tickets.
        if not query.q:
            assert reading.most_examined() <= conditions.MAX_EXAMINED, query


async def test_a_search_for_a_rare_word_examines_few_tickets(reading: Any) -> None:
    for sort in ("newest", "oldest", "price", "-price"):
        reading.plans.clear()
        page = await service.list_tickets(reading, TicketQuery(q="7777", sort=sort), None)
        assert "7777" in [ticket.seat for ticket in page.items]
        assert reading.most_examined() <= 100, sort


async def test_no_list_of_ones_own_or_hidden_tickets_is_planned_with_a_sequential_scan(
    reading: Any,
) -> None:
    viewer = Principal(SELLER, "seller@example.com", "seller", uuid4())
    for query in ticket_queries():
        if query.q or query.min_price or query.currency:
            continue
        for hidden in (False, True) if query.show_id else (False,):
            reading.plans.clear()
            own = TicketQuery(
                show_id=query.show_id,
                seller=query.seller,
                status=query.status,
                sort=query.sort,
                hidden=hidden,
            )
            await service.list_tickets(reading, own, viewer)
            assert reading.scans() == set(), own
            assert reading.most_examined() <= conditions.MAX_EXAMINED, own


async def test_no_list_of_shows_is_planned_with_a_sequential_scan(
    reading: Any,
) -> None:
    for query in show_queries():
        reading.plans.clear()
        await service.list_shows(reading, query, None)
        assert reading.scans() == set(), query
        # Suggestions are single shows of other filters.
        if not query.q and (query.owner or query.seller):
            assert reading.most_examined() <= conditions.MAX_EXAMINED, query


async def test_no_facets_and_no_suggestions_are_planned_with_a_sequential_scan(
    reading: Any,
) -> None:
    choices: dict[str, list[Any]] = {
        "q": ["", "venue 7", "vneue 7", "nowhere"],
        "city": [None, "CITY 3", "ciyt 3", "Atlantis"],
        "category": [None, "category 3"],
        "starts_from": [None, datetime(2200, 1, 1, tzinfo=UTC)],
    }
    for values in itertools.product(*choices.values()):
        filters = ShowFilters(**dict(zip(choices, values, strict=True)))
        reading.plans.clear()
        await service.facets(reading, filters)
        assert reading.most_examined() <= finding.MAX_COUNTED, filters
        await finding.suggest(reading, filters)
        assert reading.scans() == set(), filters


async def test_no_other_public_read_is_planned_with_a_sequential_scan(
    reading: Any,
) -> None:
    await service.show(reading, BIG_SHOW)
    await service.show_version(reading, BIG_SHOW)
    ticket_id = (await service.list_tickets(reading, TicketQuery(), None)).items[0].id
    await service.ticket(reading, ticket_id)
    assert reading.scans() == set()


async def test_the_pages_of_a_list_have_every_ticket_once(reading: Any) -> None:
    """A rare ticket is found after pages without any, each of which examined its share."""
    for sort in ("newest", "price"):
        for filters, count in (
            ({"currency": "USD"}, 500),
            ({"currency": "EUR", "min_price": 10_090}, None),
        ):
            found, pages, cursor = [], 0, None
            while True:
                query = TicketQuery(sort=sort, limit=100, cursor=cursor, **filters)
                page = await service.list_tickets(reading, query, None)
                found += [ticket.id for ticket in page.items]
                pages, cursor = pages + 1, page.next_cursor
                if cursor is None:
                    break
            assert len(found) == len(set(found))
            assert pages < 60
            if count:
                # Hidden and withdrawn ones are left out.
                assert count / 2 < len(found) < count


async def test_a_read_that_takes_too_long_is_ended_with_an_error(system: System) -> None:
    await system.start("api")
    ticket = await factories.ticket(system.person("seller"))
    owner = await system.connect()
    await owner.execute(
        """
        create or replace function tickets.effective_status(
            p_status text, p_held_until timestamptz, p_now timestamptz
        ) returns text language plpgsql volatile
        as $$ begin perform pg_sleep(30); return p_status; end $$
        """
    )
    reply = await system.person("reader").get("/api/tickets", q="harbour")
    assert code(reply) == (503, "search_too_slow")
    assert reply.headers["retry-after"] == "5"
    show = await system.person("reader").get(f"/api/shows/{ticket['show_id']}")
    assert show.status_code == 200
