"""Databases of versions before the baseline start with their data and get exactly its schema."""

import os
import subprocess
import tarfile
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from backend.embedded.postgres import Postgres, bin_folder
from backend.kernel import baseline, database
from backend.kernel.migration_files import project_folder, read_digests, read_numbered
from backend.kernel.migrations import MigrationError, migrate, read
from backend.orders import queries
from backend.orders.model import SaleQuery
from tests import stores

# The migrations of each commit that changed a numbered file, in a folder named by order and commit.
ARCHIVE = Path(__file__).parent / "earlier_schemas.tar.xz"
with tarfile.open(ARCHIVE) as archive:
    VERSIONS = sorted({name.partition("/")[0] for name in archive.getnames()})
# The first version had no table for anything but events.
WITH_TABLES = VERSIONS[1:]

USER, SHOW, TICKET, ORDER, PAYMENT = (UUID(int=number) for number in range(1, 6))
BUYER = UUID(int=6)
FREE_TICKET = UUID(int=7)
ROWS: list[tuple[str, dict[str, object]]] = [
    ("auth.users", {"id": USER, "email": "a@b.example", "name": "A", "password_hash": "x"}),
    (
        "tickets.shows",
        {"id": SHOW, "owner_id": USER, "title": "S", "venue": "V", "city": "C", "category": "music",
         "timezone": "UTC"},
    ),
    (
        "tickets.tickets",
        {"id": TICKET, "show_id": SHOW, "seller_id": USER, "seller_name": "A", "price": 1000,
         "currency": "EUR", "status": "reserved", "order_id": ORDER},
    ),
    (
        "tickets.tickets",
        {"id": FREE_TICKET, "show_id": SHOW, "seller_id": USER, "seller_name": "A", "price": 1000,
         "currency": "EUR"},
    ),
    (
        "orders.orders",
        {"id": ORDER, "buyer_id": BUYER, "status": "confirmed", "subtotal": 1000, "fee": 50,
         "total": 1050, "currency": "EUR", "payment_id": PAYMENT},
    ),
    (
        "orders.lines",
        {"order_id": ORDER, "buyer_id": BUYER, "ticket_id": TICKET, "show_id": SHOW,
         "seller_id": USER, "price": 1000},
    ),
    (
        "payments.payments",
        {"id": PAYMENT, "order_id": ORDER, "buyer_id": BUYER, "attempt": 1, "status": "captured",
         "amount": 1050, "currency": "EUR", "payment_method": "pm_card_visa", "intent_id": "pi_1"},
    ),
    (
        "events.outbox",
        {"type": "ticket.held", "subject": TICKET, "version": 1, "data": '{"id": "x"}'},
    ),
]  # fmt: skip
TIMES = ("starts_at", "expires_at", "latest_expiry", "deadline_at")


