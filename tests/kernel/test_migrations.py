"""Migrations run forward only, all or none, and one runner at a time."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from backend.embedded.postgres import Postgres
from backend.kernel import database, migrations, schema_version
from backend.kernel.migration_files import project_folder, read_digests, read_numbered
from backend.kernel.migrations import Migration, MigrationError, migrate, read, state
from backend.kernel.schema_version import NotMigrated
from backend.kernel.settings import ROLES, with_role
from tests.system import System

FIRST = Migration(1, "first", "create table shelf (id int primary key)")
SECOND = Migration(2, "second", "insert into shelf values (1)")
FUNCTIONS = Migration(
    None, "functions/shelf.sql", "create or replace function depth() returns int return 1"
)
BROKEN = Migration(3, "broken", "insert into shelf values (2); select 1 / 0")


@pytest.fixture
async def url(postgres: Postgres) -> AsyncIterator[str]:
    """An empty database."""
    name = f"migrations_{os.getpid()}"
    admin = await database.connect(postgres.url(database="postgres"), name="tests-admin")
    await admin.execute(f"create database {name}")
    try:
        yield postgres.url(database=name)
    finally:
        await admin.execute(f"drop database {name} with (force)")
        await admin.close()


@pytest.fixture
async def shelf(url: str) -> AsyncIterator[Any]:
    connection = await database.connect(url, name="tests")
    yield connection
    await connection.close()


async def applied(shelf: Any) -> list[tuple[int, str]]:
    rows = await shelf.fetch("select version, name from schema_migrations order by version")
    return [tuple(row) for row in rows]


async def test_a_fresh_database_gets_every_migration_in_order(url: str, shelf: Any) -> None:
    assert await migrate(url, [FIRST, SECOND]) == [FIRST, SECOND]
    assert await applied(shelf) == [(1, "first"), (2, "second")]


async def test_a_second_run_does_nothing(url: str, shelf: Any) -> None:
    await migrate(url, [FIRST, SECOND])
    assert await migrate(url, [FIRST, SECOND]) == []
    assert await shelf.fetchval("select count(*) from shelf") == 1


async def test_only_new_migrations_are_applied(url: str, shelf: Any) -> None:
    await migrate(url, [FIRST])
    assert await migrate(url, [FIRST, SECOND]) == [SECOND]
    assert await applied(shelf) == [(1, "first"), (2, "second")]


async def test_two_runners_at_once_apply_each_migration_once(url: str, shelf: Any) -> None:
    slow = SECOND._replace(sql=SECOND.sql + "; select pg_sleep(0.1)")
    runs = await asyncio.gather(*(migrate(url, [FIRST, slow]) for _ in range(4)))
    assert sorted(len(run) for run in runs) == [0, 0, 0, 2]
    assert await shelf.fetchval("select count(*) from shelf") == 1


async def test_a_migration_that_was_changed_is_refused(url: str, shelf: Any) -> None:
    await migrate(url, [FIRST])
    with pytest.raises(MigrationError, match="0001_first was changed"):
        await migrate(url, [FIRST._replace(sql=FIRST.sql + " "), SECOND])
    assert await applied(shelf) == [(1, "first")]


async def test_changed_functions_are_defined_again(url: str, shelf: Any) -> None:
    await migrate(url, [FIRST, FUNCTIONS])
    assert await migrate(url, [FIRST, FUNCTIONS]) == []
    deeper = FUNCTIONS._replace(sql=FUNCTIONS.sql.replace("1", "2"))
    assert await migrate(url, [FIRST, SECOND, deeper]) == [SECOND, deeper]
    assert await shelf.fetchval("select depth()") == 2


async def test_a_database_ahead_of_the_code_is_refused(url: str, shelf: Any) -> None:
    await migrate(url, [FIRST, SECOND])
    with pytest.raises(MigrationError, match="ahead of this code: it has migration 0002"):
        await migrate(url, [FIRST])
    assert await applied(shelf) == [(1, "first"), (2, "second")]


async def test_a_failing_migration_leaves_the_database_unchanged(url: str, shelf: Any) -> None:
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(url, [FIRST, SECOND, BROKEN])
    assert await shelf.fetchval("select to_regclass('shelf')") is None
    await migrate(url, [FIRST])
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(url, [FIRST, SECOND, BROKEN])
    assert await applied(shelf) == [(1, "first")]
    assert await shelf.fetchval("select count(*) from shelf") == 0


async def test_the_projects_own_migrations_run_twice_on_a_fresh_database(
    url: str, postgres: Postgres
) -> None:
    ours = read()
    numbers = [migration.version for migration in ours if migration.version is not None]
    assert numbers == list(range(1, len(numbers) + 1))
    # The roles belong to the whole cluster and are there already.
    assert await migrate(url, ours) == ours
    assert await migrate(url, ours, role_urls=[postgres.url(role="gittix_auth")]) == []


async def test_a_database_without_utf8_is_refused(postgres: Postgres) -> None:
    name = f"ascii_{os.getpid()}"
    admin = await database.connect(postgres.url(database="postgres"), name="tests-admin")
    try:
        await admin.execute(
            f"create database {name} template template0 encoding 'SQL_ASCII' locale 'C'"
        )
        with pytest.raises(MigrationError, match="has the encoding SQL_ASCII"):
            await migrate(postgres.url(database=name), [FIRST])
    finally:
        await admin.execute(f"drop database if exists {name} with (force)")
        await admin.close()


async def test_0008_gives_every_account_and_seller_a_handle(url: str, shelf: Any) -> None:
    ours = read()
    await migrate(url, [each for each in ours if each.version is not None and each.version < 8])
    await shelf.execute(
        """
        insert into auth.users (email, name, password_hash)
        select 'marker' || n || '@b.example', 'Marker ' || n, 'x' from generate_series(1, 300) n;
        insert into tickets.shows (owner_id, title, venue, city, starts_at, timezone, category)
        values (gen_random_uuid(), 'S', 'V', 'C', now() + interval '1 day', 'UTC', 'concert');
        insert into tickets.tickets (show_id, seller_id, seller_name, price, currency)
        select s.id, coalesce(u.id, gen_random_uuid()), 'marker', 1000, 'EUR'
        from tickets.shows s, (
            (select id from auth.users limit 5) union all select null from generate_series(1, 5)
        ) u (id)
        """
    )
    await migrate(url, ours)
    users = await shelf.fetch("select id, handle, name from auth.users")
    sellers = dict(await shelf.fetch("select id, handle from tickets.sellers"))
    assert len({user["handle"] for user in users}) == len(users) == 300
    assert all(re.fullmatch(r"[a-z]+-[a-z]+-[1-9]\d{3}", user["handle"]) for user in users)
    assert {user["id"]: user["handle"] for user in users}.items() <= sellers.items()
    # A process of the version before reads the handle where it expects the name.
    assert all(user["name"] == user["handle"] for user in users)
    # Five sellers have no account.
    assert len(sellers) == 305
    assert await shelf.fetchval(
        "select bool_and(tickets.handle_of(seller_id) <> '') from tickets.tickets"
    )
    assert set(sellers.values()) == {
        row["handle"]
        for row in await shelf.fetch("select handle from auth.handles where user_id is not null")
    }
    # And it writes a name, which is not stored.
    late = await shelf.fetchrow(
        "insert into auth.users (email, name, password_hash) values ('late@b.example', 'late', 'x')"
        " returning handle, name"
    )
    assert late["name"] == late["handle"] != "late"


async def test_0016_gives_every_order_a_number(url: str, shelf: Any) -> None:
    ours = read()
    await migrate(url, [each for each in ours if each.version is not None and each.version < 16])
    await shelf.execute(
        """
        insert into orders.orders (
            id, buyer_id, subtotal, fee, total, currency, expires_at, latest_expiry
        )
        select uuidv7(), gen_random_uuid(), 1000, 50, 1050, 'EUR', now(), now()
        from generate_series(1, 300);
        insert into orders.idempotency_keys (user_id, key, fingerprint, status, headers, body)
        select o.buyer_id, 'key', '\\x00', 201, '{}',
               convert_to(json_build_object('id', o.id, 'fee', 50)::text, 'UTF8')
        from orders.orders o limit 1;
        insert into orders.idempotency_keys (user_id, key, fingerprint, status, headers, body)
        select gen_random_uuid(), 'key', '\\x00', 404, '{}', convert_to('no JSON', 'UTF8')
        """
    )
    await migrate(url, ours)
    numbers = dict(await shelf.fetch("select id, number from orders.orders order by id"))
    assert len(set(numbers.values())) == 300
    assert all(re.fullmatch(r"GT-[0-9A-HJKMNP-TV-Z]{8}", number) for number in numbers.values())
    assert list(numbers.values()) != sorted(numbers.values())
    stored = await shelf.fetchval(
        "select convert_from(body, 'UTF8') from orders.idempotency_keys where status = 201"
    )
    reply = json.loads(stored)
    assert reply["number"] == numbers[UUID(reply["id"])]


async def test_0017_lets_one_of_the_tickets_of_a_seat_claim_it(url: str, shelf: Any) -> None:
    ours = read()
    await migrate(url, [each for each in ours if each.version is not None and each.version < 17])
    await shelf.execute(
        """
        insert into tickets.shows (owner_id, title, venue, city, starts_at, timezone, category)
        values (gen_random_uuid(), 'S', 'V', 'C', now() + interval '1 day', 'UTC', 'concert');
        insert into tickets.tickets (
            show_id, seller_id, seller_name, price, currency, title, section, seat, status, order_id
        )
        select s.id, gen_random_uuid(), 'x', 1000, 'EUR', t.title, t.section, t.seat, t.status,
               case when t.status = 'sold' then uuidv7() end
        from tickets.shows s, (values
            ('withdrawn', 'A', '1', 'withdrawn'), ('oldest', 'A', '1', 'available'),
            ('second', ' a ', '1', 'available'), ('early', 'A', '2', 'available'),
            ('sold', 'A', '2', 'sold'), ('other', null, '1', 'available'),
            ('standing', 'A', null, 'available'), ('standing too', 'A', null, 'available'),
            ('blank', 'A', ' ', 'available'), ('blank too', 'A', ' ', 'available')
        ) t (title, section, seat, status)
        """
    )
    await migrate(url, ours)
    assert {
        row["title"]
        for row in await shelf.fetch("select title from tickets.tickets where not claims_seat")
    } == {"withdrawn", "second", "early"}


async def test_0018_gives_earlier_orders_the_show_as_it_is(url: str, shelf: Any) -> None:
    ours = read()
    await migrate(url, [each for each in ours if each.version is not None and each.version < 18])
    await shelf.execute(
        """
        insert into tickets.shows (owner_id, title, venue, city, starts_at, timezone, category)
        values (gen_random_uuid(), 'S', 'V', 'C', '2030-01-01 20:00Z', 'UTC', 'concert');
        insert into orders.orders (
            id, number, buyer_id, subtotal, fee, total, currency, expires_at, latest_expiry
        ) values (uuidv7(), 'GT-00000000', gen_random_uuid(), 1000, 50, 1050, 'EUR', now(), now());
        insert into orders.lines (order_id, buyer_id, ticket_id, show_id, seller_id, price)
        select o.id, o.buyer_id, uuidv7(), s.id, s.owner_id, 500
        from orders.orders o, tickets.shows s, generate_series(1, 2);
        insert into orders.idempotency_keys (user_id, key, fingerprint, status, headers, body)
        select o.buyer_id, 'key', '\\x00', 201, '{}', convert_to(
            json_build_object(
                'id', o.id,
                'tickets',
                (select json_agg(json_build_object('id', l.ticket_id)) from orders.lines l)
            )::text, 'UTF8'
        )
        from orders.orders o
        """
    )
    await migrate(url, ours)
    stored = await shelf.fetchval("select convert_from(body, 'UTF8') from orders.idempotency_keys")
    shows = [line["show"] for line in json.loads(stored)["tickets"]]
    assert [(show["title"], show["city"], show["starts_at"]) for show in shows] == [
        ("S", "C", "2030-01-01T20:00:00+00:00")
    ] * 2
    assert await shelf.fetchval("select count(*) from orders.lines where show_title = 'S'") == 2


async def test_0020_divides_the_fees_of_earlier_orders_and_gives_lines_their_refund(
    url: str, shelf: Any
) -> None:
    ours = read()
    await migrate(url, [each for each in ours if each.version is not None and each.version < 20])
    await shelf.execute(
        """
        insert into orders.orders (
            id, number, buyer_id, status, subtotal, fee, total, currency, expires_at,
            latest_expiry, payment_id, refund_id
        )
        select gen_random_uuid(), 'GT-0000000' || place, gen_random_uuid(), status, 9999, 501,
            10500, 'EUR', now(), now(), uuidv7(), uuidv7()
        from unnest(array['refunded', 'refund_pending', 'completed', 'expired'])
            with ordinality as each (status, place);
        insert into orders.lines (
            order_id, buyer_id, ticket_id, show_id, seller_id, price, show_title, show_venue,
            show_city, show_starts_at, show_timezone
        )
        select o.id, o.buyer_id, uuidv7(), uuidv7(), uuidv7(), 3333, 'S', 'V', 'C', now(), 'UTC'
        from orders.orders o, generate_series(1, 3);
        update orders.lines l set live = false
        from orders.orders o where o.id = l.order_id and o.status = 'expired';
        insert into payments.payments (
            id, order_id, buyer_id, attempt, status, amount, currency, payment_method, deadline_at
        )
        select o.payment_id, o.id, o.buyer_id, 1, 'captured', o.total, o.currency, 'pm', now()
        from orders.orders o;
        insert into payments.refunds (
            id, order_id, payment_id, intent_id, number, requested_by, relist, status, stripe_id,
            failure_code, amount, currency
        )
        select r.id, o.id, o.payment_id, 'pi', r.number, o.buyer_id, false, r.status, 're', r.code,
            o.total, o.currency
        from orders.orders o
        cross join lateral (values
            (o.refund_id, 2, 'pending', null, 'refund_pending'),
            (o.refund_id, 2, 'succeeded', null, 'refunded'),
            (uuidv7(), 1, 'failed', 'lost', o.status)
        ) as r (id, number, status, code, of)
        where r.of = o.status and o.status <> 'expired'
        """
    )
    awaited = await shelf.fetchval("select refund_id from orders.orders where status = 'refunded'")
    await migrate(url, ours)
    lines = await shelf.fetch(
        """
        select o.status as order_status, l.status, l.fee, l.live, l.refund_id
        from orders.lines l join orders.orders o on o.id = l.order_id order by o.number, l.ticket_id
        """
    )
    assert [line["fee"] for line in lines] == 4 * [167, 167, 167]
    assert {(line["order_status"], line["status"], line["live"]) for line in lines} == {
        ("refunded", "refunded", False),
        ("refund_pending", "refund_pending", True),
        ("completed", "sold", True),
        ("expired", "sold", False),
    }
    assert {line["refund_id"] for line in lines if line["status"] == "refunded"} == {awaited}
    assert await shelf.fetch(
        "select live, count(*), sum(amount)::int from payments.refund_lines group by 1 order by 1"
    ) == [(False, 9, 3 * 10500), (True, 6, 2 * 10500)]


def test_a_landed_migration_never_changes() -> None:
    """A new migration adds its line to `digests.txt`; a line that is there never changes."""
    ours = {str(migration): {migration.digest} for migration in read_numbered(project_folder())}
    assert ours == read_digests(project_folder())


def test_no_function_is_longer_than_60_lines() -> None:
    definition = re.compile(
        r"^create (?:or replace )?(?:function|procedure) ([\w.]+).*?(?:^\$\$;$|^return .*?;$)",
        re.MULTILINE | re.DOTALL,
    )
    lengths = {
        match[1]: match[0].count("\n") + 1
        for migration in read()
        if migration.version is None
        for match in definition.finditer(migration.sql)
    }
    assert len(lengths) > 30
    assert {name: length for name, length in lengths.items() if length > 60} == {}


def test_numbered_sql_files_are_read_and_then_functions(tmp_path: Path) -> None:
    (tmp_path / "functions" / "a").mkdir(parents=True)
    (tmp_path / "functions" / "b.sql").write_text("-- b")
    (tmp_path / "functions" / "a" / "z.sql").write_text("-- z")
    (tmp_path / "functions" / "a" / "notes.txt").write_text("")
    for name in (
        "0002_b.sql",
        "0001_a.sql",
        "notes.txt",
        "3_c.sql",
        "0003_c.sql.orig",
        "__init__.py",
    ):
        (tmp_path / name).write_text(f"-- {name}")
    assert read(tmp_path) == [
        Migration(1, "a", "-- 0001_a.sql"),
        Migration(2, "b", "-- 0002_b.sql"),
        Migration(None, "functions/a/z.sql", "-- z"),
        Migration(None, "functions/b.sql", "-- b"),
    ]


async def test_a_role_gets_the_password_of_its_url(
    url: str, postgres: Postgres, shelf: Any
) -> None:
    await shelf.execute("drop role if exists shelf_keeper; create role shelf_keeper login")
    odd = "pa'ss%\\ word"
    try:
        role_url = postgres.url(role="shelf_keeper", password=odd)
        await migrate(url, [FIRST], role_urls=[role_url])
        keeper = await database.connect(
            postgres.url(role="shelf_keeper", password=odd, database=f"migrations_{os.getpid()}"),
            name="t",
        )
        assert await keeper.fetchval("select current_user") == "shelf_keeper"
        await keeper.close()
    finally:
        await shelf.execute("drop role shelf_keeper")


async def test_the_lock_ends_with_the_transaction(url: str, shelf: Any) -> None:
    await migrate(url, [FIRST])
    assert await shelf.fetchval(f"select pg_try_advisory_lock({migrations.LOCK})") is True


async def wait_for(urls: list[str], known: list[Migration], seconds: float = 0.0) -> list[str]:
    """Wait for these migrations. Returns the reported reasons."""
    reasons: list[str] = []
    await schema_version.wait(urls, state(known), seconds=seconds, waiting=reasons.append)
    return reasons


async def test_a_service_waits_until_the_database_is_at_its_version(url: str, shelf: Any) -> None:
    await migrate(url, [FIRST])
    waiting = asyncio.create_task(wait_for([url], [FIRST, SECOND], seconds=10))
    await asyncio.sleep(2 * schema_version.POLL_SECONDS)
    assert not waiting.done()
    await migrate(url, [FIRST, SECOND])
    assert await waiting == ["the database is not migrated to this version"]


async def test_a_service_of_an_older_version_still_starts(url: str, shelf: Any) -> None:
    await migrate(url, [FIRST, FUNCTIONS])
    await migrate(url, [FIRST, SECOND, FUNCTIONS._replace(sql=f"{FUNCTIONS.sql} + 1")])
    assert await wait_for([url], [FIRST, FUNCTIONS]) == []


async def test_a_wait_that_times_out_names_the_remedy(url: str) -> None:
    with pytest.raises(NotMigrated, match="run `gittix migrate`"):
        await wait_for([url], [FIRST])


async def test_a_missing_role_is_waited_for(url: str) -> None:
    with pytest.raises(NotMigrated, match="does not know this login"):
        await wait_for([with_role(url, "gittix_stranger")], [FIRST])


async def test_every_role_can_read_the_state_of_the_database(system: System) -> None:
    urls = [system.settings.role_database_url(role) for role in ROLES]
    assert await wait_for(urls, read()) == []
