"""Messages between the parts, which wait until the search lets them arrive: once, again, late, in any order.

Stripe's webhooks, the event stream, arq's jobs; and the reconciler, which finds what no message told.
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
from tests.search.stage import Stage
from workers import expiration

# What the ids of arq's jobs begin with.
WEBHOOK, ABANDON, ALARM = "webhook", workers.payments.ABANDON, expiration.EXPIRE_DUE
# How long the reconciler waits.
NONE, FOR_NOW = timedelta(0), timedelta(days=1)


class Told(NamedTuple):
    """What a webhook is about."""

    order: Order
    type: str


class Messages:
    """`intents`: whose order each of Stripe's intents is."""

    def __init__(self, on: Stage, model: Model, intents: dict[str, Order]) -> None:
        self._on = on
        self._model = model
        self._intents = intents
        self._delivered: dict[str, Told] = {}
        self._handled: set[str] = set()
        self._ends_told: dict[Order, int] = {}
        self._to_abandon: set[Order] = set()
        self._stream_start = "-"

    async def open(self) -> None:
        """Nothing that an earlier example left on the queue or the stream is this one's."""
        await self._on.orders.redis.delete(QUEUE)
        newest = await self._on.orders.redis.xrevrange(STREAM, count=1)
        if newest:
            self._stream_start = f"({newest[0][0].decode()}"

    async def deliver_webhooks(self, picks: Sequence[int]) -> None:
        """Some of Stripe's events, new or old, in this order; their jobs wait on the queue."""
        told = await self._told()
        for pick in picks if told else ():
            await self._deliver(told[-1 - pick % len(told)])

    async def deliver_all_webhooks(self) -> None:
        for event in await self._told():
            await self._deliver(event)

    async def publish(self) -> None:
        while await self._on.relay.turn(self._on.relay_connection):
            pass

    async def consume_events(self) -> None:
        """What committed goes to the stream and its consumers: all that is new, then once more all there is."""
        await self.publish()
        for consumer in self._on.consumers:
            await consumer._ensure_groups()
            while await consumer._read({STREAM: ">"}, block=None):
                pass
            entries = await self._on.orders.redis.xrange(STREAM, min=self._stream_start)
            for _ in range(2):
                assert await consumer.handle(entries) == 0
        orders = self._model.orders
        self._to_abandon |= {
            order for order in orders if order.ends > self._ends_told.get(order, 0)
        }
        self._ends_told |= {order: order.ends for order in orders}
        waiting = {name for name in await self.jobs() if name.startswith(ABANDON)}
        assert waiting == {f"{ABANDON}:{order.id}" for order in self._to_abandon}

    async def jobs(self) -> list[str]:
        """What is on the queue, but for alarms of ends that are far away."""
        names = [name.decode() for name in await self._on.orders.redis.zrange(QUEUE, 0, -1)]
        return sorted(name for name in names if not name.startswith(ALARM))

    async def run_job(self, name: str, *, times: int = 1) -> None:
        """As arq does, which may run a job twice."""
        await self._on.orders.redis.zrem(QUEUE, name)
        await self._on.orders.redis.delete(f"arq:job:{name}")
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
        """The reconciler's turn, for which every payment stands still long enough.

        What it does, it does at once: refunds come in a turn of their own, since a late payment may want their tickets.
        """
        still = self._model.unresolved()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(workers.payments, "STALLED_AFTER", queries.StallTimes(*3 * [NONE]))
            patch.setattr(
                workers.payments, "REFUND_STALLED_AFTER", refund_queries.StallTimes(*2 * [FOR_NOW])
            )
            await workers.payments.reconcile_payments(self._on.jobs)
        won = await self._captured(still)
        for order in winners_first(still, won):
            status = order.attempt.status if order.attempt else ""
            self._model.look(order, abandoned=status == "started" or order.lapsed)

    async def reconcile_refunds(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(workers.payments, "STALLED_AFTER", queries.StallTimes(*3 * [FOR_NOW]))
            patch.setattr(
                workers.payments, "REFUND_STALLED_AFTER", refund_queries.StallTimes(*2 * [NONE])
            )
            await workers.payments.reconcile_payments(self._on.jobs)
        for order, refund in self._model.refunding():
            refunds.look(order, refund)

    async def _told(self) -> list[Json]:
        return [
            event
            for event in await self._on.shop.stripe.events()
            if _intent_of(event) in self._intents
        ]

    async def _deliver(self, event: Json) -> None:
        reply = await self._on.shop.deliver(event)
        assert reply.status_code == 200, reply.text
        self._delivered[event["id"]] = Told(self._intents[_intent_of(event)], event["type"])

    async def _abandon(self, order: Order) -> None:
        await workers.payments.abandon_payment(self._on.jobs, order.id)
        self._model.abandon(order)
        self._to_abandon.discard(order)

    async def _handle_webhook(self, event_id: str) -> None:
        await workers.payments.handle_webhook(self._on.jobs, event_id)
        if event_id not in self._handled:
            self._handled.add(event_id)
            order, kind = self._delivered[event_id]
            self._model.hear(order, of_refund=kind in REFUND_EVENTS)

    async def _captured(self, orders: Sequence[Order]) -> set[str]:
        rows = await self._on.shop.rows.fetch(
            "select order_id::text from payments.payments where status = 'captured' and order_id = any ($1)",
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