@pytest.fixture(scope="session")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the migrations of every earlier version."""
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
async def url(postgres: Postgres) -> AsyncIterator[str]:
    """An empty database."""
    name = f"baseline_{os.getpid()}"
    async with stores.admin_of(postgres) as admin:
        await admin.execute(f"create database {name}")
        try:
            yield postgres.url(database=name)
        finally:
            await admin.execute(f"drop database {name} with (force)")


@pytest.fixture
async def owner(url: str) -> AsyncIterator[Any]:
    connection = await database.connect(url, name="tests")
    yield connection
    await connection.close()


@pytest.fixture(scope="session")
def fresh(postgres: Postgres) -> str:
    return dumped(postgres.url(database=stores.TEMPLATE))


def dumped(url: str) -> str:
    """The whole schema with functions and grants, and the rows of the transition tables."""
    pg_dump = [
        str(bin_folder() / "pg_dump"),
        "--restrict-key=tests",
        "--no-comments",
        "--dbname",
        url,
    ]
    return "".join(
        subprocess.run([*pg_dump, *options], check=True, capture_output=True, text=True).stdout
        for options in (["--schema-only"], ["--data-only", "--inserts", "--table=*.*transitions"])
    )


async def insert_rows(owner: Any) -> None:
    """Insert a sale with a captured payment, in the columns that this version has."""
    for table, values in ROWS:
        schema, _, name = table.partition(".")
        columns = {
            row[0]
            for row in await owner.fetch(
                "select column_name from information_schema.columns"
                " where table_schema = $1 and table_name = $2",
                schema,
                name,
            )
        }
        row = {column: value for column, value in values.items() if column in columns}
        times = [column for column in TIMES if column in columns]
        values_of = [
            *(f"${number}" for number in range(1, len(row) + 1)),
            *("now()" for _ in times),
        ]
        await owner.execute(
            f"insert into {table} ({', '.join([*row, *times])}) values ({', '.join(values_of)})",
            *row.values(),
        )
    # Updates run the version's own triggers.
    await owner.execute(
        "update tickets.tickets set status = 'sold', version = version + 1 where id = $1", TICKET
    )
    await owner.execute(
        "update orders.orders set status = 'completed', version = version + 1 where id = $1", ORDER
    )


@pytest.mark.parametrize("version", WITH_TABLES)
async def test_a_database_of_an_earlier_version_gets_the_baseline_and_keeps_its_data(
    version: str, earlier: Path, url: str, owner: Any, fresh: str
) -> None:
    await migrate(url, read(earlier / version))
    await insert_rows(owner)
    await migrate(url, read())
    assert await migrate(url, read()) == []
    assert dumped(url) == fresh

    order = await queries.order(owner, ORDER, BUYER)
    assert order is not None
    assert (order.status, order.total, order.tickets[0].id) == ("completed", 1050, TICKET)
    async with owner.transaction():
        sales, _ = await queries.list_sales(
            owner, USER, SaleQuery(), None, longest_hold=timedelta(minutes=5)
        )
    assert [(sale.ticket_id, sale.status) for sale in sales] == [(TICKET, "sold")]
    assert await owner.fetchval("select available from tickets.availability($1)", SHOW) == 1
    payment = await owner.fetchrow("select * from payments.payments")
    assert payment["deadline_at"] is not None
    assert (payment["status"], payment["intent_id"]) == ("captured", "pi_1")
    assert await owner.fetchval("select type from events.outbox") == "ticket.held"
    assert await owner.fetchval("select email from auth.users") == "a@b.example"


async def test_a_database_before_the_first_tables_starts_afresh(
    earlier: Path, url: str, fresh: str
) -> None:
    await migrate(url, read(earlier / VERSIONS[0]))
    await migrate(url, read())
    assert await migrate(url, read()) == []
    assert dumped(url) == fresh


async def test_rows_in_a_database_before_the_first_tables_are_not_dropped(
    earlier: Path, url: str, owner: Any
) -> None:
    await migrate(url, read(earlier / VERSIONS[0]))
    await owner.execute(
        "insert into events.outbox (type, subject, version, data)"
        " values ('x', gen_random_uuid(), 1, '{}')"
    )
    with pytest.raises(asyncpg.RaiseError, match=r"events\.outbox has rows"):
        await migrate(url, read())
    assert await owner.fetchval("select count(*) from events.outbox") == 1


async def test_an_earlier_migration_with_unknown_content_is_refused(
    earlier: Path, url: str, owner: Any
) -> None:
    await migrate(url, read(earlier / VERSIONS[-1]))
    await owner.execute("update schema_migrations set digest = 'x' where version = 11")
    with pytest.raises(MigrationError, match="0011_allowed was changed after it was applied"):
        await migrate(url, read())
    await owner.execute("update schema_migrations set name = 'mine' where version = 11")
    with pytest.raises(MigrationError, match="has a migration that this code lacks: 0011_mine"):
        await migrate(url, read())
    assert await owner.fetchval("select count(*) from schema_migrations") == 16


def test_every_earlier_content_is_listed(earlier: Path) -> None:
    listed = read_digests(project_folder() / baseline.FOLDER)
    found: dict[str, set[str]] = {}
    for version in VERSIONS:
        for migration in read_numbered(earlier / version):
            found.setdefault(str(migration), set()).add(migration.digest)
    assert found == listed
