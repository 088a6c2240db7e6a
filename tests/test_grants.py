"""The rights of every role on every table, schema and function, in the catalogue and in use."""

from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from backend.check import rights
from backend.kernel.settings import ROLES
from tests.stores import TEMPLATE
from tests.system import System

# The privileges on columns, and on whole tables.
ON_COLUMNS = ("SELECT", "INSERT", "UPDATE", "REFERENCES")
ON_TABLES = ("DELETE", "TRUNCATE", "TRIGGER", "MAINTAIN")

# Their rows end: sessions, tokens, stored replies, handled events.
EXPIRING = {
    "auth.sessions",
    "auth.refresh_tokens",
    "auth.ended_sessions",
    "tickets.idempotency_keys",
    "orders.idempotency_keys",
    "orders.inbox",
    "payments.inbox",
    "payments.webhook_events",
    "events.outbox",
}

COLUMN_RIGHTS = """
    select c.oid::regclass::text as name, a.attname as column_name, p.privilege,
           has_column_privilege($1, c.oid, a.attnum, p.privilege) as may
    from pg_class c join pg_attribute a on a.attrelid = c.oid, unnest($2::text[]) as p (privilege)
    where c.relkind in ('r', 'p', 'v', 'm', 'f') and a.attnum > 0 and not a.attisdropped
      and c.relnamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
      and c.relnamespace::regnamespace::text not like 'pg_toast%'
"""
TABLE_RIGHTS = """
    select c.oid::regclass::text as name, p.privilege,
           has_table_privilege($1, c.oid, p.privilege) as may
    from pg_class c, unnest($2::text[]) as p (privilege)
    where c.relkind in ('r', 'p', 'v', 'm', 'f')
      and c.relnamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
      and c.relnamespace::regnamespace::text not like 'pg_toast%'
"""


def granted_columns(role: str, table: str, privilege: str, columns: set[str]) -> set[str]:
    """The columns of the table on which the role has the privilege by `rights.RIGHTS`."""
    if privilege == "SELECT" and table.partition(".")[0] in rights.READS.get(role, ()):
        return columns
    named = rights.RIGHTS[role].get(table, {}).get(privilege, "")
    return columns if named == rights.ALL else set(named.split())


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_has_exactly_its_rights_on_every_column(role: str, system: System) -> None:
    owner = await system.connect()
    rows = await owner.fetch(COLUMN_RIGHTS, f"gittix_{role}", ON_COLUMNS)
    columns: dict[str, set[str]] = {}
    found: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        columns.setdefault(row["name"], set()).add(row["column_name"])
        of_privilege = found.setdefault((row["name"], row["privilege"]), set())
        if row["may"]:
            of_privilege.add(row["column_name"])
    assert {name.partition(".")[0] for name in columns} >= set(rights.SCHEMAS)
    assert columns.keys() >= rights.RIGHTS[role].keys()
    assert found == {
        (table, privilege): granted_columns(role, table, privilege, columns[table])
        for table in columns
        for privilege in ON_COLUMNS
    }


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_deletes_only_where_rows_expire_and_truncates_nothing(
    role: str, system: System
) -> None:
    owner = await system.connect()
    rows = await owner.fetch(TABLE_RIGHTS, f"gittix_{role}", ON_TABLES)
    found = {(row["name"], row["privilege"]) for row in rows if row["may"]}
    assert found == {
        (table, "DELETE")
        for table, privileges in rights.RIGHTS[role].items()
        if "DELETE" in privileges
    }
    assert {table for table, _ in found} <= EXPIRING


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_may_call_its_own_functions_and_the_granted_ones(
    role: str, system: System
) -> None:
    owner = await system.connect()
    rows = await owner.fetch(
        """
        select n.nspname || '.' || p.proname as name,
               has_function_privilege($1, p.oid, 'EXECUTE') as may
        from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where n.nspname <> 'pg_catalog' and n.nspname <> 'information_schema'
        """,
        f"gittix_{role}",
    )
    every = {row["name"] for row in rows}
    assert every >= {function for _, function in rights.calls()}
    assert {row["name"] for row in rows if row["may"]} == {
        function for caller, function in rights.calls() if caller == role
    }


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_uses_only_the_schemas_that_it_calls_and_creates_nothing_in_them(
    role: str, system: System
) -> None:
    owner = await system.connect()
    rows = await owner.fetch(
        """
        select nspname, has_schema_privilege($1, oid, 'USAGE') as uses,
               has_schema_privilege($1, oid, 'CREATE') as creates
        from pg_namespace where nspname = any ($2)
        """,
        f"gittix_{role}",
        [*rights.SCHEMAS, "public"],
    )
    assert {row["nspname"] for row in rows if row["uses"]} == rights.USES[role]
    assert not any(row["creates"] for row in rows)


