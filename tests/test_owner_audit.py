"""The audit of changed owners and deleted rows: triggers write it, and GitTix causes no entry."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.payments.shop import open_shop
from tests.system import System

OWNERS = [
    ("tickets.shows", "owner_id"),
    ("tickets.tickets", "seller_id"),
    ("orders.orders", "buyer_id"),
    ("orders.lines", "buyer_id"),
    ("orders.lines", "seller_id"),
    ("payments.payments", "buyer_id"),
    ("payments.refunds", "requested_by"),
    ("auth.sessions", "user_id"),
]
DELETED = (
    "payments.refunds",
    "payments.payments",
    "orders.lines",
    "orders.orders",
    "tickets.tickets",
    "tickets.shows",
    "auth.users",
)


@pytest.fixture
async def rows(system: System) -> AsyncIterator[Any]:
    """The owner's connection to a database with a refunded order and a signed-in user."""
    await system.start("stripe", "api")
    async with open_shop(system) as shop:
        refund = await shop.refund(await shop.paid())
        assert refund.is_success, refund.text
        body = {"email": "ana@example.com", "password": "correct horse battery"}
        signed_up = await system.anonymous().post("/api/users/signup", json=body)
        assert signed_up.status_code == 201
        yield shop.rows


async def entries(rows: Any) -> list[tuple[str, Any, Any]]:
    found = await rows.fetch(
        "select relation, before::text, after::text from events.owner_audit order by id"
    )
    return [
        (row["relation"], json.loads(row["before"]), json.loads(row["after"] or "null"))
        for row in found
    ]


async def test_a_purchase_and_its_refund_change_no_owner_and_delete_nothing(rows: Any) -> None:
    assert await entries(rows) == []


@pytest.mark.parametrize(("table", "column"), OWNERS)
async def test_a_changed_owner_is_in_the_audit(table: str, column: str, rows: Any) -> None:
    before = await rows.fetchval(f"select {column} from {table}")
    stranger = uuid4()
    if table == "auth.sessions":
        stranger = await rows.fetchval(
            "insert into auth.users (email, name, password_hash)"
            " values ('mallory@example.com', 'Mallory', '') returning id"
        )
    await rows.execute(f"update {table} set {column} = $1", stranger)
    ((relation, was, became),) = await entries(rows)
    assert relation == table
    assert (UUID(was[column]), UUID(became[column])) == (before, stranger)
    assert {name for name in was if was[name] != became[name]} == {column}
    role, at_once = await rows.fetchrow(
        "select role, at > now() - interval '1 minute' from events.owner_audit"
    )
    assert (role, at_once) == ("gittix", True)


@pytest.mark.parametrize(("table", "column"), OWNERS)
async def test_an_owner_that_stays_the_same_is_not_in_the_audit(
    table: str, column: str, rows: Any
) -> None:
    await rows.execute(f"update {table} set {column} = {column}")
    assert await entries(rows) == []


async def test_each_deleted_row_is_in_the_audit(rows: Any) -> None:
    counts = {table: await rows.fetchval(f"select count(*) from {table}") for table in DELETED}
    assert all(counts.values())
    await rows.execute("delete from payments.refund_lines")
    for table in DELETED:
        await rows.execute(f"delete from {table}")
    found = await entries(rows)
    assert {table: [each[0] for each in found].count(table) for table in DELETED} == counts
    assert all(after is None for _, _, after in found)
    assert all("id" in before or "order_id" in before for _, before, _ in found)


async def test_the_audit_names_the_user_and_the_request(rows: Any) -> None:
    actor, correlation = uuid4(), uuid4()
    async with rows.transaction():
        await rows.execute("select events.act_for($1)", actor)
        await rows.execute("select events.bind_correlation($1)", correlation)
        await rows.execute("update orders.orders set buyer_id = gen_random_uuid()")
    named = await rows.fetchrow("select actor_id, correlation_id from events.owner_audit")
    assert tuple(named) == (actor, correlation)
