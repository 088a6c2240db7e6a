"""Throughput of each part of the event backbone, alone, from a full queue, in events a second.

Floors, of the same events in the same minute: for the relay, the XADDs of its bodies; for a
consumer, its loop without handler and inbox; for the notifier, the XADDs of its entries, each of
hundreds of messages.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any
from uuid import uuid4

import structlog
from redis.asyncio import Redis

from backend.events.catalogue import Event
from backend.events.consumer import Consumer
from backend.events.relay import Relay
from backend.events.resources import open_resources
from backend.events.stream import FIELD, STREAM, EntryId
from backend.kernel import database, garbage_collection
from backend.kernel.database import Connection
from backend.kernel.redis import open_redis
from backend.kernel.settings import Settings
from backend.kernel.supervisor import running
from backend.push import push_log as pushlog
from backend.push.publisher import Publisher
from loadtests.bench.results import publish
from loadtests.bench.stores import bare_stores
from workers.notifier import Notifier, push_position_of

ROUNDS = 3
EVENTS = 20_000
PIPELINE = 500
HELD = frozenset({"ticket.held"})

# The larger one of a hold's two events: a ticket's whole state.
FILL = """
insert into events.outbox (type, subject, version, data, correlation_id)
select 'ticket.held', id, 2, jsonb_build_object(
    'id', id, 'show_id', shows[1 + n % 100], 'seller_id', gen_random_uuid(), 'seller_handle', 'sam',
    'status', 'held', 'title', null, 'section', 'Floor', 'row', '12', 'seat', '34',
    'price', 4500, 'face_value', 5000, 'currency', 'EUR',
    'order_id', gen_random_uuid(), 'held_until', now(), 'version', 2, 'created_at', now()
), gen_random_uuid()
from (select array_agg(gen_random_uuid()) as shows from generate_series(1, 100)) s,
     (select n, gen_random_uuid() as id from generate_series(1, $1) n) t
"""


async def measure() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    async with bare_stores() as (settings, owner):
        # As the relay and the worker do.
        garbage_collection.tune(settings)
        redis = open_redis(settings.redis_url, name="bench")
        try:
            rounds = [await _round(settings, owner, redis) for _ in range(ROUNDS)]
        finally:
            await redis.aclose()
    middle = {name: median(figures[name] for figures in rounds) for name in rounds[0]}
    rows = {name: {"per second": round(figure)} for name, figure in middle.items()}
    for name, floor in FLOORS.items():
        rows[name]["share of its floor"] = round(
            median(figures[name] / figures[floor] for figures in rounds), 2
        )  # type: ignore[assignment]
    publish("events", rows)


FLOORS = {
    "relay, from a full outbox": "floor: XADD of the relay's bodies",
    "consumer, with inbox": "floor: the consumer's loop without inbox and handler",
    "notifier, messages": "floor: XADD of the notifier's entries, messages",
}


async def _round(settings: Settings, owner: Connection, redis: Redis) -> dict[str, float]:
    """Events a second of each part, on a stream of its own."""
    await redis.flushall()
    await owner.execute("truncate events.outbox; update events.relay set position = 0, epoch = 1")
    await owner.execute(
        "truncate orders.inbox; update push.notifier set position = 0, appended = 0"
    )
    await owner.execute(FILL, EVENTS)
    await owner.execute("vacuum analyze events.outbox")
    found = {"relay, from a full outbox": await _relay(settings, redis)}
    bodies = [fields[FIELD] for _, fields in await redis.xrange(STREAM)]
    assert len(bodies) == EVENTS
    found["floor: XADD of the relay's bodies"] = await _xadd(
        redis, [{"e": body} for body in bodies]
    )
    found["consumer, with inbox"] = await _consumer(settings, HELD)
    found["floor: the consumer's loop without inbox and handler"] = await _consumer(
        settings, frozenset()
    )
    events, messages = await _notifier(settings, redis)
    found |= {"notifier, events": events, "notifier, messages": messages}
    entries = await redis.xrange(pushlog.STREAM)
    count = sum(len(pushlog.read_entry(*entry).messages) for entry in entries)
    a_second = await _xadd(redis, [fields for _, fields in entries])
    found["floor: XADD of the notifier's entries, messages"] = a_second * count / len(entries)
    return found


async def _relay(settings: Settings, redis: Redis) -> float:
    url = settings.role_database_url("relay")
    connection = await database.connect(url, name="bench", plan_cache_mode="force_custom_plan")
    relay = Relay(url, redis)
    began = time.perf_counter()
    try:
        while await relay.turn(connection):
            pass
    finally:
        await connection.close()
    return EVENTS / (time.perf_counter() - began)


async def _consumer(settings: Settings, types: frozenset[str]) -> float:
    async def handle(_connection: Connection, _event: Event) -> None:
        return

    name = f"bench-{uuid4().hex}"
    async with open_resources(settings, "orders") as stores:

        async def done() -> bool:
            groups = {
                group["name"].decode(): group for group in await stores.redis.xinfo_groups(STREAM)
            }
            group = groups.get(name, {})
            return bool(
                group.get("last-delivered-id") == b"1-%d" % EVENTS and group["pending"] == 0
            )

        consumer = Consumer(name, stores.redis, stores.pool, "orders", handle, types=types)
        began = time.perf_counter()
        async with running((name, consumer.run)):
            await _until(done)
            return EVENTS / (time.perf_counter() - began)


async def _notifier(settings: Settings, redis: Redis) -> tuple[float, float]:
    """Events a second, and messages."""

    async def done() -> bool:
        published = await redis.hget(pushlog.STATE, "position")  # type: ignore[misc]
        return int(published or 0) >= push_position_of(EntryId(1, EVENTS))

    log = pushlog.connect(settings.push_log_url, timeout_seconds=2)
    async with open_resources(settings, "tickets") as tickets:
        url = settings.role_database_url("push")
        notifier = Notifier(url, tickets.pool, tickets.redis, Publisher(log))
        began = time.perf_counter()
        async with running(("notifier", notifier.run)):
            await _until(done)
            seconds = time.perf_counter() - began
    await log.aclose()
    appended = int(await redis.hget(pushlog.STATE, "appended"))  # type: ignore[misc]
    return EVENTS / seconds, appended / seconds


async def _until(done: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(120):
        while not await done():  # noqa: ASYNC110 - stores have no events to wait for
            await asyncio.sleep(0.005)


async def _xadd(redis: Redis, entries: list[Any]) -> float:
    """Entries a second, onto a stream of their own."""
    name = uuid4().hex
    began = time.perf_counter()
    for start in range(0, len(entries), PIPELINE):
        async with redis.pipeline(transaction=False) as commands:
            for entry in entries[start : start + PIPELINE]:
                commands.xadd(name, entry)
            await commands.execute()
    seconds = time.perf_counter() - began
    await redis.delete(name)
    return len(entries) / seconds
