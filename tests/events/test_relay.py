"""The relay publishes each committed event once and in order, through crashes and lost data of
Redis.
"""

import asyncio
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from backend.events import queries
from backend.events import relay as relays
from backend.events.stream import STREAM, EntryId, EventStream
from backend.kernel import database
from backend.kernel import lease as leases
from tests.events.log import event_ids, ids, numbers, publish, record, stream, turning
from tests.system import System, until


@pytest.fixture
async def rows(system: System) -> Any:
    """A connection as the database's owner."""
    return await system.connect()


async def test_events_are_published_in_order_under_epoch_and_position(
    system: System, rows: Any
) -> None:
    await record(rows, 1, 2, 3)
    await publish(system)
    assert await ids(system.redis()) == ["1-1", "1-2", "1-3"]
    events = await stream(system.redis())
    written = await rows.fetch("select event_id, occurred_at from events.outbox order by id")
    assert event_ids(events) == [row["event_id"] for row in written]
    assert [event.envelope.occurred_at for event in events] == [
        row["occurred_at"] for row in written
    ]
    assert [bytes(event.envelope.data) for event in events] == [b'{"n":%d}' % n for n in (1, 2, 3)]


async def test_a_rolled_back_event_is_never_published_and_leaves_no_gap(
    system: System, rows: Any
) -> None:
    transaction = rows.transaction()
    await transaction.start()
    await record(rows, 1)
    await transaction.rollback()
    await record(rows, 2)
    await publish(system)
    assert await numbers(system.redis()) == [2]
    assert await ids(system.redis()) == ["1-1"]


async def test_a_slow_transaction_delays_no_other_and_is_not_lost(
    system: System, rows: Any
) -> None:
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


async def test_a_crash_after_assigning_positions_leaves_no_gap_or_duplicate(
    system: System, rows: Any
) -> None:
    await record(rows, 1, 2)
    async with turning(system) as (_, connection):
        assert len(await queries.assign_positions(connection, 100)) == 2
    await record(rows, 3)
    await publish(system)
    assert await numbers(system.redis()) == [1, 2, 3]


class Killed(BaseException):
    """Simulates the death of the process: no handler of Exception catches it."""


@pytest.mark.parametrize("after", ["assign_positions", "unpublished_rows", "reconcile", "append"])
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
async def test_a_crash_at_any_step_leaves_no_gap_or_duplicate(
    system: System, rows: Any, monkeypatch: pytest.MonkeyPatch, after: str, before: bool
) -> None:
    owners: dict[str, Any] = {"append": EventStream, "reconcile": relays}
    owner = owners.get(after, queries)
    step = getattr(owner, after)

    async def dies(*arguments: Any) -> Any:
        if not before:
            await step(*arguments)
        raise Killed

    await record(rows, 1, 2)
    await publish(system)
    await record(rows, 3, 4)
    async with turning(system) as (relay, connection):
        if after == "unpublished_rows":
            # Only a relay that finds rows with positions from another relay gets there.
            await queries.assign_positions(connection, 1)
        with monkeypatch.context() as crash:
            crash.setattr(owner, after, dies)
            with pytest.raises(Killed):
                await relay.turn(connection)
    await record(rows, 5)
    await publish(system)
    assert await numbers(system.redis()) == [1, 2, 3, 4, 5]
    assert await ids(system.redis()) == [f"1-{position}" for position in range(1, 6)]


@pytest.mark.parametrize("happened", [True, False], ids=["it was appended", "it was not"])
async def test_an_append_with_a_lost_reply_is_neither_repeated_nor_skipped(
    system: System, rows: Any, monkeypatch: pytest.MonkeyPatch, happened: bool
) -> None:
    """The same relay continues from its old state, while the rows have positions already."""
    append = EventStream.append

    async def lost(*arguments: Any) -> Any:
        if happened:
            await append(*arguments)
        raise RedisConnectionError

    async with turning(system) as (relay, connection):
        await record(rows, 1)
        await relay.turn(connection)
        await record(rows, 2)
        with monkeypatch.context() as cut:
            cut.setattr(EventStream, "append", lost)
            with pytest.raises(RedisConnectionError):
                await relay.turn(connection)
        await record(rows, 3)
        while await relay.turn(connection):
            pass
    assert await numbers(system.redis()) == [1, 2, 3]


