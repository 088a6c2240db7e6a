"""The same requests at 10³, 10⁵ and 10⁶ tickets, plotted.

Every query uses an index, so only the depth of its tree, and pages outside the cache, may show.
"""

import json
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from statistics import median
from uuid import uuid4

import asyncpg
import pygal

from backend.kernel import correlation, database
from backend.kernel.settings import load
from backend.orders import queries
from loadtests.bench.load import Load, drive, get, post
from loadtests.bench.results import FOLDER, milliseconds, publish
from loadtests.bench.setup import access_tokens, address, drain, free_tickets
from loadtests.instance import instance

SIZES = (1_000, 100_000, 1_000_000)
TICKETS_A_SHOW = 100
REQUESTS = 300
EXPIRED = 50
SEED_SECONDS = 300

SHOWS = """
insert into tickets.shows (owner_id, title, venue, city, starts_at, timezone, category)
select gen_random_uuid(), 'Show ' || n, 'Hall ' || n % 97, 'City ' || n % 31,
    now() + n * interval '1 min', 'UTC', 'concert'
from generate_series(1, $1::int) n
"""
TICKETS = """
insert into tickets.tickets (show_id, seller_id, seller_name, section, "row", seat, price, currency)
select s.id, s.owner_id, 'Somebody', 'A', 'B', n::text, 1000 + n * 10, 'EUR'
from tickets.shows s, generate_series(1, $1::int) n
"""


async def measure() -> None:
    figures = {size: await _figures(size) for size in SIZES}
    rows = {
        name: {f"{size:,}": figures[size][name] for size in SIZES}
        | {"times": round(figures[SIZES[-1]][name] / figures[SIZES[0]][name], 2)}
        for name in figures[SIZES[0]]
    }
    publish("growth", rows)
    _plot(figures)


async def _figures(size: int) -> dict[str, float]:
    """Medians in milliseconds, one request at a time."""
    with instance(HOLD_SECONDS="3600") as environment:
        await _seed(environment, size)
        tokens = access_tokens(environment, REQUESTS)
        tickets = (await free_tickets(environment))[:REQUESTS]
        held = await _one_by_one(environment, _orders(tickets, tokens))
        refused = await _one_by_one(environment, _orders(tickets, tokens))
        listed = await _one_by_one(environment, await _pages(environment))
        shows = await _one_by_one(
            environment, (get("/api/shows?limit=20") for _ in range(REQUESTS))
        )
        if (set(held.statuses), set(refused.statuses)) != ({201}, {409}):
            raise SystemExit(f"not every hold was won once: {held.statuses}, {refused.statuses}")
        await drain(environment)
        ended = await _expire(environment)
    return {
        "a hold, ms": milliseconds(held.latencies)["p50"],
        "a refusal, ms": milliseconds(refused.latencies)["p50"],
        "the tickets of a show, ms": milliseconds(listed.latencies)["p50"],
        "a page of shows with counts, ms": milliseconds(shows.latencies)["p50"],
        "the end of a hold (of 50 at once), ms": ended,
    }


async def _seed(environment: Mapping[str, str], size: int) -> None:
    connection = await asyncpg.connect(environment["DATABASE_URL"])
    try:
        await connection.execute(SHOWS, size // TICKETS_A_SHOW, timeout=SEED_SECONDS)
        await connection.execute(TICKETS, TICKETS_A_SHOW, timeout=SEED_SECONDS)
        await connection.execute("vacuum analyze", timeout=SEED_SECONDS)
    finally:
        await connection.close()


def _orders(ticket_ids: list[str], tokens: Iterator[str]) -> Iterator[bytes]:
    for ticket_id in ticket_ids:
        yield post(
            "/api/orders",
            json.dumps({"ticket_id": ticket_id}).encode(),
            f"Authorization: Bearer {next(tokens)}",
            f"Idempotency-Key: {uuid4()}",
        )


async def _pages(environment: Mapping[str, str]) -> Iterator[bytes]:
    connection = await asyncpg.connect(environment["DATABASE_URL"])
    try:
        rows = await connection.fetch(
            "select id from tickets.shows order by random() limit $1", REQUESTS
        )
    finally:
        await connection.close()
    shows = [row["id"] for row in rows]
    return islice(
        (get(f"/api/tickets?show_id={shows[n % len(shows)]}&limit=50") for n in range(REQUESTS)),
        REQUESTS,
    )


async def _one_by_one(environment: Mapping[str, str], requests: Iterator[bytes]) -> Load:
    host, port = address(environment["API_URL"])
    return await drive(host, port, requests, connections=1)


async def _expire(environment: Mapping[str, str]) -> float:
    """Return the time to expire each hold of a batch. The worker's sweep may expire some first."""
    settings = load(environment)
    owner = await asyncpg.connect(environment["DATABASE_URL"])
    orders = await database.connect(settings.role_database_url("orders"), name="bench")
    taken = []
    try:
        for _ in range(REQUESTS // EXPIRED):
            rows = await owner.fetch(
                """
                with ended as (
                    select id, order_id from tickets.tickets
                    where status = 'held' order by id limit $1
                ), orders as (
                    update orders.orders o set expires_at = now() from ended
                    where o.id = ended.order_id
                )
                update tickets.tickets t set held_until = now() from ended
                where t.id = ended.id returning t.id
                """,
                EXPIRED,
            )
            began = time.perf_counter()
            with correlation.bound():
                count = await queries.expire_due(orders, EXPIRED)
            if count == len(rows):
                taken.append((time.perf_counter() - began) * 1000 / count)
    finally:
        await orders.close()
        await owner.close()
    if not taken:
        raise SystemExit("the worker was faster every time: nothing was measured")
    return round(median(taken), 3)


def _plot(figures: dict[int, dict[str, float]]) -> None:
    """Write `.cache/bench/growth.svg`: each figure as a multiple of the smallest size's."""
    chart = pygal.Line(
        title="Cost of a request as tickets grow",
        x_title="tickets",
        y_title="times the cost at 1,000 tickets",
        range=(
            0,
            max(
                2.0,
                *(row[name] / figures[SIZES[0]][name] for row in figures.values() for name in row),
            ),
        ),
        # No script is fetched from anywhere.
        js=[],
        style=pygal.style.CleanStyle,
    )
    chart.x_labels = [f"{size:,}" for size in SIZES]
    for name in figures[SIZES[0]]:
        chart.add(name, [figures[size][name] / figures[SIZES[0]][name] for size in SIZES])
    path = FOLDER / "growth.svg"
    path.write_bytes(chart.render())
    print(f"plotted in {path}")
