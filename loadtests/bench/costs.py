"""The cost of a read, a hold, its end, a sale, a refusal and a subscribed socket, by process.

Costs are CPU, write-ahead log, disk, Redis's log, events and messages. CPU is the kernel's count
for each process and its children, without that of the same time at rest, and without the generator.
At full load the relay and the notifier work in batches; a single event costs them more.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import cycle
from typing import Any, NamedTuple

import asyncpg
import httpx
from websockets.asyncio.client import ClientConnection, connect

from backend.embedded.demo import seed
from backend.kernel.redis import open_redis
from backend.kernel.settings import load
from loadtests.bench.cpu import cpu_of, memory_of, programs
from loadtests.bench.load import drive, get, post
from loadtests.bench.results import publish
from loadtests.bench.setup import access_tokens, address, drain, free_tickets
from loadtests.instance import instance

IDLE_SECONDS = 10
SHOWS = 100
HOLDS = 6_000
# Longer than placing all holds takes, so that none expires while holds are measured.
HOLD_SECONDS = 30
PAGES = 2_000
REFUSALS = 4_000
SALES = 400
BUYERS_AT_ONCE = 8
SOCKETS = 500
WATCHED_HOLDS = 400
WATCHED_AT_ONCE = 4
CONNECTIONS = 24

STORED = """
select pg_current_wal_insert_lsn() - '0/0' as wal, pg_database_size(current_database()) as disk,
       (select position from events.relay) as events,
       (select appended from push.notifier) as messages
"""


class Spent(NamedTuple):
    """Totals since the start: CPU seconds of each process, counts of the stores."""

    at: float
    cpu: dict[str, float]
    stored: dict[str, float]
    gateway_bytes: int


async def measure() -> None:
    with instance(HOLD_SECONDS=str(HOLD_SECONDS), DATABASE_POOL_SIZE="10") as environment:
        await seed(load(environment), shows=SHOWS, tickets=HOLDS + SALES + 1)
        tickets = iter(await free_tickets(environment))
        tokens = access_tokens(environment, HOLDS)
        await drain(environment)
        costs = Costs(
            environment, _rates(await _spent(environment), await _after_idleness(environment))
        )
        await costs.of("a page: a show and its tickets", PAGES, _read_pages(environment))
        await costs.of("a hold", HOLDS, _hold(environment, tickets, tokens, HOLDS, CONNECTIONS))
        await costs.of("a hold's end", HOLDS, _ended(environment))
        await costs.of("a sale: hold and payment", SALES, _sell(environment, tickets, tokens))
        await costs.of("a refusal", REFUSALS, _refuse(environment, next(tickets), tokens))
        await _watch(costs, tokens)
    publish("costs", costs.rows)


class Costs:
    """A table of costs: a row for each process and store, a column for each action."""

    def __init__(self, environment: Mapping[str, str], idle: Mapping[str, float]) -> None:
        self.environment = environment
        self.idle = idle
        self.rows: dict[str, dict[str, Any]] = {}
        self.add(
            "nothing, a second",
            {f"{name}, ms": round(1000 * rate, 1) for name, rate in idle.items()},
        )

    def add(self, spent_on: str, amounts: Mapping[str, Any]) -> None:
        for name, amount in amounts.items():
            self.rows.setdefault(name, {})[spent_on] = amount

    async def of(self, spent_on: str, count: int, work: Awaitable[None]) -> None:
        self.add(spent_on, await self.each(count, work))

    async def each(self, count: int, work: Awaitable[None]) -> dict[str, Any]:
        """Return the cost of one of `count` actions, after all their effects."""
        began = await _spent(self.environment)
        await work
        await drain(self.environment)
        ended = await _spent(self.environment)
        seconds = ended.at - began.at
        cpu = {
            name: ended.cpu[name] - began.cpu[name] - rate * seconds
            for name, rate in self.idle.items()
        }
        stored = {name: (ended.stored[name] - began.stored[name]) / count for name in ended.stored}
        return {
            **{f"{name}, ms": round(1000 * value / count, 3) for name, value in cpu.items()},
            **{
                f"{name}, KB": round(stored[name] / 1000, 2)
                for name in ("wal", "disk", "redis log")
            },
            **{name: round(stored[name], 2) for name in ("events", "messages")},
        }


async def _watch(costs: Costs, tokens: Iterator[str]) -> None:
    """Measure holds without and with subscribed sockets: the difference is the sockets' cost."""
    environment = costs.environment
    await seed(load(environment), shows=1, tickets=2 * WATCHED_HOLDS)
    newest = "select id from tickets.shows order by created_at desc limit 1"
    (show_id,) = await _read(environment, newest)
    tickets = iter(
        await _read(
            environment, f"select id::text from tickets.tickets where show_id = '{show_id}'"
        )
    )
    await drain(environment)
    alone = await costs.each(
        WATCHED_HOLDS, _hold(environment, tickets, tokens, WATCHED_HOLDS, WATCHED_AT_ONCE)
    )
    without = (await _spent(environment)).gateway_bytes
    async with AsyncExitStack() as stack:
        watchers = [
            await stack.enter_async_context(_watching(environment, f"show-{show_id}"))
            for _ in range(SOCKETS)
        ]
        await drain(environment)
        with_sockets = (await _spent(environment)).gateway_bytes
        before = _received(watchers)
        watched = await costs.each(
            WATCHED_HOLDS, _hold(environment, tickets, tokens, WATCHED_HOLDS, WATCHED_AT_ONCE)
        )
        received, octets = (
            now - then for now, then in zip(_received(watchers), before, strict=True)
        )
    if received < SOCKETS * WATCHED_HOLDS:
        raise SystemExit(
            f"{SOCKETS} sockets received {received} messages of {WATCHED_HOLDS} holds: "
            "some are missing"
        )
    more = (watched["push, ms"] - alone["push, ms"]) * WATCHED_HOLDS
    costs.add(
        "a message to a socket",
        {
            "push, µs": round(1000 * more / received, 2),
            "bytes on the wire": round(octets / received),
        },
    )
    costs.add(
        "a socket", {"push, KB of memory": round((with_sockets - without) / SOCKETS / 1000, 1)}
    )


