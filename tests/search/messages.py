"""Messages between the parts: the search delivers them once, again, late, or in any order.

These are Stripe's webhooks, the event stream and arq's jobs, and the runs of the reconciler, which
finds payments after a lost message.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

import pytest

import workers.payments
from backend.events.stream import STREAM
from backend.kernel.jobs import QUEUE
from backend.payments import queries, refund_queries
from backend.payments.webhooks import REFUND_EVENTS
from tests.factories import Json
from tests.search import refunds
from tests.search.entities import Order
from tests.search.model import Model, winners_first
from tests.search.running_system import RunningSystem
from workers import expiration

# Prefixes of the ids of arq's jobs.
WEBHOOK, ABANDON, ALARM = "webhook", workers.payments.ABANDON, expiration.EXPIRE_DUE
# Delays of the reconciler.
NONE, FOR_NOW = timedelta(0), timedelta(days=1)


class Webhook(NamedTuple):
    """A delivered webhook: its order and the type of its event."""

    order: Order
    type: str


class Messages:
    """`intents` maps the id of each of Stripe's intents to its order."""

    def __init__(self, running: RunningSystem, model: Model, intents: dict[str, Order]) -> None:
        self._running = running
        self._model = model
        self._intents = intents
        self._delivered: dict[str, Webhook] = {}
        self._handled: set[str] = set()
        self._ends_published: dict[Order, int] = {}
        self._to_abandon: set[Order] = set()
        self._stream_start = "-"

    async def open(self) -> None:
        """Empty the queue and the stream of the messages of earlier examples."""
        await self._running.orders.redis.delete(QUEUE)
        newest = await self._running.orders.redis.xrevrange(STREAM, count=1)
        if newest:
            self._stream_start = f"({newest[0][0].decode()}"

    async def deliver_webhooks(self, picks: Sequence[int]) -> None:
        """Deliver these events of Stripe, new or old, in this order; their jobs are queued."""
        events = await self._stripe_events()
        for pick in picks if events else ():
            await self._deliver(events[-1 - pick % len(events)])

    async def deliver_all_webhooks(self) -> None:
        for event in await self._stripe_events():
            await self._deliver(event)

    async def publish(self) -> None:
        while await self._running.relay.turn(self._running.relay_connection):
            pass

    async def consume_events(self) -> None:
        """Publish the committed events. The consumers handle the new ones, then all once more."""
        await self.publish()
        for consumer in self._running.consumers:
            await consumer._ensure_groups()
            while await consumer._read({STREAM: ">"}, block=None):
                pass
            entries = await self._running.orders.redis.xrange(STREAM, min=self._stream_start)
            for _ in range(2):
                assert await consumer.handle(entries) == 0
        orders = self._model.orders
        self._to_abandon |= {
            order for order in orders if order.ends > self._ends_published.get(order, 0)
        }
        self._ends_published |= {order: order.ends for order in orders}
        waiting = {name for name in await self.jobs() if name.startswith(ABANDON)}
        assert waiting == {f"{ABANDON}:{order.id}" for order in self._to_abandon}

    async def jobs(self) -> list[str]:
        """The jobs on the queue, without the alarms of holds that are far from their end."""
        names = [name.decode() for name in await self._running.orders.redis.zrange(QUEUE, 0, -1)]
        return sorted(name for name in names if not name.startswith(ALARM))

    async def run_job(self, name: str, *, times: int = 1) -> None:
        """Run a job as arq does, which may run it twice."""
        await self._running.orders.redis.zrem(QUEUE, name)
        await self._running.orders.redis.delete(f"arq:job:{name}")
        kind, _, subject = name.partition(":")
        for _ in range(times):
            if kind == ABANDON:
                await self._abandon(self._model.order(subject))
            else:
                assert kind == WEBHOOK
                await self._handle_webhook(subject)

    async def run_all_jobs(self) -> None:
        await self.consume_events()
        for job in await self.jobs():
            await self.run_job(job)

    async def reconcile(self) -> None:
        """Run the reconciler as if every payment had been idle for long enough.

        Refunds run separately, because a late payment may take the tickets that they release.
        """
        still = self._model.unresolved()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(workers.payments, "STALLED_AFTER", queries.StallTimes(*3 * [NONE]))
            patch.setattr(
                workers.payments, "REFUND_STALLED_AFTER", refund_queries.StallTimes(*2 * [FOR_NOW])
            )
            await workers.payments.reconcile_payments(self._running.jobs)
        won = await self._captured(still)
        for order in winners_first(still, won):
            status = order.attempt.status if order.attempt else ""
            self._model.resume(order, abandoned=status == "started" or order.hold_ended)

    async def reconcile_refunds(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(workers.payments, "STALLED_AFTER", queries.StallTimes(*3 * [FOR_NOW]))
            patch.setattr(
                workers.payments, "REFUND_STALLED_AFTER", refund_queries.StallTimes(*2 * [NONE])
            )
            await workers.payments.reconcile_payments(self._running.jobs)
        for order, refund in self._model.refunding():
            refunds.resume(order, refund)

    async def _stripe_events(self) -> list[Json]:
        return [
            event
            for event in await self._running.shop.stripe.events()
            if _intent_of(event) in self._intents
        ]

    async def _deliver(self, event: Json) -> None:
        reply = await self._running.shop.deliver(event)
        assert reply.status_code == 200, reply.text
        self._delivered[event["id"]] = Webhook(self._intents[_intent_of(event)], event["type"])

    async def _abandon(self, order: Order) -> None:
        await workers.payments.abandon_payment(self._running.jobs, order.id)
        self._model.abandon(order)
        self._to_abandon.discard(order)

    async def _handle_webhook(self, event_id: str) -> None:
        await workers.payments.handle_webhook(self._running.jobs, event_id)
        if event_id not in self._handled:
            self._handled.add(event_id)
            order, kind = self._delivered[event_id]
            self._model.handle_webhook(order, of_refund=kind in REFUND_EVENTS)

    async def _captured(self, orders: Sequence[Order]) -> set[str]:
        rows = await self._running.shop.rows.fetch(
            "select order_id::text from payments.payments "
            "where status = 'captured' and order_id = any ($1)",
            [UUID(order.id) for order in orders],
        )
        return {row["order_id"] for row in rows}


def _intent_of(event: Json) -> str:
    subject = event["data"]["object"]
    return (
        subject["id"]
        if subject["object"] == "payment_intent"
        else subject.get("payment_intent") or ""
    )
