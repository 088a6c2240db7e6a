"""The common setup of HTTP benchmarks: free tickets, tokens, the floor's server, draining."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import cycle
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import httpx

from backend.auth.model import User
from backend.auth.tokens import Signer
from loadtests.ports import free_port

# The notifier's position is twice the event's position, under an epoch.
IS_DRAINED = """
select (n.position >> 1) & ((1::bigint << 40) - 1) >= r.position
       and not exists (select from events.outbox where position is null)
from push.notifier n, events.relay r
"""


async def free_tickets(environment: Mapping[str, str]) -> list[str]:
    """The ids of every free ticket, in random order."""
    connection = await asyncpg.connect(environment["DATABASE_URL"])
    try:
        rows = await connection.fetch(
            "select id from tickets.tickets where status = 'available' order by random()"
        )
    finally:
        await connection.close()
    return [str(row["id"]) for row in rows]


def access_tokens(environment: Mapping[str, str], buyers: int) -> Iterator[str]:
    """Cycle through the access tokens of this number of buyers, signed as auth does."""
    signer = Signer(
        environment["JWT_PRIVATE_KEY"],
        issuer="gittix",
        audience="gittix",
        access_seconds=3600,
        session_seconds=3600,
    )
    users = [
        User(uuid4(), f"{number}@bench.example", f"buyer {number}", needs_more_time=False)
        for number in range(buyers)
    ]
    return cycle([signer.access_token(user, uuid4(), datetime.now(UTC)) for user in users])


def address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    return parts.hostname, parts.port


@asynccontextmanager
async def floor_app(
    environment: Mapping[str, str], app: str = "loadtests.bench.floor:app"
) -> AsyncIterator[int]:
    """Serve the floor's app by uvicorn, with the API's options."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", app, "--port", str(port)]
    command += ["--loop", "uvloop", "--http", "httptools"]
    command += ["--no-access-log", "--log-level", "warning"]
    # Blocks for a moment, before the load.
    process = subprocess.Popen(command, env=os.environ | environment)  # noqa: ASYNC220, S603
    try:
        async with httpx.AsyncClient() as client:
            for _ in range(100):
                try:
                    await client.get(f"http://127.0.0.1:{port}/")
                    break
                except httpx.ConnectError:
                    await asyncio.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(20)


async def drain(environment: Mapping[str, str]) -> None:
    """Wait until all events are published, so that the next run does not include this work."""
    connection = await asyncpg.connect(environment["DATABASE_URL"])
    try:
        async with asyncio.timeout(120):
            # Rows have no events to wait for.
            while not await connection.fetchval(IS_DRAINED):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
    finally:
        await connection.close()
    await asyncio.sleep(2)
