"""10,000 holds that end within one second: the delay until each ticket is free, and is published.

The floor frees as many rows in the same second with one update every 50 ms: no orders, no lines, no
events.
"""

import asyncio
import random
import time
from bisect import bisect_left
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import asyncpg
import msgspec

from backend.embedded.demo import seed
from backend.events.stream import STREAM, EntryId, EventStream, read_event
from backend.kernel import correlation, database
from backend.kernel.budgets import UNLIMITED
from backend.kernel.redis import open_redis
from backend.kernel.settings import Settings, load
from backend.orders import queries
from backend.orders.queries import Placing
from backend.push import push_log as pushlog
from loadtests.bench.results import milliseconds, publish
from loadtests.bench.setup import drain, free_tickets
from loadtests.instance import instance

HOLDS = 10_000
# Placing them takes this long at the most, and their alarms are set meanwhile.
LEAD_SECONDS = 50
QUIET_SECONDS = 3
POLL_SECONDS = 0.005
FLOOR_TICK_SECONDS = 0.05


async def measure() -> None:
    with instance(DATABASE_POOL_SIZE="10") as environment:
        settings = load(environment)
        await seed(settings, shows=100, tickets=HOLDS + 1_000)
        tickets = [UUID(found) for found in await free_tickets(environment)][:HOLDS]
        floor = await _floor(environment)
        held = await _hold(settings, tickets)
        await drain(environment)
        if min(held.values()) < time.time():
            raise SystemExit(
                f"The first holds ended before all {HOLDS} were placed: "
                "this machine is too slow for this benchmark."
            )
        released, pushed = await _announcements(environment, max(held.values()))
        freed = await _freed(environment)
    publish(
        "expiry",
        {
            "floor: bare updates": milliseconds(floor),
            "end of the hold to the free row": _lateness(held, freed),
            "end of the hold to ticket.released on the stream": _lateness(held, released),
            "end of the hold to its message on the push log": _lateness(held, pushed),
        },
    )


def _lateness(held: dict[UUID, float], at: dict[UUID, float]) -> dict[str, float]:
    if missing := held.keys() - at.keys():
        raise SystemExit(f"{len(missing)} of {len(held)} holds were never announced")
    return milliseconds([at[ticket_id] - end for ticket_id, end in held.items()])


async def _hold(settings: Settings, ticket_ids: list[UUID]) -> dict[UUID, float]:
    """Place an order for each ticket, ending at random within one second. Returns the ends."""
    pool = await database.open_pool(settings.role_database_url("orders"), name="bench", size=4)
    second = time.time() + LEAD_SECONDS
    ends = {ticket_id: second + random.random() for ticket_id in ticket_ids}
    waiting = iter(ends.items())

    async def place() -> None:
        for ticket_id, end in waiting:
            async with database.connection(pool) as connection:
                with correlation.bound():
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
        rehold=timedelta(),
        budgets=UNLIMITED,
        reply=None,
    )


async def _announcements(
    environment: Mapping[str, str], last_end: float
) -> tuple[dict[UUID, float], dict[UUID, float]]:
    """Return the times of each ticket's release on the event stream and on the push log.

    A concurrent reader would cost as much as the measured work, so only the stream's last id is
    polled; its entries are read afterwards. Entries of the push log have their time as their id.
    """
    redis = open_redis(environment["REDIS_URL"], name="bench")
    stream = EventStream(redis)
    try:
        began = await stream.last()
        ends: list[tuple[EntryId, float]] = []
        quiet_at = last_end + QUIET_SECONDS
        while time.time() < quiet_at:
            last = await stream.last()
            if not ends or last != ends[-1][0]:
                ends.append((last, time.time()))
                quiet_at = max(quiet_at, time.time() + QUIET_SECONDS)
            await asyncio.sleep(POLL_SECONDS)
        released = {}
        for entry_id, fields in await redis.xrange(STREAM, min=f"({began}"):
            event = read_event(entry_id, fields)
            if event is not None and event.type == "ticket.released":
                reached = bisect_left(ends, (EntryId(event.epoch, event.position), 0.0))
                released[event.envelope.subject] = ends[reached][1]
        await drain(environment)
        pushed: dict[UUID, float] = {}
        for entry_id, fields in await redis.xrange(pushlog.STREAM):
            entry = pushlog.read_entry(entry_id, fields)
            for message in entry.messages:
                if message.event == "ticket.released":
                    ticket_id = UUID(msgspec.json.decode(message.data)["ticket"]["id"])
                    pushed.setdefault(ticket_id, entry.appended_ms / 1000)
    finally:
        await redis.aclose()
    return released, pushed


async def _freed(environment: Mapping[str, str]) -> dict[UUID, float]:
    connection = await asyncpg.connect(environment["DATABASE_URL"])
    try:
        rows = await connection.fetch(
            """
            select ticket_id, at from tickets.audit
            where from_status = 'held' and to_status = 'available'
            """
        )
    finally:
        await connection.close()
    return {row["ticket_id"]: row["at"].timestamp() for row in rows}


async def _floor(environment: Mapping[str, str]) -> list[float]:
    """The delays of a connection that frees as many rows, with the same indexes, no triggers."""
    connection = await asyncpg.connect(environment["DATABASE_URL"])
    late: list[float] = []
    try:
        await connection.execute("create table bench_floor (like tickets.tickets including all)")
        await connection.execute(
            "insert into bench_floor select * from tickets.tickets limit $1", HOLDS
        )
        await connection.execute(
            """
            update bench_floor
            set status = 'held', order_id = id,
                held_until = now() + interval '3 s' + random() * interval '1 s'
            """
        )
        async with asyncio.timeout(60):
            while len(late) < HOLDS:
                rows = await connection.fetch(
                    """
                    update bench_floor
                    set status = 'available', order_id = null, held_until = null,
                        version = version + 1
                    where status = 'held' and held_until <= now()
                    returning clock_timestamp() - old.held_until as late
                    """
                )
                late += [row["late"].total_seconds() for row in rows]
                await asyncio.sleep(FLOOR_TICK_SECONDS)
    finally:
        await connection.close()
    return late
