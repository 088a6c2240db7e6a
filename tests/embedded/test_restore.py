"""The restore of docs/operating.md: a backup taken during purchases, into a new Postgres.

Redis is empty by then, or has entries that the restored database lacks.
"""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from backend.check import check_invariants
from backend.embedded.postgres import Postgres, bin_folder
from backend.events.stream import STREAM
from backend.kernel.redis import open_redis
from tests import factories, stores
from tests.factories import Json
from tests.push.watcher import Watcher
from tests.system import PUSHER_KEY, System, until

pytestmark = pytest.mark.timeout(120)

NAME = "gittix"
PARTS = ("stripe", "push", "api", "relay", "worker")


class Backup:
    """The two files of docs/operating.md: the roles, and the data."""

    def __init__(self, folder: Path) -> None:
        self.roles = folder / "roles.sql"
        self.data = folder / "gittix.dump"

    async def take(self, postgres: Postgres, database: str) -> None:
        await run(postgres, "pg_dumpall", "--roles-only", "--file", self.roles, database="postgres")
        await run(postgres, "pg_dump", "--format=custom", "--file", self.data, database=database)

    async def restore(self, postgres: Postgres) -> None:
        # psql reports that the owner exists already, which is not an error here.
        await run(postgres, "psql", "--quiet", "--file", self.roles, database="postgres")
        await run(postgres, "psql", "--command", f"create database {NAME}", database="postgres")
        await run(postgres, "pg_restore", "--exit-on-error", self.data, database=NAME)


async def run(postgres: Postgres, program: str, *arguments: str | Path, database: str) -> None:
    command = [bin_folder() / program, *arguments, "--dbname", postgres.url(database=database)]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def durable(
    folder: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[Postgres, Postgres, str]]:
    """The old Postgres, a new and empty one, and Redis; all are durable."""
    place = folder / f"restore-{request.node.callspec.id}"
    before, after = place / "before", place / "after"
    for each in (place, before, after):
        each.mkdir(mode=0o755)
    with (
        stores.running_postgres(before) as old,
        stores.running_cluster(after) as new,
        stores.running_redis(before) as redis_url,
    ):
        yield old, new, redis_url


@pytest.mark.parametrize("redis_is", ["empty", "old"])
async def test_a_backup_taken_under_traffic_is_restored_and_all_is_in_order(
    durable: tuple[Postgres, Postgres, str], redis_is: str, tmp_path: Path
) -> None:
    old, new, redis_url = durable
    backup = Backup(tmp_path)
    async with stores.fresh_system(old, redis_url, tmp_path) as system:
        system.configure(HOLD_SECONDS="3", MAX_OPEN_ORDERS="100")
        await system.start(*PARTS)
        sold = await sale(system)
        redis = system.redis()
        async with traffic(system) as placed:
            await until(lambda: more_than(placed, 20))
            await backup.take(old, system._name)
            known = len(placed)
            await until(lambda: more_than(placed, known + 20))
        epoch = await epoch_of(redis)
    # Only now: the old relay would have filled it again.
    if redis_is == "empty":
        await emptied(redis_url)
    await backup.restore(new)
    async with AsyncExitStack() as stack:
        restored = System(stack, new, NAME, redis_url, tmp_path)
        restored.configure(HOLD_SECONDS="3")
        await restored.start("stripe", "push", "api")
        seller = restored.person("seller")
        channel = f"show-{sold['show_id']}"
        watcher = await stack.enter_async_context(
            Watcher(
                host="127.0.0.1", port=restored.ports["push"], key=PUSHER_KEY, channels=[channel]
            )
        )
        await watcher.subscribed(channel)
        await restored.start("relay", "worker")
        redis = restored.redis()
        rows = await restored.connect()
        await until(lambda: is_refilled(redis, rows), seconds=20)
        assert await epoch_of(redis) == epoch + (redis_is == "old")
        # No message is repeated to the watcher; new events reach it.
        fresh = await factories.ticket(seller, sold["show_id"])
        assert (await watcher.event("ticket.listed", channel)).data["ticket"]["id"] == fresh["id"]
        assert not [seen for seen in watcher.seen if sold["id"] in str(seen.data)]
        shown = (await restored.anonymous().get(f"/api/tickets/{sold['id']}")).json()
        assert shown["status"] == "sold"
        if redis_is == "old":
            # The push log has messages of events that the database lost; emptying Redis drops them.
            await until(lambda: only_browsers_are_ahead(restored), seconds=30)
            await redis.flushall()
        await until(lambda: in_order(restored), seconds=30)


async def sale(system: System) -> Json:
    """A ticket that was bought before."""
    ticket = await factories.ticket(system.person("seller"))
    buyer = system.person("buyer")
    order = await factories.order(buyer, ticket["id"])
    await factories.payment(buyer, order["id"])
    return ticket


@asynccontextmanager
async def traffic(system: System) -> AsyncIterator[list[Json]]:
    """List, hold and cancel during the block. Yields the orders that were placed."""
    placed: list[Json] = []
    seller = system.person("another seller")
    show = await factories.show(seller)

    async def trade(number: int) -> None:
        buyer = system.person(f"buyer{number}")
        while True:
            ticket = await factories.ticket(seller, show["id"])
            order = await factories.order(buyer, ticket["id"])
            placed.append(order)
            if len(placed) % 2:
                await buyer.delete(f"/api/orders/{order['id']}")

    trading = [asyncio.create_task(trade(number)) for number in range(3)]
    try:
        yield placed
    finally:
        for task in trading:
            task.cancel()
        await asyncio.gather(*trading, return_exceptions=True)


async def more_than(placed: list[Json], count: int) -> bool:
    assert placed is not None
    return len(placed) > count


async def emptied(redis_url: str) -> None:
    redis = open_redis(redis_url, name="tests")
    await redis.flushall()
    await redis.aclose()


async def epoch_of(redis: Any) -> int:
    last: bytes = (await redis.xinfo_stream(STREAM))["last-generated-id"]
    return int(last.partition(b"-")[0])


async def is_refilled(redis: Any, rows: Any) -> bool:
    """Whether the stream ends with the newest event of the database."""
    epoch, position = await rows.fetchrow("select epoch, position from events.relay")
    waiting = await rows.fetchval(
        "select exists (select from events.outbox where position is null)"
    )
    if waiting or not await redis.exists(STREAM):
        return False
    last: bytes = (await redis.xinfo_stream(STREAM))["last-generated-id"]
    return last.decode() == f"{epoch}-{position}"


async def broken(system: System) -> set[str]:
    report = await check_invariants(system.settings)
    assert not report.is_incomplete
    return {result.invariant for result in report.results if result.violations}


async def in_order(system: System) -> bool:
    return not await broken(system)


async def only_browsers_are_ahead(system: System) -> bool:
    return await broken(system) == {"I7"}
