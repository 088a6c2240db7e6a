"""The exporter's login in a cluster: one that reads everything and is nobody's owner."""

from backend.check.invariants import look
from backend.kernel.settings import load, with_role
from tests.stores import PASSWORD
from tests.system import System

READER = "tests_reader"


async def test_who_may_read_all_can_look_at_everything(system: System) -> None:
    owner = await system.connect()
    await owner.execute(
        f"create role {READER} login password '{PASSWORD}' in role pg_read_all_data"
    )
    await owner.execute(
        f"grant execute on function tickets.effective_status, tickets.is_free, tickets.availability to {READER}"
    )
    try:
        url = with_role(system.settings.database_url, READER)
        found = await look(load(system.environment | {"DATABASE_URL": url}))
        by_owner = await look(system.settings)
    finally:
        await owner.execute(f"drop owned by {READER}; drop role {READER}")
    assert [(each.invariant, each.offenders, each.unseen) for each in found.findings] == [
        (each.invariant, each.offenders, each.unseen) for each in by_owner.findings
    ]
