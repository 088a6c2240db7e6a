"""The correlation id in SQL: each statement binds it, and an event without one is refused."""

from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from backend.events import outbox
from backend.kernel import correlation
from tests.system import System

APPEND = "select events.append('order.created', gen_random_uuid(), 1, '{}')"


async def ids(owner: Any) -> list[UUID]:
    rows = await owner.fetch("select correlation_id from events.outbox order by id")
    return [row["correlation_id"] for row in rows]


async def test_a_statement_binds_the_id_of_its_events(system: System) -> None:
    orders, owner, first, second = await system.connect("orders"), await system.connect(), 1, 2
    for number in (first, second):
        await orders.execute(f"{APPEND} from events.bind_correlation($1)", UUID(int=number))
    assert await ids(owner) == [UUID(int=first), UUID(int=second)]


async def test_a_bound_id_ends_with_its_transaction(system: System) -> None:
    orders = await system.connect("orders")
    await orders.execute("reset gittix.correlation")
    async with orders.transaction():
        await orders.execute("select events.bind_correlation($1)", uuid4())
        await orders.execute(APPEND)
    with pytest.raises(asyncpg.RaiseError, match="no correlation id is bound"):
        await orders.execute(APPEND)


async def test_an_event_without_a_bound_id_is_refused(system: System) -> None:
    orders, owner = await system.connect("orders"), await system.connect()
    await orders.execute("reset gittix.correlation")
    with pytest.raises(asyncpg.RaiseError, match="no correlation id is bound"):
        await orders.execute(APPEND)
    with pytest.raises(correlation.Unbound):
        await outbox.append(orders, "order.created", uuid4(), 1, {})
    assert await ids(owner) == []
