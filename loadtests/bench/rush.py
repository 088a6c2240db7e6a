"""One ticket and 2,000 buyers in the same instant: the latency of the winner and the refusals.

Each buyer has an open connection and a verified session, as in a sale that users wait for. The
floor: the same buyers at a bare Starlette and asyncpg endpoint that reads the ticket and refuses.
"""

import json
import os
from collections.abc import Mapping
from itertools import islice
from statistics import median
from typing import Any
from uuid import uuid4

from backend.embedded.demo import seed
from backend.kernel.settings import load
from loadtests.bench.load import Load, all_at_once, get, post
from loadtests.bench.results import milliseconds, publish
from loadtests.bench.setup import access_tokens, address, drain, floor_app, free_tickets
from loadtests.instance import instance

BUYERS = 2_000
ROUNDS = 5


async def measure() -> None:
    with instance(HOLD_SECONDS="3600") as environment:
        await seed(load(environment), shows=1, tickets=ROUNDS * 3)
        tickets = iter(await free_tickets(environment))
        buyers = list(islice(access_tokens(environment, BUYERS), BUYERS))
        ours, floors = [], []
        async with floor_app(environment) as floor_port:
            for _ in range(ROUNDS):
                await drain(environment)
                floors.append(await _reads(floor_port, next(tickets)))
                await drain(environment)
                ours.append(await _rush(environment, next(tickets), buyers))
    publish(
        "rush",
        {"floor: a row is read and refused": _row(floors), "2,000 buyers, one ticket": _row(ours)},
    )


async def _rush(environment: Mapping[str, str], ticket_id: str, buyers: list[str]) -> Load:
    host, port = address(environment["API_URL"])
    body = json.dumps({"ticket_id": ticket_id}).encode()
    known = [get("/api/orders?limit=1", f"Authorization: Bearer {token}") for token in buyers]
    orders = [
        post("/api/orders", body, f"Authorization: Bearer {token}", f"Idempotency-Key: {uuid4()}")
        for token in buyers
    ]
    rush = await all_at_once(host, port, known, orders)
    if rush.statuses != {201: 1, 409: BUYERS - 1}:
        raise SystemExit(f"not one winner with every other buyer refused: {rush.statuses}")
    return rush


async def _reads(port: int, ticket_id: str) -> Load:
    body = json.dumps({"ticket_id": ticket_id}).encode()
    return await all_at_once(
        "127.0.0.1", port, [get("/")] * BUYERS, [post("/refuse", body)] * BUYERS
    )


def _row(rounds: list[Load]) -> dict[str, Any]:
    figures = [milliseconds(load.latencies) for load in rounds]
    return {
        "all answered, ms": round(median(load.seconds for load in rounds) * 1000),
        **{
            f"{name}, ms": round(median(figure[name] for figure in figures))
            for name in ("p50", "p99")
        },
        "cores": os.cpu_count(),
    }