async def test_rows_with_positions_from_another_relay_are_not_skipped(
    system: System, rows: Any
) -> None:
    async with turning(system) as (relay, connection), turning(system) as (_, rival):
        await record(rows, 1)
        await relay.turn(connection)
        await record(rows, 2)
        await queries.assign_positions(rival, 100)
        await record(rows, 3)
        while await relay.turn(connection):
            pass
    assert await numbers(system.redis()) == [1, 2, 3]


async def test_concurrent_relays_assign_each_row_one_position(system: System, rows: Any) -> None:
    await record(rows, *range(40))
    async with turning(system) as (_, one), turning(system) as (_, other):
        counts = await asyncio.gather(
            *(queries.assign_positions(connection, 100) for connection in (one, other))
        )
    assert sorted(len(count) for count in counts) == [0, 40]
    found = await rows.fetch("select position from events.outbox order by id")
    assert [row["position"] for row in found] == list(range(1, 41))
    assert await rows.fetchval("select position from events.relay") == 40


async def test_an_open_transaction_in_another_database_delays_nothing(
    system: System, rows: Any
) -> None:
    """A relay that waits for the oldest transaction of all databases would be delayed."""
    name = f"other_{uuid4().hex}"
    await rows.execute(f"create database {name}")
    other = await database.connect(
        system.settings.database_url.replace(_name(system), name), name="tests"
    )
    try:
        await other.execute("create table writes (n int)")
        transaction = other.transaction(isolation="repeatable_read")
        await transaction.start()
        await other.execute("insert into writes values (1)")
        async with system.part("relay"):
            for number in range(5):
                await record(rows, number)
                await until(lambda: _has(system, number))  # noqa: B023 - awaited here
        assert other.is_in_transaction()
    finally:
        await other.close()
        await rows.execute(f"drop database {name}")


async def test_an_open_transaction_with_events_delays_no_other(system: System, rows: Any) -> None:
    slow = await system.connect()
    transaction = slow.transaction(isolation="repeatable_read")
    await transaction.start()
    await record(slow, 99)
    async with system.part("relay"):
        for number in range(5):
            await record(rows, number)
            await until(lambda: _has(system, number))  # noqa: B023 - awaited here
        await transaction.commit()
        await until(lambda: _has(system, 99))
    assert await numbers(system.redis()) == [0, 1, 2, 3, 4, 99]


async def test_a_crash_after_appending_leaves_no_gap_or_duplicate(
    system: System, rows: Any
) -> None:
    await record(rows, 1, 2)
    await publish(system)
    await record(rows, 3)
    await publish(system)
    await publish(system)
    assert await ids(system.redis()) == ["1-1", "1-2", "1-3"]
    assert await numbers(system.redis()) == [1, 2, 3]


async def test_an_emptied_redis_is_filled_again_by_the_running_relay(
    system: System, rows: Any
) -> None:
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


async def test_an_idle_relay_fills_an_emptied_redis_without_a_new_event(
    system: System, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relays, "CHECK_SECONDS", 0.1)
    redis = system.redis()

    async def both() -> bool:
        return await numbers(redis) == [1, 2]

    async with system.part("relay"):
        await record(rows, 1, 2)
        await until(both)
        await redis.flushall()
        await until(both)


async def test_an_idle_relay_fills_an_emptied_redis_with_the_next_event(
    system: System, rows: Any
) -> None:
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
    # The backup has two of the three events.
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
        await relays.reconcile(connection, EntryId(1, 3))
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


async def test_a_relay_that_lost_its_lease_repeats_no_append(system: System, rows: Any) -> None:
    """Two relays are active at once: an append with a stale last id does nothing."""
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
    nothing, first = EntryId(0, 0), EntryId(1, 1)
    assert await events.append(nothing, [(first, b"{}")]) == (first, True)
    assert await events.append(nothing, [(EntryId(1, 2), b"{}")]) == (first, False)
    assert await events.append(EntryId(1, 7), [(EntryId(1, 8), b"{}")]) == (first, False)
    assert await ids(system.redis()) == ["1-1"]


