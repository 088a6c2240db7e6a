"""Helpers for the event log: insert rows into the outbox, run turns of a relay, read the stream."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec
from redis.asyncio import Redis

from backend.events.catalogue import Event, decode
from backend.events.relay import Relay
from backend.events.stream import FIELD, STREAM
from backend.kernel import database
from backend.kernel.database import Connection
from tests.system import System


async def record(connection: Any, *numbers: int, type: str = "order.created") -> None:
    """Insert events with the data {"n": number}."""
    for number in numbers:
        await connection.execute(
            "insert into events.outbox (type, subject, version, data) values ($1, $2, $3, $4)",
            type,
            uuid4(),
            number,
            {"n": number},
        )


async def record_orders(connection: Any, *numbers: int) -> None:
    """Insert `order.created` events, each for another buyer, with the number as total."""
    for number in numbers:
        order = {
            "id": uuid4(),
            "buyer_id": uuid4(),
            "status": "pending",
            "subtotal": number,
            "fee": 0,
            "total": number,
            "currency": "EUR",
            "expires_at": datetime.now(UTC),
            "payment_id": None,
            "version": 1,
            "created_at": datetime.now(UTC),
            "tickets": [],
        }
        data = msgspec.to_builtins(order)
        await connection.execute(
            """
            insert into events.outbox (type, subject, version, data)
            values ('order.created', $1, 1, $2)
            """,
            order["id"],
            data,
        )


@asynccontextmanager
async def turning(system: System) -> AsyncIterator[tuple[Relay, Connection]]:
    """Open a relay and its connection; the test calls `turn`."""
    connection = await database.connect(
        system.settings.role_database_url("relay"), name="tests-relay"
    )
    try:
        yield Relay(system.settings.role_database_url("relay"), system.redis()), connection
    finally:
        await connection.close()


async def publish(system: System) -> None:
    """Publish all events by a new relay."""
    async with turning(system) as (relay, connection):
        while await relay.turn(connection):
            pass


async def stream(redis: Redis) -> list[Event]:
    return [
        decode(entry_id.decode(), fields[FIELD]) for entry_id, fields in await redis.xrange(STREAM)
    ]


async def ids(redis: Redis) -> list[str]:
    return [entry_id.decode() for entry_id, _ in await redis.xrange(STREAM)]


async def numbers(redis: Redis) -> list[int]:
    """Return the numbers that `record` gave to the events on the stream."""
    return [event.envelope.version for event in await stream(redis)]


def event_ids(events: list[Event]) -> list[UUID]:
    return [event.envelope.id for event in events]
