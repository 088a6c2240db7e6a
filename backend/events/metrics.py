"""Prometheus metrics of the event log, kept by the active relay: events published, outbox, stream,
readers.

The relay publishes each event once (again only after Redis lost the tail of the stream), so
business events are counted here, at no cost to a request.
"""

from collections import Counter as Tally
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from math import nan
from typing import Final

import msgspec
from prometheus_client import Counter, Gauge, Histogram
from redis.asyncio import Redis

from backend.events.stream import DEAD_LETTERS, STREAM, EventStream
from backend.kernel import database

PUBLISHED: Final = Counter("gittix_events_published", "Events appended to the stream", ["type"])
REWINDS: Final = Counter(
    "gittix_relay_rewinds", "Times that the stream did not end with the entry last appended"
)
OUTBOX_AGE: Final = Gauge(
    "gittix_outbox_oldest_unpublished_seconds", "Age of the oldest event that is not on the stream"
)
OUTBOX_DEPTH: Final = Gauge("gittix_outbox_unpublished", "Events that are not on the stream")
LENGTH: Final = Gauge("gittix_stream_length", "Entries on the event stream")
LAG: Final = Gauge(
    "gittix_stream_lag_events",
    "Events on the stream that were not delivered to a reader yet",
    ["reader"],
)
PENDING: Final = Gauge(
    "gittix_stream_pending", "Events delivered to a consumer and not acknowledged", ["consumer"]
)
DEAD: Final = Gauge(
    "gittix_dead_letters", "Events that a consumer failed to handle and that were not redriven"
)
REDIS_USED: Final = Gauge("gittix_redis_memory_used_bytes", "Memory that Redis uses")
REDIS_LIMIT: Final = Gauge(
    "gittix_redis_memory_limit_bytes", "Memory that Redis may use; 0 means no limit"
)
LATENESS: Final = Histogram(
    "gittix_expiry_lateness_seconds",
    "Time from the end of an unpaid order's hold to the commit that released its tickets",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
EXPIRED: Final = "order.expired"
# There is one database and one Redis, so only the active relay exports these gauges.
_ACTIVE: Final = (OUTBOX_AGE, OUTBOX_DEPTH, LENGTH, DEAD, REDIS_USED, REDIS_LIMIT)


class _Ended(msgspec.Struct):
    expires_at: datetime


_decode_ended = msgspec.json.Decoder(_Ended).decode


def count_published(rows: Sequence[database.Record]) -> None:
    for name, count in Tally(row["type"] for row in rows).items():
        PUBLISHED.labels(name).inc(count)
    for row in rows:
        if row["type"] == EXPIRED:
            # Malformed data must not stop the relay: consumers validate what they read.
            with suppress(msgspec.MsgspecError):
                late = row["occurred_at"] - _decode_ended(row["data"]).expires_at
                LATENESS.observe(max(0.0, late.total_seconds()))


async def update_gauges(stream: EventStream, redis: Redis) -> None:
    """Update the gauges of the stream: readers' lag, length, dead letters, memory of Redis."""
    last = await stream.last()
    for name, reader in (await stream.readers()).items():
        LAG.labels(name).set(max(0, last.position - reader.delivered.position))
        PENDING.labels(name).set(reader.pending)
    async with redis.pipeline(transaction=False) as commands:
        commands.xlen(STREAM)
        commands.xlen(DEAD_LETTERS)
        commands.info("memory")
        length, dead, memory = await commands.execute()
    LENGTH.set(length)
    DEAD.set(dead)
    REDIS_USED.set(memory["used_memory"])
    REDIS_LIMIT.set(memory["maxmemory"])


def reset_gauges() -> None:
    """Clear the gauges when this process loses the lease: another process exports them now."""
    for gauge in _ACTIVE:
        gauge.set(nan)
    LAG.clear()
    PENDING.clear()
