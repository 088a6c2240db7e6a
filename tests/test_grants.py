"""The rights of every role on every table, schema and function, in the catalogue and in use."""

from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from tests.stores import TEMPLATE
from tests.system import System

ROLES = ("auth", "tickets", "orders", "payments", "push", "relay")
SCHEMAS = ("auth", "tickets", "orders", "payments", "push", "events")
WRITES = ("SELECT", "INSERT", "UPDATE", "DELETE")
OTHERS = ("TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN")

# The relay owns no schema; it numbers the events of the services.
RELAY_TABLES = {
    "events.relay": {"SELECT", "UPDATE"},
    "events.outbox": {"SELECT", "DELETE"},
}
# Only triggers write these.
READ_ONLY = {
    *(
        f"{schema}.{table}"
        for schema in ("tickets", "orders")
        for table in ("audit", "transitions")
    ),
    "payments.transitions",
    "payments.refund_transitions",
}
# The functions of other schemas that a role may call: docs/design.md, "Callable functions".
GRANTED = {
    "auth": {"events.append", "events.bind_correlation"},
    "tickets": {"events.append", "events.bind_correlation", "events.act_for"},
    "orders": {
        "events.append",
        "events.bind_correlation",
        "tickets.hold",
        "tickets.release",
        "tickets.extend",
        "tickets.reserve",
        "tickets.sell",
        "tickets.release_due",
    },
    "payments": {
        "events.append",
        "events.bind_correlation",
        "orders.begin_payment",
        "orders.settle",
        "orders.finish",
        "orders.fail",
        "orders.begin_refund",
        "orders.finish_refund",
        "orders.fail_refund",
        "orders.read",
    },
    "push": set[str](),
    "relay": set[str](),
}
OWN = {
    "tickets": {
        "tickets.effective_status",
        "tickets.is_free",
        "tickets.state",
        "tickets.availability",
    },
    "orders": {
        "orders.line",
        "orders.tickets_of",
        "orders.state",
        "orders.id_at",
        "orders.close",
        "orders.place",
        "orders.cancel",
        "orders.expire_due",
        "orders.expire_batches",
    },
}
USAGE = {
    "auth": {"auth", "events"},
    "tickets": {"tickets", "events"},
    "orders": {"orders", "tickets", "events"},
    "payments": {"payments", "orders", "events"},
    "push": {"push"},
    "relay": {"events"},
}


def table_rights(role: str, table: str) -> set[str]:
    schema = table.partition(".")[0]
    if role == "relay":
        return RELAY_TABLES.get(table, set())
    if schema != role:
        return set()
    return {"SELECT"} if table in READ_ONLY else set(WRITES)


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_has_rights_on_its_own_tables_only(role: str, system: System) -> None:
    owner = await system.connect()
    rows = await owner.fetch(
        """
        select c.oid::regclass::text as name, array_agg(p.privilege) filter (
            where has_table_privilege($1, c.oid, p.privilege)) as rights
        from pg_class c, unnest($2::text[]) as p (privilege)
        where c.relkind in ('r', 'p', 'v', 'm', 'f')
          and c.relnamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
          and c.relnamespace::regnamespace::text not like 'pg_toast%'
        group by c.oid
        """,
        f"gittix_{role}",
        [*WRITES, *OTHERS],
    )
    rights = {row["name"]: set(row["rights"] or ()) for row in rows}
    assert {name.partition(".")[0] for name in rights} >= {*SCHEMAS}
    assert rights == {name: table_rights(role, name) for name in rights}


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
    assert every >= set().union(*GRANTED.values(), *OWN.values(), {"events.act_for"})
    assert {row["name"] for row in rows if row["may"]} == GRANTED[role] | OWN.get(role, set())


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
        [*SCHEMAS, "public"],
    )
    assert {row["nspname"] for row in rows if row["uses"]} == USAGE[role]
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
        [*SCHEMAS, "public"],
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
        list(SCHEMAS),
    )
    assert loose == []


ATTEMPTS = [
    ("orders", "select * from tickets.tickets"),
    ("orders", "update tickets.tickets set status = 'available'"),
    ("orders", "select * from events.outbox"),
    ("orders", "select * from payments.payments"),
    ("tickets", "select * from orders.orders"),
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


@pytest.mark.parametrize("role", ["tickets", "orders"])
@pytest.mark.parametrize(
    "write",
    ["update {0}.audit set version = 1", "delete from {0}.audit", "delete from {0}.transitions"],
)
async def test_no_role_changes_the_audit(role: str, write: str, system: System) -> None:
    connection = await system.connect(role)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(write.format(role))