def _received(watchers: list["_Watcher"]) -> tuple[int, int]:
    """Messages, and their bytes."""
    return sum(watcher.frames for watcher in watchers), sum(watcher.octets for watcher in watchers)


class _Watcher:
    """A socket that counts the messages of one show; a WebSocket header has four bytes."""

    frames = 0
    octets = 0

    async def read(self, socket: ClientConnection) -> None:
        async for text in socket:
            self.frames += 1
            self.octets += len(text) + 4


@asynccontextmanager
async def _watching(environment: Mapping[str, str], channel: str) -> AsyncIterator[_Watcher]:
    watcher = _Watcher()
    app = f"{environment['PUSH_URL']}/app/{environment['PUSHER_KEY']}"
    url = f"{app}?protocol=7&client=bench&version=1"
    async with connect(url, compression=None) as socket:
        await socket.send(json.dumps({"event": "pusher:subscribe", "data": {"channel": channel}}))
        reading = asyncio.create_task(watcher.read(socket))
        try:
            yield watcher
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def _hold(
    environment: Mapping[str, str],
    tickets: Iterator[str],
    tokens: Iterator[str],
    count: int,
    connections: int,
) -> None:
    requests = [_order(next(tickets), next(tokens)) for _ in range(count)]
    await _drive(environment, iter(requests), 201, connections)


def _order(ticket_id: str, token: str) -> bytes:
    return post(
        "/api/orders",
        json.dumps({"ticket_id": ticket_id}).encode(),
        f"Authorization: Bearer {token}",
    )


async def _drive(
    environment: Mapping[str, str], requests: Iterator[bytes], status: int, connections: int
) -> None:
    host, port = address(environment["API_URL"])
    done = await drive(host, port, requests, connections=connections)
    if set(done.statuses) != {status}:
        raise SystemExit(f"not every reply was {status}: {done.statuses}")


async def _read_pages(environment: Mapping[str, str]) -> None:
    """Send the requests of a show's page."""
    shows = cycle(await _read(environment, "select id::text from tickets.shows"))
    pages = (next(shows) for _ in range(PAGES))
    paths = (
        path
        for show in pages
        for path in (f"/api/shows/{show}", f"/api/tickets?show_id={show}&sort=oldest")
    )
    await _drive(environment, (get(path) for path in paths), 200, CONNECTIONS)


async def _refuse(environment: Mapping[str, str], ticket_id: str, tokens: Iterator[str]) -> None:
    await _hold(environment, iter([ticket_id]), tokens, 1, 1)
    await _drive(
        environment, (_order(ticket_id, next(tokens)) for _ in range(REFUSALS)), 409, CONNECTIONS
    )


async def _ended(environment: Mapping[str, str]) -> None:
    waiting = "select 1 from orders.orders where status = 'pending' limit 1"
    async with asyncio.timeout(HOLD_SECONDS + 30):
        while await _read(environment, waiting):  # noqa: ASYNC110 - rows have no events to wait for
            await asyncio.sleep(1)


async def _sell(
    environment: Mapping[str, str], tickets: Iterator[str], tokens: Iterator[str]
) -> None:
    left = iter(range(SALES))

    async def buy(client: httpx.AsyncClient) -> None:
        for _ in left:
            headers = {"Authorization": f"Bearer {next(tokens)}"}
            order = await client.post(
                "/api/orders", json={"ticket_id": next(tickets)}, headers=headers
            )
            order.raise_for_status()
            body = {"order_id": order.json()["id"], "payment_method": "pm_card_visa"}
            (await client.post("/api/payments", json=body, headers=headers)).raise_for_status()

    async with httpx.AsyncClient(base_url=environment["API_URL"], timeout=20) as client:
        await asyncio.gather(*(buy(client) for _ in range(BUYERS_AT_ONCE)))


async def _read(environment: Mapping[str, str], query: str) -> list[Any]:
    """The first column of each row."""
    connection = await asyncpg.connect(environment["DATABASE_URL"])
    try:
        return [row[0] for row in await connection.fetch(query)]
    finally:
        await connection.close()


def _rates(before: Spent, after: Spent) -> dict[str, float]:
    return {
        name: (after.cpu[name] - before.cpu[name]) / (after.at - before.at) for name in after.cpu
    }


async def _after_idleness(environment: Mapping[str, str]) -> Spent:
    await asyncio.sleep(IDLE_SECONDS)
    return await _spent(environment)


async def _spent(environment: Mapping[str, str]) -> Spent:
    connection = await asyncpg.connect(environment["DATABASE_URL"])
    redis = open_redis(environment["REDIS_URL"], name="bench")
    try:
        row = await connection.fetchrow(STORED)
        log = await redis.info("persistence")
    finally:
        await connection.close()
        await redis.aclose()
    assert row
    stored = {
        **{name: float(value) for name, value in row.items()},
        "redis log": log["aof_current_size"],
    }
    pids = programs()
    cpu = {name: cpu_of(pid) for name, pid in pids.items()}
    return Spent(time.monotonic(), cpu, stored, memory_of(pids["push"]))
