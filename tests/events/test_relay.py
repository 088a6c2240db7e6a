"""The relay: what committed is on the stream, once and in order, whatever is lost on the way."""

from typing import Any

import pytest

from backend.events import relay as relays
from backend.events.stream import STREAM, EventStream, Position
from backend.kernel import lease as leases
from tests.events.log import event_ids, ids, numbers, publish, record, stream, turning
from tests.system import System, until


@pytest.fixture
async def rows(system: System) -> Any:
    """A connection as the database's owner."""
    return await system.connect()


async def test_events_are_published_in_order_under_epoch_and_position(system: System, rows: Any) -> None:
    await record(rows, 1, 2, 3)
    await publish(system)
    assert await ids(system.redis()) == ["1-1", "1-2", "1-3"]
    events = await stream(system.redis())
    written = await rows.fetch("select event_id, occurred_at from events.outbox order by id")
    assert event_ids(events) == [row["event_id"] for row in written]
    assert [event.envelope.occurred_at for event in events] == [row["occurred_at"] for row in written]
    assert [bytes(event.envelope.data) for event in events] == [b'{"n": %d}' % n for n in (1, 2, 3)]


async def test_what_rolled_back_is_never_published_and_leaves_no_gap(system: System, rows: Any) -> None:
    transaction = rows.transaction()
    await transaction.start()
    await record(rows, 1)
    await transaction.rollback()
    await record(rows, 2)
    await publish(system)
    assert await numbers(system.redis()) == [2]
    assert await ids(system.redis()) == ["1-1"]


async def test_a_slow_transaction_stalls_nobody_and_is_not_lost(system: System, rows: Any) -> None:
    slow = await system.connect()
    transaction = slow.transaction()
    await transaction.start()
    await record(slow, 1)
    await record(rows, 2)
    async with turning(system) as (relay, connection):
        await relay.turn(connection)
        assert await numbers(system.redis()) == [2]
        await transaction.commit()
        await relay.turn(connection)
    assert await numbers(system.redis()) == [2, 1]
    assert await ids(system.redis()) == ["1-1", "1-2"]


async def test_more_than_a_batch_is_published_turn_by_turn(
    system: System, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relays, "BATCH", 3)
    await record(rows, *range(10))
    await publish(system)
    assert await numbers(system.redis()) == list(range(10))


async def test_a_relay_that_died_after_numbering_is_followed_without_gap_or_double(
    system: System, rows: Any
) -> None:
    await record(rows, 1, 2)
    async with turning(system) as (_, connection):
        assert await relays.number(connection, 100) == 2
    await record(rows, 3)
    await publish(system)
    assert await numbers(system.redis()) == [1, 2, 3]


async def test_a_relay_that_died_after_appending_is_followed_without_gap_or_double(
    system: System, rows: Any
) -> None:
    await record(rows, 1, 2)
    await publish(system)
    await record(rows, 3)
    await publish(system)
    await publish(system)
    assert await ids(system.redis()) == ["1-1", "1-2", "1-3"]
    assert await numbers(system.redis()) == [1, 2, 3]


async def test_an_emptied_redis_is_filled_again_by_the_running_relay(system: System, rows: Any) -> None:
    redis = system.redis()
    await record(rows, 1, 2)
    async with turning(system) as (relay, connection):
        await relay.turn(connection)
        before = event_ids(await stream(redis))
        await redis.flushall()
        await record(rows, 3)
        while await relay.turn(connection):
            pass
    assert await ids(redis) == ["1-1", "1-2", "1-3"]
    assert event_ids(await stream(redis))[:2] == before


async def test_an_idle_relay_fills_an_emptied_redis_with_the_next_event(system: System, rows: Any) -> None:
    redis = system.redis()
    async with system.part("relay"):
        await record(rows, 1)
        await until(lambda: redis.xlen(STREAM))
        await redis.flushall()
        await record(rows, 2)

        async def both() -> bool:
            return await numbers(redis) == [1, 2]

        await until(both)


async def test_a_lost_tail_is_published_again(system: System, rows: Any) -> None:
    redis = system.redis()
    await record(rows, 1, 2, 3)
    async with turning(system) as (relay, connection):
        await relay.turn(connection)
        first = (await redis.xrange(STREAM, count=1))[0]
        await redis.delete(STREAM)
        await redis.xadd(STREAM, first[1], id=first[0])
        await record(rows, 4)
        while await relay.turn(connection):
            pass
    assert await numbers(redis) == [1, 2, 3, 4]
    assert await ids(redis) == ["1-1", "1-2", "1-3", "1-4"]


