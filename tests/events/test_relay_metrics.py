"""The metrics of the relay: the age and the number of events, published and not."""

from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis.exceptions import ConnectionError as RedisConnectionError

from backend.events import queries
from backend.events.stream import STREAM, EventStream
from tests.events.log import numbers, publish, record, turning
from tests.system import System, until


@pytest.fixture
async def rows(system: System) -> Any:
    """A connection as the database's owner."""
    return await system.connect()


async def test_the_age_of_unpublished_events_is_exported_while_redis_is_down(
    system: System, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def age() -> float:
        value = REGISTRY.get_sample_value("gittix_outbox_oldest_unpublished_seconds")
        assert value is not None
        return value

    async def away(*_: Any) -> Any:
        raise RedisConnectionError

    async def known() -> bool:
        return age() > 3600

    async def nothing_waits() -> bool:
        return age() == 0

    await record(rows, 1)
    await rows.execute("update events.outbox set occurred_at = now() - interval '2 hours'")
    with monkeypatch.context() as cut:
        cut.setattr(EventStream, "append", away)
        cut.setattr(EventStream, "last", away)
        async with system.part("relay"):
            await until(known)
    async with system.part("relay"):
        await until(nothing_waits)
    assert await numbers(system.redis()) == [1]


async def test_unpublished_events_are_counted(system: System, rows: Any) -> None:
    await record(rows, 1, 2, 3)
    async with turning(system) as (relay, connection):
        await relay.turn(connection)
        await record(rows, 4, 5)
        await rows.execute(
            "update events.outbox set occurred_at = now() - interval '1 min' where version > 3"
        )
        depth, age = await queries.unpublished_backlog(connection, 2)
        assert (depth, 60 < age < 65) == (3, True)
        assert (await queries.unpublished_backlog(connection, None))[0] == 2
        await relay.turn(connection)
        assert await queries.unpublished_backlog(connection, 5) == (0, 0.0)


async def test_published_events_and_late_expiries_are_counted_once(
    system: System, rows: Any
) -> None:
    def counted(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, labels) or 0.0

    def seen() -> list[float]:
        return [
            counted("gittix_events_published_total", type="order.created"),
            counted("gittix_events_published_total", type="order.expired"),
            counted("gittix_expiry_lateness_seconds_count"),
            counted("gittix_expiry_lateness_seconds_bucket", le="2.5"),
            counted("gittix_expiry_lateness_seconds_bucket", le="5.0"),
        ]

    before = seen()
    await record(rows, 1, 2)
    # An event with malformed data is published all the same.
    await record(rows, 3, type="order.expired")
    await rows.execute(
        """
        insert into events.outbox (type, subject, version, data)
        values ('order.expired', gen_random_uuid(), 4,
            jsonb_build_object('expires_at', now() - interval '3 s'))
        """
    )
    await publish(system)
    assert await event_count(system) == 4
    assert [now - then for now, then in zip(seen(), before, strict=True)] == [2, 2, 1, 0, 1]


async def event_count(system: System) -> int:
    return int(await system.redis().xlen(STREAM))
