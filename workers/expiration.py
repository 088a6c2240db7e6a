"""Expiry of unpaid holds.

The rows in Postgres decide which holds are due; an arq alarm only triggers the check. There is one
alarm for each 100 ms in which a hold ends, set when an order is placed or its hold is extended. A
sweep makes the same check every second, so no expiry depends on Redis when an alarm is lost. Alarm
and sweep run the same set-based statement until nothing is due; running it twice changes nothing.
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
# A batch is one transaction, which keeps its row locks until it commits. A call runs so many
# batches that it ends within a second.
BATCH = 400
BATCHES = 10
# While holds keep ending, rounds are this far apart, so that the holds that end in between share
# one round.
SPACING_SECONDS = 0.025
# Orders arrive roughly in the order of their ends, so remembering this many buckets avoids nearly
# all repeated alarms.
BUCKETS_KNOWN = 64


async def expire_due(context: dict[str, Any], *bucket: int) -> int:
    """Expire all holds that are due. Returns the number of expired orders.

    One call of a process works at a time; the others wait for the lock, then expire the orders that
    remain.
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
        # The alarm is stale: its order was paid, cancelled, extended or taken over in the meantime.
        STALE.labels("expire").inc()
    return total


async def _round(resources: Resources) -> int:
    async with database.connection(resources.pool) as connection:
        expired = await queries.expire_batches(connection, BATCH, BATCHES)
    if expired:
        resources.wake_relay()
    return expired


class Alarms:
    """Sets an alarm for the end of each hold, from the events of its order.

    Orders placed at the same time end in one bucket, so the last buckets are remembered. After
    Redis was emptied, a remembered bucket has no alarm; its holds then end up to a second late, by
    the sweep, as with any lost alarm.
    """

    def __init__(self, jobs: ArqRedis) -> None:
        self._jobs = jobs
        self._known: dict[int, None] = {}

    async def handle(self, _connection: Connection, event: Event) -> None:
        order = msgspec.json.decode(event.envelope.data, type=Order)
        bucket = math.ceil(order.expires_at.timestamp() * BUCKETS_PER_SECOND)
        if bucket in self._known:
            return
        # One alarm for each bucket: arq ignores a second job with the same id.
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
