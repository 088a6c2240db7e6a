"""What waits to be done, as Postgres and the queue have it, for those who watch.

One process looks, by a lease, every few seconds: each look is a handful of reads of partial indexes. What waits is
counted up to a bound; its age has none.
"""

import asyncio
import time
from collections.abc import Iterable
from typing import NamedTuple

from arq.connections import ArqRedis
from prometheus_client import Gauge

from backend.kernel import database
from backend.kernel.database import Pool
from backend.kernel.jobs import QUEUE
from backend.kernel.lease import lease
from backend.kernel.supervisor import heartbeat
from backend.orders import queries as orders
from backend.payments import queries as payments

TASK = "backlog"
LEASE = 0x6261636B
LOOK_SECONDS = 5.0

WAITING = Gauge("gittix_backlog", "What waits to be done", ["of"])
OLDEST = Gauge("gittix_backlog_oldest_seconds", "How long the oldest of it has waited", ["of"])


class Pools(NamedTuple):
    orders: Pool
    payments: Pool


class Backlog:
    """`run` holds the lease and measures until it is cancelled or loses a connection."""

    def __init__(self, database_url: str, pools: Pools, jobs: ArqRedis) -> None:
        self._url = database_url
        self._pools = pools
        self._jobs = jobs

    async def run(self) -> None:
        async with lease(self._url, LEASE, name=TASK, standby=forget):
            while True:
                await self.look()
                heartbeat(TASK, "active")
                await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        async with database.connection(self._pools.orders) as connection:
            overdue = await orders.overdue(connection)
        async with database.connection(self._pools.payments) as connection:
            under_way = await payments.waiting(connection)
        show([("holds_overdue", *overdue), *under_way, ("jobs", *await self._due_jobs())])

    async def _due_jobs(self) -> tuple[int, float]:
        """Jobs whose time has come and that nobody has begun."""
        now = time.time() * 1000
        due = await self._jobs.zcount(QUEUE, "-inf", now)
        first = await self._jobs.zrange(QUEUE, 0, 0, withscores=True)
        return due, max(0.0, now - first[0][1]) / 1000 if first else 0.0


def show(waiting: Iterable[tuple[str, int, float]]) -> None:
    for of, count, oldest_seconds in waiting:
        WAITING.labels(of).set(count)
        OLDEST.labels(of).set(oldest_seconds)


def forget() -> None:
    """Another process tells it now."""
    WAITING.clear()
    OLDEST.clear()
