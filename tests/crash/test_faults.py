"""Faults that the searches came upon, each by itself."""

import asyncio
from collections import Counter
from uuid import UUID, uuid4

from backend.events.resources import Resources
from backend.kernel import database
from backend.payments import queries
from backend.payments.payment_flow import PaymentFlow
from backend.payments.provider import Intent
from tests import factories
from tests.crash.nursery import Nursery
from tests.payments import shop as shops
from tests.races.arena import opened, outcome
from tests.races.test_races import IN_FLIGHT, REQUESTS, many_payments
from tests.system import System, until
from workers.notifier import log_position_of


async def test_a_payment_in_flight_is_told_as_its_own_keys(
    system: System, nursery: Nursery
) -> None:
    """Two at once under one key: the second is told `payment_in_progress`, without Retry-After, as by a stranger.

    In `payments.insert` the index of one open attempt is asked before the one of the key.
    """
    async with opened(system, nursery) as arena:
        for _ in range(5):
            _, replies = await many_payments(arena, [str(uuid4())] * REQUESTS)
            assert Counter(map(outcome, replies)).keys() <= {201, IN_FLIGHT}


async def test_a_notifier_that_died_before_it_recorded_records_when_it_comes_back(
    system: System,
) -> None:
    """It told, and died before Postgres knew. The next one goes on from Redis's word and leaves Postgres behind.

    Until the next event, an emptied Redis brings users all notices since then again.
    """
    await system.start("api", "relay")
    rows = await system.connect()
    recorded = (
        "select (select count(*) from events.outbox), (select n.position from push.notifier n)"
    )
    async with system.part("worker"):
        await factories.ticket(system.person("seller"))

        async def all_recorded() -> bool:
            written, told = await rows.fetchrow(recorded)
            return bool(log_position_of(told).position == written)

        await until(all_recorded)
    # As it was before.
    await rows.execute("update push.notifier set position = 0")
    async with system.part("worker"):
        await until(all_recorded)


async def test_a_stale_look_at_a_failed_attempt_leaves_it_failed(system: System) -> None:
    """The reconciler reads an attempt, somebody fails it, and the next attempt pays on the same intent meanwhile.

    `_settle` is refused, as it must be; but it moves the failed attempt to `authorised`, where it stays for ever: each
    later look finds the intent captured for another attempt and leaves it there, and `gittix check` reports it.
    """
    async with shops.opened(system) as shop:
        await system.start("stripe", "api")
        await shop.stripe.faults(webhooks={"paused": True})
        order = await shop.order()
        await shop.stripe.faults(match="/confirm", fail_next=2)
        assert (await shop.pay(order)).json()["status"] == "started"
        async with shops.worker_context(system) as context:
            payment_flow: PaymentFlow = context["payment_flow"]
            stores: Resources = context["payments"]
            async with database.connection(stores.pool) as connection:
                first = await queries.current_attempt(connection, UUID(order["id"]))
            assert first is not None
            await shop.stripe.faults(match="/capture", fail_next=0, latency_ms=300)
            retrieve = payment_flow._provider.retrieve

            async def slow(intent_id: str) -> Intent:
                setattr(payment_flow._provider, "retrieve", retrieve)  # noqa: B010 - mypy takes no assignment to a method
                assert (await payment_flow.resume(first, abandoned=True)).payment.status == "failed"
                paying = asyncio.create_task(shop.pay(order))
                await until(lambda: shop.stripe.is_intent(order["id"], "requires_capture"))
                found = await retrieve(intent_id)
                assert (await paying).json()["status"] == "captured"
                return found

            setattr(payment_flow._provider, "retrieve", slow)  # noqa: B010
            await payment_flow.resume(first, abandoned=True)
        assert await shop.attempts(order) == ["failed", "captured"]
        await shop.assert_paid_once(order)
