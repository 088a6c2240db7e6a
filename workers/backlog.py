"""Prometheus gauges of the work that waits in Postgres and in the job queue.

One process holds a lease and measures every few seconds, with a handful of reads of partial
indexes. The count of waiting work has an upper bound, its age has none.
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
MEASURE_SECONDS = 5.0

WAITING = Gauge("gittix_backlog", "Number of waiting items", ["of"])
OLDEST = Gauge("gittix_backlog_oldest_seconds", "Age of the oldest waiting item", ["of"])


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
        async with lease(self._url, LEASE, name=TASK, standby=clear_gauges):
            while True:
                await self.measure()
                heartbeat(TASK, "active")
                await asyncio.sleep(MEASURE_SECONDS)

    async def measure(self) -> None:
        async with database.connection(self._pools.orders) as connection:
            overdue = await orders.overdue(connection)
        async with database.connection(self._pools.payments) as connection:
            under_way = await payments.waiting(connection)
        set_gauges([("holds_overdue", *overdue), *under_way, ("jobs", *await self._due_jobs())])

    async def _due_jobs(self) -> tuple[int, float]:
        """Return the number of due jobs, and the delay of the first in seconds."""
        now = time.time() * 1000
        due = await self._jobs.zcount(QUEUE, "-inf", now)
        first = await self._jobs.zrange(QUEUE, 0, 0, withscores=True)
        return due, max(0.0, now - first[0][1]) / 1000 if first else 0.0


def set_gauges(waiting: Iterable[tuple[str, int, float]]) -> None:
    for of, count, oldest_seconds in waiting:
        WAITING.labels(of).set(count)
        OLDEST.labels(of).set(oldest_seconds)


def clear_gauges() -> None:
    """Clear the gauges when this process loses the lease: another process exports them now."""
    WAITING.clear()
    OLDEST.clear()
