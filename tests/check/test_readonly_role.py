"""The role of `gittix check`: it reads what the check compares, and changes nothing."""

import asyncpg
import pytest

from tests.check.seeded_system import SeededSystem
from tests.system import System


async def test_the_check_finds_as_much_by_its_role_as_by_the_owner(seeded: SeededSystem) -> None:
    await seeded.rows.execute("drop index orders.lines_one_live_per_ticket")
    url = seeded.system.settings.database_url
    by_role = await seeded.check()
    seeded.system.configure(CHECK_DATABASE_URL=url)
    by_owner = await seeded.check()
    assert [(each.invariant, each.violations, each.unchecked) for each in by_role.results] == [
        (each.invariant, each.violations, each.unchecked) for each in by_owner.results
    ]
    assert by_role.is_broken


@pytest.mark.parametrize(
    "statement",
    [
        "select password_hash from auth.users",
        "select email from auth.users",
        "select * from auth.refresh_tokens",
        "select * from auth.sessions",
        "update orders.orders set status = 'completed'",
        "delete from tickets.tickets",
        "update events.owner_audit set accepted_by = 'nobody'",
        "insert into orders.lines select * from orders.lines",
        "select events.append('order.created', gen_random_uuid(), 1, '{}')",
        "select tickets.withdraw(gen_random_uuid(), gen_random_uuid())",
        "create table tickets.mine ()",
        "truncate orders.inbox",
    ],
)
async def test_the_role_reads_no_secret_and_changes_nothing(statement: str, system: System) -> None:
    connection = await system.connect("check")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(statement)
