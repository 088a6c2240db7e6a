"""Expiry of unpaid holds.

The rows in Postgres decide which holds are due; an arq alarm only triggers the check. There is one
alarm for each 100 ms in which a hold ends, set when an order is placed or its hold is extended. A
sweep makes the same check every second, so no expiry depends on Redis when an alarm is lost. Alarm
and sweep run the same set-based statement until nothing is due; running it twice changes nothing.
"""

import asyncio
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import structlog
from arq.connections import ArqRedis

from backend.events.catalogue import Event, Order
from backend.events.resources import Resources
from backend.kernel import database
from backend.kernel.database import Connection
from backend.kernel.jobs import enqueue
from backend.kernel.metrics import EXPIRY_ERRORS, STALE
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
# An order that could not expire is tried again after this time. With this many of them, the error
# is not one of single orders, and the oldest is tried again at once.
EXCLUDED_SECONDS = 60.0
MAX_EXCLUDED = 1000
# While holds keep ending, rounds are this far apart, so that the holds that end in between share
# one round.
SPACING_SECONDS = 0.025
# Orders arrive roughly in the order of their ends, so remembering this many buckets avoids nearly
# all repeated alarms.
BUCKETS_KNOWN = 64


async def expire_due(context: dict[str, Any], *bucket: int) -> int:
    """Expire all holds that are due. Returns the number of expired orders."""
    expiry: Expiry = context["expiry"]
    total = await expiry.run()
    if total:
        log.info("holds expired", orders=total)
    elif bucket:
        # The alarm is stale: its order was paid, cancelled, extended or taken over in the meantime.
        STALE.labels("expire").inc()
    return total


class Expiry:
    """Expires due orders. One run of a process works at a time; the others wait for the lock, then
    expire the orders that remain.

    An order that cannot expire must not stop the others in its batch. After such an error,
    each order of the batch is expired alone, and those that raise are excluded for a while.
    """

    def __init__(self, resources: Resources, clock: Callable[[], float] = time.monotonic) -> None:
        self._resources = resources
        self._clock = clock
        self._lock = asyncio.Lock()
        # By the time at which each is tried again.
        self._excluded: dict[UUID, float] = {}

    async def run(self) -> int:
        total = 0
        async with self._lock:
            self._include_again()
            while expired := await self._round():
                total += expired
                await asyncio.sleep(SPACING_SECONDS)
        return total

    async def _round(self) -> int:
        try:
            async with database.connection(self._resources.pool) as connection:
                expired = await queries.expire_batches(
                    connection, BATCH, BATCHES, list(self._excluded)
                )
        except database.UNAVAILABLE:
            raise
        except asyncpg.PostgresError as error:
            log.warning("a batch of holds did not expire", error=repr(error))
            expired = await self._expire_each()
        if expired:
            self._resources.wake_relay()
        return expired

    async def _expire_each(self) -> int:
        """Expire each due order of a batch alone. Returns the number of expired orders."""
        expired = 0
        async with database.connection(self._resources.pool) as connection:
            for order_id in await queries.due(connection, BATCH, list(self._excluded)):
                try:
                    expired += await queries.expire(connection, order_id)
                except database.UNAVAILABLE:
                    raise
                except asyncpg.PostgresError:
                    log.exception("an order did not expire", order_id=str(order_id))
                    EXPIRY_ERRORS.inc()
                    self._exclude(order_id)
        return expired

    def _exclude(self, order_id: UUID) -> None:
        if len(self._excluded) >= MAX_EXCLUDED:
            del self._excluded[next(iter(self._excluded))]
        self._excluded[order_id] = self._clock() + EXCLUDED_SECONDS

    def _include_again(self) -> None:
        now = self._clock()
        self._excluded = {order: at for order, at in self._excluded.items() if at > now}


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
