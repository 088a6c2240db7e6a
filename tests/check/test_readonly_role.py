"""The check's role in a cluster: it can read every row and owns nothing."""

from backend.check.invariants import check_invariants
from backend.kernel.settings import load, with_role
from tests.stores import PASSWORD
from tests.system import System

READER = "tests_reader"


async def test_a_role_that_reads_everything_can_check_everything(system: System) -> None:
    owner = await system.connect()
    await owner.execute(
        f"create role {READER} login password '{PASSWORD}' in role pg_read_all_data"
    )
    await owner.execute(
        "grant execute on function tickets.effective_status, tickets.is_free,"
        f" tickets.availability to {READER}"
    )
    try:
        url = with_role(system.settings.database_url, READER)
        found = await check_invariants(load(system.environment | {"DATABASE_URL": url}))
        by_owner = await check_invariants(system.settings)
    finally:
        await owner.execute(f"drop owned by {READER}; drop role {READER}")
    assert [(each.invariant, each.violations, each.unchecked) for each in found.results] == [
        (each.invariant, each.violations, each.unchecked) for each in by_owner.results
    ]