async def test_public_has_no_grants(system: System) -> None:
    owner = await system.connect()
    found = await owner.fetch(
        """
        with granted as (
            select 'relation ' || oid::regclass as object, relnamespace as space, relacl as acl
            from pg_class
            union all
            select 'function ' || oid::regprocedure, pronamespace,
                   coalesce(proacl, acldefault('f', proowner))
            from pg_proc
            union all
            select 'schema ' || nspname, oid, nspacl from pg_namespace
            union all
            select 'database', 'public'::regnamespace, datacl from pg_database where datname = $2
        )
        select object from granted, aclexplode(acl) entry
        where entry.grantee = 0 and space::regnamespace::text = any ($1)
        """,
        [*rights.SCHEMAS, "public"],
        # A clone does not have the grants on the database itself.
        TEMPLATE,
    )
    assert found == []


async def test_each_role_is_a_login_without_other_attributes(system: System) -> None:
    owner = await system.connect()
    rows = await owner.fetch(
        "select rolname,"
        " rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls as privileged,"
        " rolcanlogin, exists (select from pg_auth_members m where m.member = r.oid) as member"
        " from pg_roles r where rolname like 'gittix\\_%'"
    )
    assert {row["rolname"] for row in rows} == {f"gittix_{role}" for role in ROLES}
    assert all(row["rolcanlogin"] and not row["privileged"] and not row["member"] for row in rows)


async def test_functions_that_run_as_their_owner_pin_their_search_path(system: System) -> None:
    owner = await system.connect()
    loose = await owner.fetch(
        """
        select p.oid::regprocedure::text from pg_proc p
        where p.prosecdef and p.pronamespace::regnamespace::text = any ($1)
          and not coalesce(p.proconfig, '{}') && array['search_path=pg_catalog, pg_temp']
        """,
        list(rights.SCHEMAS),
    )
    assert loose == []


