"""The metrics of a pool: connections in use, and waits for a connection."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from prometheus_client import REGISTRY

from backend.kernel import database
from tests.system import System


def shown(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, {"pool": "watched", **labels})


async def test_pools_of_a_name_are_counted_together_while_they_are_open(system: System) -> None:
    url = system.settings.database_url
    pools = [await database.open_pool(url, name="watched", size=size) for size in (2, 3)]
    assert (shown("gittix_pool_connections_max"), shown("gittix_pool_connections_used")) == (5, 0)
    async with database.connection(pools[0]), database.transaction(pools[1]):
        assert shown("gittix_pool_connections_used") == 2
    assert shown("gittix_pool_connections_used") == 0
    await database.close_pool(pools[0])
    assert shown("gittix_pool_connections_max") == 3
    await database.close_pool(pools[1])
    assert shown("gittix_pool_connections_max") == 0


async def test_waits_for_a_connection_are_measured_also_those_that_time_out(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = await database.open_pool(system.settings.database_url, name="watched", size=1)

    def waits(bucket: str) -> float:
        return shown("gittix_pool_wait_seconds_bucket", le=bucket) or 0.0

    async def one_more() -> None:
        async with database.connection(pool):
            pass

    # The pool connects on first use, which the limit does not include.
    await one_more()
    monkeypatch.setattr(database, "ACQUIRE_SECONDS", 0.3)
    before = waits("0.1"), waits("0.5")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(database.connection(pool))
        with pytest.raises(TimeoutError):
            await one_more()
        waiting = asyncio.create_task(one_more())
        await asyncio.sleep(0.12)
    await waiting
    assert (waits("0.1") - before[0], waits("0.5") - before[1]) == (1, 3)
    await database.close_pool(pool)
