"""The stream is trimmed only up to the progress of every reader."""

from math import isnan

from prometheus_client import REGISTRY

from backend.events.metrics import reset_gauges, update_gauges
from backend.events.stream import START, STREAM, EntryId, EventStream, add_dead_letter
from tests.events.log import ids
from tests.system import System

# Redis trims whole nodes of a hundred entries.
COUNT = 450


async def _filled(system: System) -> EventStream:
    events = EventStream(system.redis())
    entries = [(EntryId(1, number), b"{}") for number in range(1, COUNT + 1)]
    assert (await events.append(START, entries))[1]
    return events


async def test_the_last_id_survives_trimming_all_entries(system: System) -> None:
    events = await _filled(system)
    assert await events.last() == EntryId(1, COUNT)
    await system.redis().xtrim(STREAM, maxlen=0)
    assert await events.last() == EntryId(1, COUNT)
    await system.redis().delete(STREAM)
    assert await events.last() == START


async def test_nothing_is_trimmed_before_the_notifier_recorded_its_progress(system: System) -> None:
    events = await _filled(system)
    redis = system.redis()
    await redis.xgroup_create(STREAM, "expiration", id="$")
    assert await events.trim(0) == 0
    await events.report_progress("notifier", EntryId(1, COUNT))
    assert await events.trim(0) > 0


async def test_trimming_stops_at_the_notifier(system: System) -> None:
    events = await _filled(system)
    await events.report_progress("notifier", EntryId(1, 250))
    assert await events.trim(0) > 0
    left = await ids(system.redis())
    assert "1-250" in left
    assert left[-1] == f"1-{COUNT}"


async def test_trimming_stops_at_a_groups_oldest_pending_entry(system: System) -> None:
    events = await _filled(system)
    redis = system.redis()
    await events.report_progress("notifier", EntryId(1, COUNT))
    await redis.xgroup_create(STREAM, "payments", id="1-149")
    pending = await redis.xreadgroup("payments", "member", {STREAM: ">"}, count=COUNT)
    # All entries except 1-150 are acknowledged.
    await redis.xack(STREAM, "payments", *[entry_id for entry_id, _ in pending[0][1][1:]])
    assert await events.trim(0) > 0
    assert "1-150" in await ids(redis)


async def test_trimming_stops_at_a_group_that_has_not_read(system: System) -> None:
    events = await _filled(system)
    await events.report_progress("notifier", EntryId(1, COUNT))
    await system.redis().xgroup_create(STREAM, "payments", id="0")
    assert await events.trim(0) == 0


async def test_the_newest_entries_are_kept(system: System) -> None:
    events = await _filled(system)
    await events.report_progress("notifier", EntryId(1, COUNT))
    assert await events.trim(COUNT) == 0
    await events.trim(200)
    assert len(await ids(system.redis())) >= 200


async def test_an_absent_stream_is_not_trimmed(system: System) -> None:
    assert await EventStream(system.redis()).trim(0) == 0


async def test_the_lag_of_readers_is_exported(system: System) -> None:
    events = await _filled(system)
    redis = system.redis()
    await events.report_progress("notifier", EntryId(1, 250))
    await redis.xgroup_create(STREAM, "payments", id="0")
    await redis.xreadgroup("payments", "member", {STREAM: ">"}, count=100)
    await add_dead_letter(redis, "payments", b"1-1", {}, "no reason")
    await update_gauges(events, redis)
    lag = [
        REGISTRY.get_sample_value("gittix_stream_lag_events", {"reader": reader})
        for reader in ("notifier", "payments")
    ]
    assert lag == [200, 350]
    assert REGISTRY.get_sample_value("gittix_stream_pending", {"consumer": "payments"}) == 100
    assert REGISTRY.get_sample_value("gittix_dead_letters") == 1
    assert REGISTRY.get_sample_value("gittix_stream_length") == COUNT
    assert (REGISTRY.get_sample_value("gittix_redis_memory_used_bytes") or 0) > 0


async def test_a_standby_relay_exports_no_gauges(system: System) -> None:
    await update_gauges(await _filled(system), system.redis())
    reset_gauges()
    assert isnan(REGISTRY.get_sample_value("gittix_stream_length") or 0.0)
    assert REGISTRY.get_sample_value("gittix_stream_lag_events", {"reader": "notifier"}) is None