ATTEMPTS = [
    ("orders", "select * from tickets.tickets"),
    ("orders", "update tickets.tickets set status = 'available'"),
    ("orders", "select * from events.outbox"),
    ("orders", "select * from payments.payments"),
    ("orders", "select orders.settle(gen_random_uuid(), gen_random_uuid(), 1, 'EUR')"),
    ("orders", "select * from auth.users"),
    ("tickets", "select * from orders.orders"),
    ("tickets", "select * from payments.payments"),
    ("tickets", "select * from auth.users"),
    (
        "tickets",
        "select tickets.hold(gen_random_uuid(), gen_random_uuid(), '{}', now(), null, null)",
    ),
    ("tickets", "select tickets.sell(gen_random_uuid(), '{}')"),
    ("payments", "select * from orders.orders"),
    ("payments", "select tickets.reserve(gen_random_uuid(), '{}', '{}', 'EUR')"),
    ("payments", "select tickets.unsell(gen_random_uuid(), '{}', true)"),
    ("payments", "select * from auth.users"),
    ("orders", "select tickets.unsell(gen_random_uuid(), '{}', true)"),
    (
        "orders",
        "select orders.finish_refund(gen_random_uuid(), gen_random_uuid(), true)",
    ),
    ("auth", "select * from orders.orders"),
    ("push", "select * from auth.users"),
    ("push", "select * from auth.ended_sessions"),
    (
        "relay",
        (
            "insert into events.outbox (type, subject, version, data)"
            " values ('x', gen_random_uuid(), 1, '{}')"
        ),
    ),
    ("relay", "update events.outbox set data = '{}'"),
    ("relay", "select * from orders.orders"),
    ("tickets", "create table tickets.mine ()"),
    ("tickets", "create table public.mine ()"),
    ("orders", "select * from public.schema_migrations"),
    ("orders", "set role gittix_payments"),
    ("auth", "delete from auth.users"),
    ("auth", "update auth.users set id = gen_random_uuid()"),
    ("auth", "update auth.users set email = 'mallory@example.com'"),
    ("auth", "update auth.sessions set user_id = gen_random_uuid()"),
    ("auth", "update auth.refresh_tokens set session_id = gen_random_uuid()"),
    ("auth", "update auth.refresh_tokens set expires_at = 'infinity'"),
    ("tickets", "delete from tickets.tickets where status = 'sold'"),
    ("tickets", "delete from tickets.shows"),
    ("tickets", "select events.act_for(gen_random_uuid())"),
    ("tickets", "update tickets.shows set owner_id = gen_random_uuid()"),
    ("tickets", "update tickets.tickets set seller_id = gen_random_uuid()"),
    ("tickets", "update tickets.tickets set show_id = gen_random_uuid()"),
    ("tickets", "update tickets.tickets set status = 'available', order_id = null"),
    ("tickets", "update tickets.tickets set order_id = gen_random_uuid()"),
    ("tickets", "update tickets.tickets set held_until = 'infinity'"),
    (
        "tickets",
        (
            "insert into tickets.tickets (show_id, seller_id, seller_name, price, currency, status,"
            " order_id) values (gen_random_uuid(), gen_random_uuid(), 'x', 1, 'EUR', 'sold',"
            " gen_random_uuid())"
        ),
    ),
    ("orders", "delete from orders.orders"),
    ("orders", "delete from orders.lines"),
    ("orders", "update orders.orders set buyer_id = gen_random_uuid() where status = 'completed'"),
    ("orders", "update orders.orders set status = 'completed'"),
    ("orders", "update orders.orders set total = 1, subtotal = 1, fee = 0"),
    ("orders", "update orders.lines set buyer_id = gen_random_uuid()"),
    ("orders", "update orders.lines set ticket_id = gen_random_uuid()"),
    ("orders", "update orders.lines set price = 1"),
    ("orders", "insert into orders.lines select * from orders.lines"),
    ("orders", "insert into orders.orders select * from orders.orders"),
    ("payments", "delete from payments.payments"),
    ("payments", "delete from payments.refunds"),
    ("payments", "update payments.payments set buyer_id = gen_random_uuid()"),
    ("payments", "update payments.payments set order_id = gen_random_uuid()"),
    ("payments", "update payments.payments set amount = 1"),
    ("payments", "update payments.refunds set requested_by = gen_random_uuid()"),
    ("payments", "update payments.refunds set amount = 1"),
    ("payments", "insert into payments.payments select * from payments.payments"),
    ("payments", "insert into payments.refunds (id, status) values (gen_random_uuid(), 'failed')"),
    ("payments", "update payments.webhook_events set type = 'x'"),
    ("push", "delete from push.notifier"),
    ("push", "insert into push.notifier default values"),
    ("push", "update push.notifier set epoch = 1"),
    ("relay", "delete from events.relay"),
    ("relay", "update events.outbox set subject = gen_random_uuid()"),
]


@pytest.mark.parametrize(("role", "statement"), ATTEMPTS)
async def test_a_statement_without_a_grant_is_refused(
    role: str, statement: str, system: System
) -> None:
    connection = await system.connect(role)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(statement)


async def append(connection: Any, type: str) -> None:
    await connection.execute("select events.append($1, $2, 1, '{}')", type, uuid4())


@pytest.mark.parametrize(
    ("role", "own"),
    [
        ("auth", {"user"}),
        ("tickets", {"show", "ticket"}),
        ("orders", {"order"}),
        ("payments", {"payment"}),
    ],
)
async def test_a_role_appends_only_its_own_events(role: str, own: set[str], system: System) -> None:
    connection, owner = await system.connect(role), await system.connect()
    for prefix in ("user", "show", "ticket", "order", "payment", "", "sale"):
        if prefix in own:
            await append(connection, f"{prefix}.created")
        else:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await append(connection, f"{prefix}.created")
    assert {event for event, _ in await system.events(owner)} == {
        f"{prefix}.created" for prefix in own
    }


@pytest.mark.parametrize("role", ROLES)
async def test_no_role_writes_to_the_outbox_past_the_check(role: str, system: System) -> None:
    connection = await system.connect(role)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(
            "insert into events.outbox (type, subject, version, data)"
            " values ('order.created', gen_random_uuid(), 1, '{}')"
        )


@pytest.mark.parametrize("role", ROLES)
async def test_no_role_changes_an_audit(role: str, system: System) -> None:
    connection = await system.connect(role)
    for write in (
        "update tickets.audit set version = 1",
        "delete from tickets.audit",
        "delete from tickets.transitions",
        "update orders.audit set version = 1",
        "delete from orders.audit",
        "delete from orders.transitions",
        "update events.owner_audit set relation = 'nothing'",
        "delete from events.owner_audit",
        "insert into events.owner_audit default values",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(write)
