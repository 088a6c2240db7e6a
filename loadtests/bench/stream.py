"""From a commit to its event on the stream, at steady rates, with the relay as its own process.

The writer commits two events in a transaction, as a hold does, and notifies the relay as a service
does; a reader blocks on the stream. The floor: the writer itself adds the events to the stream
after its commit, which is not reliable.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec
from redis.asyncio import Redis

from backend.events.catalogue import decode
from backend.events.outbox import relay_waker
from backend.events.stream import FIELD, STREAM
from backend.kernel.database import Pool
from backend.kernel.redis import open_redis
from backend.kernel.settings import Settings
from loadtests.bench.results import milliseconds, publish
from loadtests.bench.stores import bare_stores

RATES = (500, 2_000)
SECONDS = 6
ROUNDS = 3
WRITERS = 8
# Commits of a real rate come in clumps, not on a metronome: this many at a time.
TICK_SECONDS = 0.004
DATA = msgspec.json.encode({"id": str(uuid4()), "status": "held", "title": "x" * 400}).decode()
RECORD = """
insert into events.outbox (type, subject, version, data)
select 'ticket.held', gen_random_uuid(), n, $3 from generate_series($1::int, $2::int) n
"""
EVENTS = 2
FLOOR = "bench:floor"


async def measure() -> None:
    rows: dict[str, dict[str, Any]] = {}
    async with bare_stores() as (settings, _):
        redis = open_redis(settings.redis_url, name="bench")
        pool = await asyncpg.create_pool(settings.database_url, min_size=WRITERS, max_size=WRITERS)
        try:
            for rate in RATES:
                found = [await _round(settings, redis, pool, rate) for _ in range(ROUNDS)]
                rows[f"floor: {rate} a second, XADD after the commit"] = _middle(
                    [floor for floor, _ in found]
                )
                rows[f"{rate} a second, commit to stream"] = _middle([ours for _, ours in found])
        finally:
            await pool.close()
            await redis.aclose()
    publish("stream", rows)


async def _round(
    settings: Settings, redis: Redis, pool: Pool, rate: int
) -> tuple[dict[str, float], dict[str, float]]:
    await redis.flushall()
    await pool.execute("truncate events.outbox; update events.relay set position = 0, epoch = 1")
    floor = await _paced(redis, pool, rate, FLOOR, itself=True)
    await pool.execute("truncate events.outbox")
    with _relay(settings):
        await pool.execute(RECORD, -1, -1, DATA)
        assert await redis.xread({STREAM: "0"}, block=30_000), "the relay published nothing"
        ours = await _paced(redis, pool, rate, STREAM, itself=False)
    return floor, ours


async def _paced(
    redis: Redis, pool: Pool, rate: int, stream: str, *, itself: bool
) -> dict[str, float]:
    """Return the milliseconds from commit to arrival, and the share of the rate that was met."""
    count = rate * SECONDS
    committed, arrived = [0.0] * count, [0.0] * count
    numbers: asyncio.Queue[int] = asyncio.Queue()
    newest = await redis.xrevrange(stream, count=1)
    reading = asyncio.create_task(_read(redis, stream, newest[0][0] if newest else b"0", arrived))

    async with relay_waker(redis) as wake_relay:

        async def write() -> None:
            while True:
                first = await numbers.get()
                last = first + EVENTS - 1
                await pool.execute(RECORD, first, last, DATA)
                committed[first : last + 1] = [time.perf_counter()] * EVENTS
                if itself:
                    for number in range(first, last + 1):
                        await redis.xadd(stream, {"e": b'{"version":%d}' % number})
                else:
                    wake_relay()

        writers = [asyncio.create_task(write()) for _ in range(WRITERS)]
        began = time.perf_counter()
        try:
            for number in range(0, count, EVENTS):
                due = began + number / rate
                if (early := due - time.perf_counter()) > TICK_SECONDS:
                    await asyncio.sleep(early)
                numbers.put_nowait(number)
            async with asyncio.timeout(60):
                done, _ = await asyncio.wait(
                    {reading, *writers}, return_when=asyncio.FIRST_COMPLETED
                )
            for task in done:
                task.result()
        finally:
            for task in (reading, *writers):
                task.cancel()
            await asyncio.gather(reading, *writers, return_exceptions=True)
    written = max(committed) - began
    # The reader may see an event before the writer's own reply has come.
    durations = [max(0.0, at - since) for at, since in zip(arrived, committed, strict=True)]
    return milliseconds(durations) | {"per second": round(count / written)}


async def _read(redis: Redis, stream: str, last: bytes, arrived: list[float]) -> None:
    """Note when each number is on the stream, after this entry."""
    left = len(arrived)
    while left:
        streams = await redis.xread({stream: last}, count=1000, block=1000)
        now = time.perf_counter()
        for entry_id, fields in streams[0][1] if streams else []:
            last = entry_id
            arrived[_number(entry_id.decode(), fields[FIELD])] = now
            left -= 1


def _number(entry_id: str, body: bytes) -> int:
    if body.startswith(b'{"version"'):
        return int(body[len(b'{"version":') : -1])
    return decode(entry_id, body).envelope.version


@contextmanager
def _relay(settings: Settings) -> Iterator[None]:
    environment = {
        "RELAY_DATABASE_URL": settings.relay_database_url,
        "REDIS_URL": settings.redis_url,
        "LOG_LEVEL": "error",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "backend.cli", "relay"],
        env={"PATH": os.environ.get("PATH", "")} | environment,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def _middle(rounds: list[dict[str, float]]) -> dict[str, Any]:
    return {
        "per second": round(median(figures["per second"] for figures in rounds)),
        **{
            f"{name}, ms": round(median(figures[name] for figures in rounds), 2)
            for name in ("p50", "p99")
        },
    }