async def test_a_restored_database_publishes_under_a_new_epoch(system: System, rows: Any) -> None:
    redis = system.redis()
    await record(rows, 1, 2, 3)
    await publish(system)
    # The backup had two of them.
    await rows.execute("delete from events.outbox where position > 2")
    await rows.execute("update events.relay set position = 2")
    await record(rows, 4)
    await publish(system)
    assert await ids(redis) == ["1-1", "1-2", "1-3", "2-3"]
    assert await numbers(redis) == [1, 2, 3, 4]


async def test_a_restored_database_and_a_lost_tail_leave_no_gap(system: System, rows: Any) -> None:
    redis = system.redis()
    await record(rows, 1, 2, 3)
    await publish(system)
    first = (await redis.xrange(STREAM, count=1))[0]
    await rows.execute("delete from events.outbox where position > 2")
    await rows.execute("update events.relay set position = 2")
    async with turning(system) as (_, connection):
        await relays.agree(connection, Position(1, 3))
    await redis.delete(STREAM)
    await redis.xadd(STREAM, first[1], id=first[0])
    await record(rows, 4)
    await publish(system)
    assert await numbers(redis) == [1, 2, 4]


async def test_one_of_two_relays_is_active_and_the_other_takes_over(
    system: System, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "POLL_SECONDS", 0.05)
    redis = system.redis()

    async def published(count: int) -> bool:
        return bool(await redis.xlen(STREAM) == count)

    async with system.part("relay"):
        await record(rows, 1)
        await until(lambda: published(1))
        second = system.part("relay")
        await second.__aenter__()
        await record(rows, 2)
        await until(lambda: published(2))
        assert await _lease_holders(rows) == 1
    try:
        await record(rows, 3)
        await until(lambda: published(3))
    finally:
        await second.__aexit__(None, None, None)
    assert await numbers(redis) == [1, 2, 3]


async def test_a_relay_that_lost_its_lease_appends_nothing_twice(system: System, rows: Any) -> None:
    """Both believe that they are alone: the append that names a stale last id does nothing."""
    await record(rows, 1)
    async with turning(system) as (one, connection), turning(system) as (other, others):
        await one.turn(connection)
        await other.turn(others)
        await record(rows, 2)
        await one.turn(connection)
        await record(rows, 3)
        while await other.turn(others) or await one.turn(connection):
            pass
    assert await numbers(system.redis()) == [1, 2, 3]


async def test_an_append_that_expects_another_last_id_is_refused(system: System) -> None:
    events = EventStream(system.redis())
    nothing, first = Position(0, 0), Position(1, 1)
    assert await events.append(nothing, [(first, b"{}")]) == (first, True)
    assert await events.append(nothing, [(Position(1, 2), b"{}")]) == (first, False)
    assert await events.append(Position(1, 7), [(Position(1, 8), b"{}")]) == (first, False)
    assert await ids(system.redis()) == ["1-1"]


async def test_old_events_are_purged_once_they_are_published(system: System, rows: Any) -> None:
    await record(rows, 1, 2)
    await publish(system)
    await record(rows, 3)
    await rows.execute("update events.outbox set occurred_at = now() - interval '8 days' where version <> 2")
    async with turning(system) as (_, connection):
        await relays.purge(connection)
    left = await rows.fetch("select version from events.outbox order by id")
    assert [row["version"] for row in left] == [2, 3]


@pytest.mark.parametrize("noun", ["auth", "tickets", "orders", "payments"])
async def test_a_noun_appends_events_of_its_own_only(system: System, noun: str) -> None:
    connection = await system.connect(noun)
    own = {"auth": "user.registered", "tickets": "ticket.listed", "orders": "order.created"}
    mine = own.get(noun, "payment.started")
    await connection.execute("select events.append($1, gen_random_uuid(), 1, '{}', null)", mine)
    for foreign in {*own.values(), "payment.started"} - {mine}:
        with pytest.raises(Exception, match="may not append"):
            await connection.execute("select events.append($1, gen_random_uuid(), 1, '{}', null)", foreign)


async def _lease_holders(rows: Any) -> int:
    held: int = await rows.fetchval(
        "select count(*) from pg_locks where locktype = 'advisory' and objid = $1 and granted "
        "and database = (select oid from pg_database where datname = current_database())",
        relays.LEASE,
    )
    return held
