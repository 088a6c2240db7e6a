"""Unpaid holds expire on time, with or without an alarm; a stale alarm never ends another hold."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import asyncpg
import msgspec
import pytest
from msgspec.structs import replace

from backend.events.catalogue import Event, decode_data
from backend.events.resources import open_resources
from backend.kernel import correlation
from backend.kernel.jobs import QUEUE, open_jobs
from tests import factories
from tests.events.log import stream
from tests.factories import Json
from tests.system import System, until
from workers import expiration

HELD = "select count(*) from tickets.tickets where status = 'held'"


@pytest.fixture
async def short(system: System) -> System:
    """A system with an API and holds of one second."""
    system.configure(HOLD_SECONDS="1", PAYMENT_GRACE_SECONDS="1")
    return await system.start("api")


async def published(system: System, type: str, subject: str | None = None) -> Event | None:
    """The first event of this type, and of this subject if given."""
    for event in await stream(system.redis()):
        if event.type == type and subject in {None, str(event.envelope.subject)}:
            return event
    return None


async def expire_due(system: System) -> int:
    async with open_resources(system.settings, "orders") as stores:
        with correlation.bound():
            return await expiration.expire_due({"expiry": expiration.Expiry(stores)}, 1)


async def make_all_overdue(rows: Any) -> None:
    await rows.execute(
        "update tickets.tickets set held_until = now() - interval '1 ms' where status = 'held'"
    )
    await rows.execute(
        "update orders.orders set expires_at = now() - interval '1 ms' where status = 'pending'"
    )


async def test_an_unpaid_hold_is_released_and_published_within_a_second(short: System) -> None:
    await short.start("relay", "worker")
    late: list[float] = []
    # The quickest of three: other tests may load the machine.
    for _ in range(3):
        order = await _held(short)
        events = [
            await until(partial(published, short, "ticket.released", order["tickets"][0]["id"])),
            await until(partial(published, short, "order.expired", order["id"])),
        ]
        end = datetime.fromisoformat(order["expires_at"])
        assert all(event.envelope.occurred_at >= end for event in events)
        late.append((datetime.now(UTC) - end).total_seconds())
        if late[-1] < 1:
            break
    assert min(late) < 1, late


async def test_the_alarm_is_set_for_the_holds_end(short: System) -> None:
    # No worker runs, so no due job is executed.
    jobs = open_jobs(short.settings.redis_url, name="tests-jobs")
    try:
        alarms = expiration.Alarms(jobs)
        await short.start("relay")
        order = await _held(short)
        created: Event = await until(lambda: published(short, "order.created"))
        rows = await short.connect()
        with correlation.bound():
            await alarms.handle(rows, created)
            await alarms.handle(rows, created)
        ((name, at),) = await jobs.zrange(QUEUE, 0, -1, withscores=True)
    finally:
        await jobs.aclose()
    end = datetime.fromisoformat(order["expires_at"]).timestamp()
    assert 0 <= at / 1000 - end < 0.11
    assert name.startswith(b"expire_due:")


async def test_an_alarm_is_set_once_per_bucket_and_remembered_buckets_are_bounded(
    system: System,
) -> None:
    await system.start("api", "relay")
    await _held(system)
    event: Event = await until(lambda: published(system, "order.created"))
    order = decode_data(event)
    rows = await system.connect()
    jobs = open_jobs(system.settings.redis_url, name="tests-jobs")
    try:
        alarms = expiration.Alarms(jobs)

        async def ending_in(seconds: int) -> None:
            ends = datetime.fromisoformat(order["expires_at"]) + timedelta(seconds=seconds)
            data = msgspec.Raw(msgspec.json.encode(order | {"expires_at": ends}))
            with correlation.bound():
                await alarms.handle(
                    rows, replace(event, envelope=replace(event.envelope, data=data))
                )

        await ending_in(0)
        await jobs.flushall()
        await ending_in(0)
        assert await jobs.zcard(QUEUE) == 0
        for seconds in range(1, expiration.BUCKETS_KNOWN + 1):
            await ending_in(seconds)
        # The first bucket is no longer remembered, so its alarm is set again.
        await ending_in(0)
        assert await jobs.zcard(QUEUE) == expiration.BUCKETS_KNOWN + 1
        assert len(alarms._known) == expiration.BUCKETS_KNOWN
    finally:
        await jobs.aclose()


async def test_the_sweep_expires_a_hold_without_an_alarm(short: System) -> None:
    await short.start("relay", "worker")
    order = await _held(short)
    redis = short.redis()
    await until(lambda: redis.zcard(QUEUE))

    async def without_alarms() -> bool:
        for name in await redis.zrange(QUEUE, 0, -1):
            if name.startswith(b"expire_due"):
                await redis.zrem(QUEUE, name)
                await redis.delete(b"arq:job:" + name)
        return (await published(short, "order.expired")) is not None

    await until(without_alarms)
    assert await _ticket_status(short, order) == "available"


async def test_a_repeated_alarm_changes_nothing(system: System) -> None:
    await system.start("api")
    order = await _held(system)
    rows = await system.connect()
    await make_all_overdue(rows)
    assert await expire_due(system) == 1
    before = await _everything(rows)
    assert await expire_due(system) == 0
    assert await _everything(rows) == before
    assert (await system.events(rows)).count(("order.expired", order["id"])) == 1


async def test_a_stale_alarm_leaves_the_next_owners_hold(system: System) -> None:
    await system.start("api")
    first = await _held(system)
    ticket_id = first["tickets"][0]["id"]
    rows = await system.connect()
    await make_all_overdue(rows)
    second = await factories.order(system.person("second"), ticket_id)
    before = await _everything(rows)
    assert await expire_due(system) == 0
    orders = await system.connect("orders")
    # A release for the first order that arrives late.
    stale = "select tickets.release($1::text::uuid, array[$2::text::uuid])"
    assert await orders.fetchval(stale, first["id"], ticket_id) == 0
    assert await _everything(rows) == before
    holder = await rows.fetchval("select order_id::text from tickets.tickets")
    assert holder == second["id"]


async def test_an_alarm_before_the_end_of_an_extended_hold_changes_nothing(
    system: System,
) -> None:
    system.configure(HOLD_SECONDS="1", PAYMENT_GRACE_SECONDS="30")
    await system.start("api", "stripe")
    seller, buyer = system.person("seller"), system.person("buyer")
    order = await factories.order(buyer, (await factories.ticket(seller))["id"])
    await factories.payment(buyer, order["id"], "pm_card_authenticationRequired")
    await asyncio.sleep(order["seconds_left"] + 0.05)
    assert await expire_due(system) == 0
    assert await _ticket_status(system, order) == "held"


async def test_many_holds_that_end_together_expire_in_batches(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiration, "BATCH", 3)
    system.configure(MAX_OPEN_ORDERS="10")
    await system.start("api")
    seller, buyer = system.person("seller"), system.person("buyer")
    show = await factories.show(seller)
    for _ in range(8):
        await factories.order(buyer, (await factories.ticket(seller, show["id"]))["id"])
    rows = await system.connect()
    await make_all_overdue(rows)
    assert await expire_due(system) == 8
    assert (
        await rows.fetchval("select count(*) from tickets.tickets where status = 'available'") == 8
    )


async def test_an_order_that_cannot_expire_does_not_keep_others_held(
    system: System,
) -> None:
    await system.start("api")
    broken, *_others = [await _held(system) for _ in range(3)]
    rows = await system.connect()
    await make_all_overdue(rows)
    await rows.execute(
        f"""
        create function pg_temp.fail() returns trigger language plpgsql
            as 'begin raise data_corrupted; end';
        create trigger fail before update on orders.orders for each row
            when (old.id = '{broken["id"]}') execute function pg_temp.fail()
        """
    )
    # One batch has all three, so its error keeps each of them.
    with pytest.raises(asyncpg.DataCorruptedError):
        await rows.fetchval(
            "select orders.expire_due(3) from events.bind_correlation(gen_random_uuid())"
        )
    async with open_resources(system.settings, "orders") as stores:
        now = 0.0
        expiry = expiration.Expiry(stores, clock=lambda: now)
        with correlation.bound():
            assert await expiry.run() == 2
            # It is excluded now, so the next run meets no error.
            assert await expiry.run() == 0
            assert await rows.fetchval(HELD) == 1
            await rows.execute("drop trigger fail on orders.orders")
            assert await expiry.run() == 0
            now = expiration.EXCLUDED_SECONDS
            assert await expiry.run() == 1
    assert await rows.fetchval(HELD) == 0


async def _held(system: System) -> Json:
    seller, buyer = system.person("seller"), system.person("buyer")
    return await factories.order(buyer, (await factories.ticket(seller))["id"])


async def _ticket_status(system: System, order: Json) -> str:
    reply = await system.anonymous().get(f"/api/tickets/{order['tickets'][0]['id']}")
    status: str = reply.json()["status"]
    return status


async def _everything(rows: Any) -> list[Any]:
    return [
        *await rows.fetch(
            "select id, status, order_id, held_until, version from tickets.tickets order by id"
        ),
        *await rows.fetch("select id, status, version from orders.orders order by id"),
        *await rows.fetch("select id from events.outbox order by id"),
    ]
