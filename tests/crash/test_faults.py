"""Regression tests of faults that the searches found."""

import asyncio
from collections import Counter
from uuid import UUID, uuid4

from backend.events.resources import Resources
from backend.kernel import database
from backend.payments import queries
from backend.payments.payment_flow import PaymentFlow
from backend.payments.provider import Intent
from tests import factories
from tests.fork_server import ForkServer
from tests.payments.shop import open_shop, worker_context
from tests.races.cluster import open_cluster, outcome
from tests.races.test_races import IN_FLIGHT, REQUESTS, many_payments
from tests.system import System, until
from workers.notifier import entry_id_of


async def test_a_concurrent_payment_with_the_same_key_is_in_flight(
    system: System, fork_server: ForkServer
) -> None:
    """A second request with the same key must not get `payment_in_progress`.

    In `payments.insert` the index of one open attempt is checked before the index of the key.
    """
    async with open_cluster(system, fork_server) as cluster:
        for _ in range(5):
            _, replies = await many_payments(cluster, [str(uuid4())] * REQUESTS)
            assert Counter(map(outcome, replies)).keys() <= {201, IN_FLIGHT}


async def test_a_restarted_notifier_saves_an_unsaved_position(
    system: System,
) -> None:
    """A notifier published, and died before it saved its position in Postgres.

    It must save that position at once. Otherwise, until the next event, an emptied Redis would
    repeat all notices since.
    """
    await system.start("api", "relay")
    rows = await system.connect()
    recorded = (
        "select (select count(*) from events.outbox), (select n.position from push.notifier n)"
    )
    async with system.part("worker"):
        await factories.ticket(system.person("seller"))

        async def all_recorded() -> bool:
            written, notified = await rows.fetchrow(recorded)
            return bool(entry_id_of(notified).position == written)

        await until(all_recorded)
    # Reset the position, as if it was never saved.
    await rows.execute("update push.notifier set position = 0")
    async with system.part("worker"):
        await until(all_recorded)


async def test_a_stale_read_of_a_failed_attempt_leaves_it_failed(system: System) -> None:
    """After the reconciler reads an attempt, it fails, and the next attempt pays its intent.

    `_settle` must be refused without moving the failed attempt to `authorised`. There it would stay
    forever: each later reconciliation finds the intent captured for another attempt and skips it,
    and `gittix check` reports it.
    """
    async with open_shop(system) as shop:
        await system.start("stripe", "api")
        await shop.stripe.faults(webhooks={"paused": True})
        order = await shop.order()
        await shop.stripe.faults(match="/confirm", fail_next=2)
        assert (await shop.pay(order)).json()["status"] == "started"
        async with worker_context(system) as context:
            payment_flow: PaymentFlow = context["payment_flow"]
            stores: Resources = context["payments"]
            async with database.connection(stores.pool) as connection:
                first = await queries.current_attempt(connection, UUID(order["id"]))
            assert first is not None
            await shop.stripe.faults(match="/capture", fail_next=0, latency_ms=300)
            retrieve = payment_flow._provider.retrieve

            async def slow(intent_id: str) -> Intent:
                # By setattr, since mypy rejects an assignment to a method.
                setattr(payment_flow._provider, "retrieve", retrieve)  # noqa: B010
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
