"""10,000 holds that end within one second: how late each ticket is free, told on the event stream, and told to browsers.

The floor frees as many rows in the same second with one bare update every 50 ms: no orders, no lines, no events.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
from redis.asyncio import Redis

from backend.embedded.demo import seed
from backend.events.stream import STREAM, read
from backend.kernel import database
from backend.kernel.redis import open_redis
from backend.kernel.settings import Settings, load
from backend.orders import queries
from backend.orders.queries import Placing
from backend.push import log as push
from loadtests.bench.instance import instance
from loadtests.bench.results import milliseconds, publish
from loadtests.bench.stage import free_tickets, quiet

HOLDS = 10_000
# Placing them takes this long at the most, and their alarms are set meanwhile.
LEAD_SECONDS = 40
QUIET_SECONDS = 3
FLOOR_TICK_SECONDS = 0.05

Entry = tuple[bytes, dict[bytes, bytes]]


async def measure() -> None:
    with instance(DATABASE_POOL_SIZE="10") as environment:
        settings = load(environment)
        await seed(settings, shows=100, tickets=2 * HOLDS)
        tickets = [UUID(found) for found in await free_tickets(environment)][: 2 * HOLDS]
        floor = await _floor(environment, tickets[HOLDS:])
        held = await _hold(settings, tickets[:HOLDS])
        await quiet(environment)
        if min(held.values()) < time.time():
            raise SystemExit(
                f"the first holds ended before all {HOLDS} were placed: this machine is too slow for that"
            )
        told, pushed = await _announcements(environment, max(held.values()))
        freed = await _freed(environment)
    publish(
        "expiry",
        {
            "floor: bare updates": milliseconds(floor),
            "end of the hold to the free row": _lateness(held, freed),
            "end of the hold to ticket.released on the stream": _lateness(held, told),
            "end of the hold to its message on the push log": _lateness(held, pushed),
        },
    )


def _lateness(held: dict[UUID, float], at: dict[UUID, float]) -> dict[str, float]:
    if missing := held.keys() - at.keys():
        raise SystemExit(f"{len(missing)} of {len(held)} holds were never announced")
    return milliseconds([at[ticket_id] - end for ticket_id, end in held.items()])


async def _hold(settings: Settings, ticket_ids: list[UUID]) -> dict[UUID, float]:
    """An order for each ticket, ending at random within the same second. Returns the ends, by this machine's clock."""
    pool = await database.open_pool(settings.noun_database_url("orders"), name="bench", size=4)
    second = time.time() + LEAD_SECONDS
    ends = {ticket_id: second + random.random() for ticket_id in ticket_ids}
    waiting = iter(ends.items())

    async def place() -> None:
        for ticket_id, end in waiting:
            async with database.connection(pool) as connection:
                placed = await queries.place(connection, _placing(ticket_id, end))
                assert placed.body is not None, placed.outcome
                ends[ticket_id] = datetime.fromisoformat(
                    msgspec.json.decode(placed.body)["expires_at"]
                ).timestamp()

    try:
        await asyncio.gather(*(place() for _ in range(4)))
    finally:
        await database.close_pool(pool)
    return ends


def _placing(ticket_id: UUID, end: float) -> Placing:
    return Placing(
        buyer_id=uuid4(),
        ticket_ids=[ticket_id],
        hold=timedelta(seconds=end - time.time()),
        grace=timedelta(seconds=60),
        fee_percent=Decimal(5),
        max_open_orders=5,
        max_tickets_per_show=8,
        max_unpaid_holds=None,
        cooldown=timedelta(),
        correlation_id=uuid4(),
        key=None,
        fingerprint=None,
    )


async def _announcements(
    environment: Mapping[str, str], last_end: float
) -> tuple[dict[UUID, float], dict[UUID, float]]:
    """When each ticket's release came on the event stream, and on the push log where gateways read it."""
    redis = open_redis(environment["REDIS_URL"], name="bench")
    try:
        events, messages = await asyncio.gather(
            _arrivals(redis, STREAM, last_end), _arrivals(redis, push.STREAM, last_end)
        )
    finally:
        await redis.aclose()
    return _first(events, _released), _first(messages, _released_message)


async def _arrivals(redis: Redis, stream: str, last_end: float) -> list[tuple[float, list[Entry]]]:
    """Everything that comes until it is quiet again, each read with its time; what it is can wait."""
    arrived = []
    last: Any = b"$"
    quiet_at = last_end + QUIET_SECONDS
    while time.time() < quiet_at:
        streams = await redis.xread({stream: last}, count=1000, block=500)
        for _, entries in streams or []:
            arrived.append((time.time(), entries))
            last = entries[-1][0]
            quiet_at = max(quiet_at, time.time() + QUIET_SECONDS)
    return arrived


def _first(
    arrived: list[tuple[float, list[Entry]]], about: Callable[[Entry], UUID | None]
) -> dict[UUID, float]:
    first: dict[UUID, float] = {}
    for at, entries in arrived:
        for entry in entries:
            ticket_id = about(entry)
            if ticket_id is not None:
                first.setdefault(ticket_id, at)
    return first


def _released(entry: Entry) -> UUID | None:
    event = read(*entry)
    return event.envelope.subject if event is not None and event.type == "ticket.released" else None


def _released_message(entry: Entry) -> UUID | None:
    _, fields = entry
    if fields.get(b"e") != b"ticket.released":
        return None
    return UUID(msgspec.json.decode(fields[b"d"])["ticket"]["id"])


async def _freed(environment: Mapping[str, str]) -> dict[UUID, float]:
    connection = await asyncpg.connect(environment["DATABASE_URL"])
    try:
        rows = await connection.fetch(
            "select ticket_id, at from tickets.audit where from_status = 'held' and to_status = 'available'"
        )
    finally:
        await connection.close()
    return {row["ticket_id"]: row["at"].timestamp() for row in rows}


async def _floor(environment: Mapping[str, str], ticket_ids: list[UUID]) -> list[float]:
    """Lateness of as many rows that one connection frees, triggers off."""
    connection = await asyncpg.connect(environment["DATABASE_URL"])
    late: list[float] = []
    try:
        await connection.execute("set session_replication_role = replica")
        await connection.execute(
            """
            update tickets.tickets
            set status = 'held', order_id = id, held_until = now() + interval '3 s' + random() * interval '1 s'
            where id = any ($1)
            """,
            ticket_ids,
        )
        while len(late) < len(ticket_ids):
            rows = await connection.fetch(
                """
                update tickets.tickets
                set status = 'available', order_id = null, held_until = null, version = version + 1
                where status = 'held' and held_until <= now() and id = any ($1)
                returning clock_timestamp() - old.held_until as late
                """,
                ticket_ids,
            )
            late += [row["late"].total_seconds() for row in rows]
            await asyncio.sleep(FLOOR_TICK_SECONDS)
    finally:
        await connection.close()
    return late