@pytest.fixture(params=[True, False], ids=["every index", "the relay's own indexes"])
async def indexes(request: pytest.FixtureRequest, rows: Any) -> None:
    """Run the test with all indexes, and with only the two partial indexes that the relay needs."""
    if not request.param:
        await rows.execute("drop index if exists events.outbox_occurred_at")
        await rows.execute("alter table events.outbox drop constraint if exists outbox_pkey")


@pytest.mark.usefixtures("indexes")
async def test_assigning_and_purging_never_scan_the_whole_log(
    system: System, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "PURGE_BATCH", 10)
    await rows.execute(
        "insert into events.outbox (type, subject, version, data)"
        " select 'order.created', gen_random_uuid(), n, '{}' from generate_series(1, 20000) n"
    )
    await rows.execute("analyze events.outbox")
    await rows.execute("select pg_stat_force_next_flush()")
    scans = "select seq_scan from pg_stat_user_tables where relid = 'events.outbox'::regclass"
    before = await rows.fetchval(scans)
    async with turning(system) as (_, connection):
        while await queries.assign_positions(connection, 500):
            pass
        assert await queries.purge(connection, 20000) == 0
        old = "update events.outbox set occurred_at = now() - interval '8 days' where position < 26"
        await rows.execute(old)
        assert [await queries.purge(connection, 20000) for _ in range(4)] == [10, 10, 5, 0]
        await connection.execute("select pg_stat_force_next_flush()")
    assert await rows.fetchval(scans) == before
    found = await rows.fetch("select position, version from events.outbox order by position")
    assert [(row["position"], row["version"]) for row in found] == [
        (n, n) for n in range(26, 20001)
    ]


async def test_unpublished_events_are_not_purged_however_old(system: System, rows: Any) -> None:
    await record(rows, 1, 2)
    await publish(system)
    await system.redis().flushall()
    await rows.execute("update events.outbox set occurred_at = now() - interval '8 days'")
    await record(rows, 3)
    async with turning(system) as (relay, connection):
        assert not await relay._trim_and_purge(connection)
        while await relay.turn(connection):
            pass
        assert await numbers(system.redis()) == [1, 2, 3]
        await relay._trim_and_purge(connection)
    left = await rows.fetch("select version from events.outbox order by id")
    assert [row["version"] for row in left] == [3]


async def test_old_events_are_purged_once_they_are_published(system: System, rows: Any) -> None:
    await record(rows, 1, 2)
    await publish(system)
    await record(rows, 3)
    await rows.execute(
        "update events.outbox set occurred_at = now() - interval '8 days' where version <> 2"
    )
    async with turning(system) as (_, connection):
        assert await queries.purge(connection, 2) == 1
    left = await rows.fetch("select version from events.outbox order by id")
    assert [row["version"] for row in left] == [2, 3]


@pytest.mark.parametrize("noun", ["auth", "tickets", "orders", "payments"])
async def test_a_noun_appends_events_of_its_own_only(system: System, noun: str) -> None:
    connection = await system.connect(noun)
    own = {"auth": "user.registered", "tickets": "ticket.listed", "orders": "order.created"}
    mine = own.get(noun, "payment.started")
    await connection.execute("select events.append($1, gen_random_uuid(), 1, '{}')", mine)
    for foreign in {*own.values(), "payment.started"} - {mine}:
        with pytest.raises(Exception, match="may not append"):
            await connection.execute(
                "select events.append($1, gen_random_uuid(), 1, '{}')", foreign
            )


async def _lease_holders(rows: Any) -> int:
    held: int = await rows.fetchval(
        "select count(*) from pg_locks where locktype = 'advisory' and objid = $1 and granted "
        "and database = (select oid from pg_database where datname = current_database())",
        relays.LEASE,
    )
    return held


async def _has(system: System, number: int) -> bool:
    return number in await numbers(system.redis())


def _name(system: System) -> str:
    return urlsplit(system.settings.database_url).path[1:]
