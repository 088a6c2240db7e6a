"""Causal order: on the stream a ticket's versions only grow, under concurrent changes; with a
negative control.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from backend.events.stream import STREAM
from tests.events.log import stream
from tests.system import System, until

HOT_TICKETS = 50
CONNECTIONS = 16
SECONDS = 2.5

Change = Callable[[Any, random.Random, UUID], Awaitable[None]]

TICKETS = """
    with made as (
        insert into tickets.shows (owner_id, title, venue, city, starts_at, timezone, category)
        values (gen_random_uuid(), 'Hot', 'Hall', 'Ghent', now() + interval '1 year', 'UTC',
            'other') returning *
    )
    insert into tickets.tickets (show_id, seller_id, seller_name, price, currency)
    select id, owner_id, 'Sam', 4500, 'EUR' from made, generate_series(1, $1) returning id
"""

# One change of a ticket, in the order of its SQL functions: lock and write the row, then append.
APPENDS_LAST = """
    create function public.touch(p_ticket uuid) returns void language plpgsql as $$
    declare
        v_version bigint;
    begin
        update tickets.tickets set version = version + 1 where id = p_ticket
            returning version into v_version;
        perform pg_sleep(random() * 0.002);
        insert into events.outbox (type, subject, version, data)
            values ('ticket.updated', p_ticket, v_version, '{}');
    end
    $$
"""
# The same change, but its outbox id is taken before the row is locked.
APPENDS_FIRST = """
    create function public.touch(p_ticket uuid) returns void language plpgsql as $$
    declare
        v_version bigint;
        v_place bigint := nextval(pg_get_serial_sequence('events.outbox', 'id'));
    begin
        perform pg_sleep(random() * 0.002);
        update tickets.tickets set version = version + 1 where id = p_ticket
            returning version into v_version;
        insert into events.outbox (id, type, subject, version, data) overriding system value
        values (v_place, 'ticket.updated', p_ticket, v_version, '{}');
    end
    $$
"""


async def hammered(system: System, role: str | None, change: Change) -> dict[UUID, list[int]]:
    """Change tickets from many connections under a running relay.

    Returns each ticket's versions in stream order.
    """
    owner = await system.connect()
    ids = [row["id"] for row in await owner.fetch(TICKETS, HOT_TICKETS)]
    connections = [await system.connect(role) for _ in range(CONNECTIONS)]

    async def work(number: int) -> None:
        chance = random.Random(number)
        end = asyncio.get_running_loop().time() + SECONDS
        while asyncio.get_running_loop().time() < end:
            await change(connections[number], chance, chance.choice(ids))

    redis = system.redis()

    async def all_published() -> bool:
        return bool(
            await owner.fetchval("select count(*) from events.outbox") == await redis.xlen(STREAM)
        )

    async with system.part("relay"):
        await asyncio.gather(*(work(number) for number in range(CONNECTIONS)))
        await until(all_published, seconds=20)
    versions: dict[UUID, list[int]] = {ticket_id: [] for ticket_id in ids}
    for event in await stream(redis):
        versions[event.envelope.subject].append(event.envelope.version)
    return versions


def inversions(versions: dict[UUID, list[int]]) -> int:
    """Return the number of events that come after a newer event of their ticket."""
    return sum(
        version <= max(seen[:at], default=0)
        for seen in versions.values()
        for at, version in enumerate(seen)
    )


async def hold_and_release(connection: Any, chance: random.Random, ticket_id: UUID) -> None:
    """Hold and release a ticket as orders does.

    Most attempts lose; some transactions are slow or roll back.
    """
    order_id = uuid4()
    transaction = connection.transaction()
    await transaction.start()
    held = None
    # A slow transaction has locked the row, on a busy machine for longer than a hold waits.
    with suppress(asyncpg.LockNotAvailableError):
        held = await connection.fetchval(
            "select outcome from tickets.hold($1, $2, array[$3::uuid], now() + interval '1"
            " minute', null, null)",
            order_id,
            uuid4(),
            ticket_id,
        )
    if held != "held":
        await transaction.rollback()
        return
    if chance.random() < 0.2:
        await asyncio.sleep(chance.random() * 0.01)
    if chance.random() < 0.1:
        await transaction.rollback()
        return
    await transaction.commit()
    await connection.execute("select tickets.release($1, $2)", order_id, [ticket_id])


async def touch(connection: Any, _: random.Random, ticket_id: UUID) -> None:
    await connection.execute("select public.touch($1)", ticket_id)


async def test_concurrent_holds_and_releases_are_published_in_version_order(
    system: System,
) -> None:
    versions = await hammered(system, "orders", hold_and_release)
    assert sum(map(len, versions.values())) > 20 * HOT_TICKETS
    assert inversions(versions) == 0
    # Each change is published once, so the versions have no gap.
    for seen in versions.values():
        assert seen == list(range(seen[0], seen[0] + len(seen)))


@pytest.mark.parametrize(("function", "in_order"), [(APPENDS_LAST, True), (APPENDS_FIRST, False)])
async def test_the_order_comes_from_appending_after_the_lock(
    system: System, function: str, in_order: bool
) -> None:
    """The negative control: when the id is taken before the row's lock, events are overtaken."""
    await (await system.connect()).execute(function)
    versions = await hammered(system, None, touch)
    assert sum(map(len, versions.values())) > 20 * HOT_TICKETS
    assert (inversions(versions) == 0) is in_order
