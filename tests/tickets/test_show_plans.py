"""A list of shows examines a bounded number of them, whatever the statistics of the table are."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from backend.embedded.postgres import Postgres
from backend.kernel import conditions
from backend.kernel.database import Connection
from backend.tickets import service
from backend.tickets import show_queries as finding
from backend.tickets.app import SESSION
from backend.tickets.model import ShowQuery
from tests.explaining import explaining_connection, keep_statistics
from tests.stores import filled_template
from tests.system import System

BIG_OWNER, RARE_OWNER = uuid4(), uuid4()
NOBODY = UUID(int=0)
COUNT = 24_000

# Of every three shows, one is of the owner, one in the city and one of the category; so each index
# has a range of 8,000 shows, and no show has two of them.
SHOWS = """
    insert into tickets.shows (
        owner_id, title, venue, city, city_key, starts_at, local_start, timezone, category, search,
        spellings
    )
    select case when n % 3 = 0 then $3::uuid else uuidv7() end,
           'Show ' || n, 'Hall', case when n % 3 = 1 then 'Big City' else 'City ' || n end,
           case when n % 3 = 1 then 'big city' else 'city ' || n end,
           now() + n * interval '1 minute', now() + n * interval '1 minute', 'UTC',
           case when n % 3 = 2 then 'concert' else 'kind ' || n end,
           to_tsvector('simple', 'show ' || n), ''
    from generate_series($1::int, $2::int) n
"""


async def fill(owner: Connection) -> None:
    await keep_statistics(owner, "tickets.shows")
    await owner.execute("set session_replication_role = replica")  # no triggers
    await owner.execute(SHOWS, COUNT + 1, COUNT + 60, RARE_OWNER)
    await owner.execute("vacuum analyze tickets.shows")
    # The statistics are of the first 60 shows.
    await owner.execute(SHOWS, 1, COUNT, BIG_OWNER)


@pytest.fixture(scope="module")
def template(postgres: Postgres) -> Iterator[str]:
    with filled_template(postgres, "many_shows", fill) as name:
        yield name


@pytest.fixture
async def large(system: System) -> Any:
    """A connection as the API has it, and one of the owner, to a database with many shows."""
    owner = await system.connect()
    await owner.execute("set session_replication_role = replica")
    return await explaining_connection(system, "tickets", SESSION), owner


def queries() -> Iterator[ShowQuery]:
    """Each combination of owner, city, category and a date with both orders, most of which no show
    passes.
    """
    choices: dict[str, list[Any]] = {
        "owner": [None, str(BIG_OWNER), str(RARE_OWNER), str(NOBODY)],
        "city": [None, "BIG city", "Atlantis"],
        "category": [None, "Concert", "opera"],
        "last_day": [None, (datetime.now(UTC) + timedelta(days=300)).date()],
        "q": ["", "show"],
        "sort": ["starts_at", "-starts_at"],
    }
    for values in itertools.product(*choices.values()):
        yield ShowQuery(**dict(zip(choices, values, strict=True)))


async def test_each_list_of_a_large_table_examines_a_bounded_number_of_shows(large: Any) -> None:
    """With statistics from before most of the table was written, and with fresh ones."""
    reading, owner = large
    for is_fresh in (False, True):
        if is_fresh:
            await owner.execute("vacuum analyze tickets.shows")
        for query in queries():
            scope = finding.Scope(owner_id=UUID(query.owner) if query.owner else None)
            reading.plans.clear()
            await finding.list_shows(reading, query, scope, None, loose=False)
            assert reading.scans() == set(), (is_fresh, query)
            # One more, which proves that words are frequent.
            assert reading.most_examined() <= conditions.MAX_EXAMINED + 1, (is_fresh, query)


async def test_the_pages_of_a_list_have_every_show_once(large: Any) -> None:
    """Rare shows are found after pages without any, each of which examined its share."""
    reading, owner = large
    await owner.execute(
        "update tickets.shows set city_key = 'big city' where title = any ($1)",
        [f"Show {number}" for number in (9, 9_000, 21_000, COUNT)],
    )
    for sort in ("starts_at", "-starts_at"):
        query = ShowQuery(owner=str(BIG_OWNER), city="Big City", sort=sort, limit=2)
        found, pages = [], 0
        while True:
            page = await service.list_shows(reading, query, None)
            found += [int(show.title.split()[1]) for show in page.items]
            assert page.suggestions is None
            pages += 1
            if page.next_cursor is None:
                break
            query = msgspec.structs.replace(query, cursor=page.next_cursor)
        numbers = [9, 9_000, 21_000, COUNT]
        assert found == (numbers if sort == "starts_at" else numbers[::-1])
        assert 4 <= pages <= 8


async def test_a_cursor_that_a_client_made_up_shows_nothing_of_other_owners(large: Any) -> None:
    reading, _ = large
    for moment in (datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)):
        cursor = finding.ShowKey(moment, NOBODY)
        for sort in ("starts_at", "-starts_at"):
            query = ShowQuery(sort=sort, limit=100)
            scope = finding.Scope(owner_id=RARE_OWNER)
            listed = await finding.list_shows(reading, query, scope, cursor, loose=False)
            assert {show.owner_id for show in listed.shows} <= {RARE_OWNER}
