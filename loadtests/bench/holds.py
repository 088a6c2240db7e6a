"""Holds a second over HTTP, each on its own ticket, beside two floors in the same run.

(a) A bare Starlette and asyncpg endpoint with the same writes; (b) pgbench with the same statement.
Ours also has authentication, an idempotency key, limits, the lock order and the outbox.

CPU is that of all processes but the generator while the load runs: other work on the machine
changes it less than the rate.
"""

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Iterator, Mapping
from statistics import median
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import uuid4

import asyncpg

from backend.embedded.demo import seed
from backend.embedded.postgres import bin_folder
from backend.kernel.settings import load
from loadtests.bench.cpu import cpu_of, programs
from loadtests.bench.floor import HOLD, POOL, SESSION
from loadtests.bench.load import Load, drive, post
from loadtests.bench.results import milliseconds, publish
from loadtests.bench.setup import access_tokens, address, drain, floor_app, free_tickets
from loadtests.instance import instance

ROUNDS = 3
REQUESTS = 6_000
CONNECTIONS = 24

# A buyer may have five open orders.
BUYERS = ROUNDS * REQUESTS // 5
SHOWS = 100


class Run(NamedTuple):
    """A load, and the CPU seconds of all processes but this one, and of Postgres, during it."""

    load: Load
    cpu: float
    postgres: float


async def measure() -> None:
    with instance(HOLD_SECONDS="3600", DATABASE_POOL_SIZE="10") as environment:
        await seed(load(environment), shows=SHOWS, tickets=3 * ROUNDS * REQUESTS)
        found = await free_tickets(environment)
        tickets = iter(found[: 2 * ROUNDS * REQUESTS])
        await _number(environment, found[2 * ROUNDS * REQUESTS :])
        tokens = access_tokens(environment, BUYERS)
        ours, bare, plain = [], [], []
        async with floor_app(environment) as floor_port:
            await drain(environment)
            for _ in range(ROUNDS):
                bare.append(await _run(_bare(floor_port, tickets)))
                await drain(environment)
                ours.append(await _run(_ours(environment, tickets, tokens)))
                await drain(environment)
                plain.append(_pgbench(environment))
                await drain(environment)
    rows: dict[str, dict[str, Any]] = {
        "(b) pgbench, same statement": {"per second": round(median(plain))},
        "(a) bare Starlette and asyncpg": _row(bare),
        "holds": _row(ours),
    }
    pairs = list(zip(ours, bare, strict=True))
    rates = [run.load.per_second / floor.load.per_second for run, floor in pairs]
    rows["holds"]["share of (a)"] = round(median(rates), 2)
    rows["holds"]["CPU of (a)"] = round(median(run.cpu / floor.cpu for run, floor in pairs), 2)
    publish("holds", rows)


async def _run(work: Awaitable[Load]) -> Run:
    began, postgres_began = _cpu()
    load = await work
    ended, postgres_ended = _cpu()
    return Run(load, ended - began, postgres_ended - postgres_began)


def _cpu() -> tuple[float, float]:
    return cpu_of(os.getpid()) - time.process_time(), cpu_of(programs()["postgres"])


async def _ours(
    environment: Mapping[str, str], tickets: Iterator[str], tokens: Iterator[str]
) -> Load:
    host, port = address(environment["API_URL"])
    requests = [
        post(
            "/api/orders",
            json.dumps({"ticket_id": next(tickets)}).encode(),
            f"Authorization: Bearer {next(tokens)}",
            f"Idempotency-Key: {uuid4()}",
        )
        for _ in range(REQUESTS)
    ]
    return _check_won(await drive(host, port, iter(requests), connections=CONNECTIONS))


async def _bare(port: int, tickets: Iterator[str]) -> Load:
    requests = [
        post("/hold", json.dumps({"ticket_id": next(tickets)}).encode()) for _ in range(REQUESTS)
    ]
    return _check_won(await drive("127.0.0.1", port, iter(requests), connections=CONNECTIONS))


def _pgbench(environment: Mapping[str, str]) -> float:
    """Return the floor's transactions a second by pgbench, with as many connections."""
    url = urlsplit(environment["DATABASE_URL"])
    assert url.username
    assert url.password
    login = {
        "PGHOST": parse_qs(url.query)["host"][0],
        "PGUSER": url.username,
        "PGPASSWORD": unquote(url.password),
        "PGDATABASE": url.path[1:],
        "PGOPTIONS": " ".join(f"-c {name}={value}" for name, value in SESSION.items()),
    }
    statement = HOLD.replace(
        "$1::uuid", "(select ticket_id from bench_tickets where n = (select nextval('bench_n')))"
    )
    statement = statement.replace("$2::uuid", "(select id from o)").replace(
        "$3::uuid", "gen_random_uuid()"
    )
    statement = statement.replace(
        "with held as", "with o as (select gen_random_uuid() as id), held as", 1
    )
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(statement + ";\n")
        script.flush()
        command = [str(bin_folder() / "pgbench"), "-n", "-M", "prepared", "-f", script.name]
        command += ["-c", str(POOL), "-j", "1", "-t", str(REQUESTS // POOL)]
        done = subprocess.run(  # noqa: S603 - a binary of the wheel
            command,
            env=os.environ | login,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    found = re.search(r"tps = ([\d.]+)", done.stdout)
    if done.returncode != 0 or not found:
        raise SystemExit(f"pgbench failed: {done.stderr}")
    return float(found[1])


async def _number(environment: Mapping[str, str], ticket_ids: list[str]) -> None:
    """Number the tickets for pgbench, which takes the next number from a sequence."""
    connection = await asyncpg.connect(environment["DATABASE_URL"])
    try:
        await connection.execute(
            """
            create table bench_tickets (n bigint primary key, ticket_id uuid not null);
            create sequence bench_n
            """
        )
        await connection.copy_records_to_table(
            "bench_tickets", records=list(enumerate(ticket_ids, start=1))
        )
        await connection.execute("vacuum analyze")
    finally:
        await connection.close()


def _check_won(load: Load) -> Load:
    if set(load.statuses) != {201}:
        raise SystemExit(f"not every hold was won: {load.statuses}")
    return load


def _row(runs: list[Run]) -> dict[str, Any]:
    figures = milliseconds([latency for run in runs for latency in run.load.latencies])
    return {
        "per second": round(median(run.load.per_second for run in runs)),
        **{f"{n}, ms": figures[n] for n in ("p50", "p99")},
        "CPU, µs": round(median(run.cpu for run in runs) / REQUESTS * 1e6),
        "of Postgres, µs": round(median(run.postgres for run in runs) / REQUESTS * 1e6),
    }
