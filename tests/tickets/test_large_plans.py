"""A list of tickets examines a bounded number of them, whatever the statistics of the table are."""

import itertools
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from backend.embedded.postgres import Postgres
from backend.kernel import conditions
from backend.kernel.database import Connection
from backend.kernel.principal import Principal
from backend.tickets import service
from backend.tickets.app import SESSION
from backend.tickets.model import TicketQuery
from tests.explaining import explaining_connection, keep_statistics
from tests.stores import filled_template
from tests.system import System

SELLER, RARE_SELLER, BIG_SHOW, RARE_SHOW = uuid4(), uuid4(), uuid4(), uuid4()

# A third of the tickets belongs to one show and one seller, whose prices are among those of the
# others. In so large a table, Postgres prefers a scan in the order of the list to another index.
LARGE = """
    insert into tickets.tickets (show_id, seller_id, seller_name, price, currency, seat, hidden)
    select coalesce($3, uuidv7()), coalesce($4, uuidv7()), 'seller', 100 + n * 7919 % 10007, 'EUR',
           n::text, $5
    from generate_series($1::int, $2::int) n
"""


async def fill(owner: Connection) -> None:
    """Write 30,000 tickets."""
    await keep_statistics(owner, "tickets.tickets")
    # Without the triggers, which count the tickets of a show, and without its foreign key.
    await owner.execute("set session_replication_role = replica")
    await owner.execute(LARGE, 10_001, 29_900, None, None, False)
    for show, seller, first in ((RARE_SHOW, None, 29_901), (None, RARE_SELLER, 29_951)):
        await owner.execute(LARGE, first, first + 49, show, seller, False)
    await owner.execute("vacuum analyze tickets.shows, tickets.tickets")
    # The statistics contain neither the large show nor its hidden tickets.
    await owner.execute(LARGE, 1, 6_000, BIG_SHOW, SELLER, False)
    await owner.execute(LARGE, 6_001, 10_000, BIG_SHOW, SELLER, True)


@pytest.fixture(scope="module")
def template(postgres: Postgres) -> Iterator[str]:
    with filled_template(postgres, "large_tickets", fill) as name:
        yield name


@pytest.fixture
async def large(system: System) -> Any:
    """A connection as the API has it, and one of the owner."""
    return await explaining_connection(system, "tickets", SESSION), await system.connect()


async def test_each_list_of_a_large_table_examines_a_bounded_number_of_tickets(large: Any) -> None:
    """With statistics from before a third of the table was written, and with fresh ones."""
    reading, owner = large
    for is_fresh in (False, True):
        if is_fresh:
            await owner.execute("vacuum analyze tickets.tickets")
        for query, viewer in large_queries():
            reading.plans.clear()
            await service.list_tickets(reading, query, viewer)
            assert reading.scans() == set(), (is_fresh, query)
            assert reading.most_examined() <= conditions.MAX_EXAMINED, (is_fresh, query)


def large_queries() -> Iterator[tuple[TicketQuery, Principal | None]]:
    """Each combination of a large or a small show and seller with each sort order and a filter that
    no ticket passes; of everybody's tickets, of one's own and of the hidden ones.
    """
    shows, sellers = [None, BIG_SHOW, RARE_SHOW], [None, SELLER, RARE_SELLER]
    sorts: list[Any] = ["newest", "oldest", "price", "-price"]
    filters: list[dict[str, Any]] = [
        {"status": "sold"},
        {"currency": "XAF"},
        {"currency": "EUR", "min_price": 20_000},
        {"currency": "EUR", "max_price": 50},
    ]
    for show, seller, sort, passing in itertools.product(shows, sellers, sorts, filters):
        named = str(seller) if seller else None
        yield TicketQuery(show_id=show, seller=named, sort=sort, **passing), None
        if seller:
            own = Principal(seller, "seller@example.com", "seller", uuid4())
            yield TicketQuery(show_id=show, seller=named, sort=sort, **passing), own
            if show:
                yield TicketQuery(show_id=show, hidden=True, sort=sort, **passing), own


async def test_a_page_far_into_a_list_begins_at_its_cursor(large: Any) -> None:
    """The scan skips the tickets before it, which no plan would count as examined."""
    reading, _ = large
    for sort in ("newest", "oldest", "price", "-price"):
        for show, seller in ((BIG_SHOW, None), (None, str(SELLER)), (BIG_SHOW, str(SELLER))):
            query = TicketQuery(show_id=show, seller=seller, sort=sort, limit=10)
            first = await service.list_tickets(reading, query, None)
            reading.plans.clear()
            await service.list_tickets(reading, query, None)
            blocks = reading.blocks()
            for _ in range(2):
                query = msgspec.structs.replace(query, status="sold", cursor=first.next_cursor)
                first = await service.list_tickets(reading, query, None)
                assert first.items == []
            assert first.next_cursor is not None
            reading.plans.clear()
            query = msgspec.structs.replace(query, status=None, cursor=first.next_cursor)
            page = await service.list_tickets(reading, query, None)
            assert len(page.items) == 10
            assert reading.blocks() <= blocks + 10, query


async def test_a_rare_word_in_a_large_table_is_found_by_its_index(large: Any) -> None:
    reading, owner = large
    await owner.execute("vacuum analyze tickets.tickets")
    for words, seats in (("17777", ["17777"]), ("unknown", [])):
        for sort in ("newest", "price", "-price"):
            reading.plans.clear()
            page = await service.list_tickets(reading, TicketQuery(q=words, sort=sort), None)
            assert [ticket.seat for ticket in page.items] == seats
            assert reading.most_examined() <= 100, (words, sort)
