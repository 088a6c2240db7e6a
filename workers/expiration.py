"""Holds that nobody paid end on time.

Postgres's rows say what is due; an arq alarm only says when to look: one for each 100 ms in which some hold ends, set
when an order is placed or its hold is extended. A sweep looks anyway, for alarms that were lost, so that no end depends
on Redis. Both run the same set-based statement, as often as anything is left, and running it twice changes nothing.
"""

import asyncio
import math
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from arq.connections import ArqRedis

from backend.events.catalogue import Event, Order
from backend.events.resources import Resources
from backend.kernel import database
from backend.kernel.database import Connection
from backend.kernel.jobs import enqueue
from backend.kernel.metrics import STALE
from backend.orders import queries

log = structlog.get_logger()

CONSUMER = "expiration"
TYPES = frozenset({"order.created", "order.updated"})
EXPIRE_DUE = "expire_due"
BUCKETS_PER_SECOND = 10
# A batch is free for others when the whole of it is committed; a call has so many that it ends within a second.
BATCH = 400
BATCHES = 10
# While holds end one after the other, rounds are this far apart: those of so long share one.
SPACING_SECONDS = 0.025
# Orders come in about the order of their ends: an alarm is asked for again only when many others came after it.
BUCKETS_KNOWN = 64


async def expire_due(context: dict[str, Any], *bucket: int) -> int:
    """Expire all that is due now. Returns how many orders.

    One of a process is at work; an alarm that rings meanwhile waits for its turn, in which it finds what is left.
    """
    resources: Resources = context["orders"]
    total = 0
    async with context["expiring"]:
        while expired := await _round(resources):
            total += expired
            await asyncio.sleep(SPACING_SECONDS)
    if total:
        log.info("holds expired", orders=total)
    elif bucket:
        # What this alarm was set for was paid, given up, extended or taken over meanwhile.
        STALE.labels("expire").inc()
    return total


async def _round(resources: Resources) -> int:
    async with database.connection(resources.pool) as connection:
        expired = await queries.expire_batches(connection, BATCH, BATCHES)
    if expired:
        resources.wake_relay()
    return expired


class Alarms:
    """Sets the alarm for each hold's end, as the event stream tells of it.

    A few of the last buckets are remembered, since orders of one moment end in one. One that is remembered wrongly, by a
    Redis that was emptied, costs what any lost alarm costs: the sweep's second.
    """

    def __init__(self, jobs: ArqRedis) -> None:
        self._jobs = jobs
        self._known: dict[int, None] = {}

    async def handle(self, _connection: Connection, event: Event) -> None:
        order = msgspec.json.decode(event.envelope.data, type=Order)
        bucket = math.ceil(order.expires_at.timestamp() * BUCKETS_PER_SECOND)
        if bucket in self._known:
            return
        # One alarm a bucket: a second order that ends in it finds the job there.
        await enqueue(
            self._jobs,
            EXPIRE_DUE,
            bucket,
            job_id=f"{EXPIRE_DUE}:{bucket}",
            at=datetime.fromtimestamp(bucket / BUCKETS_PER_SECOND, UTC),
        )
        self._known[bucket] = None
        if len(self._known) > BUCKETS_KNOWN:
            del self._known[next(iter(self._known))]
