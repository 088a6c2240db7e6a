"""Payments and refunds that continue without their request: after a webhook, after their order
ended unpaid, and after their process died.
"""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import structlog
from arq.connections import ArqRedis

from backend.events.catalogue import Event, Order
from backend.events.resources import Resources
from backend.kernel import correlation, database
from backend.kernel.database import Connection
from backend.kernel.jobs import enqueue
from backend.payments import queries, refund_queries, webhooks
from backend.payments.model import Refund
from backend.payments.payment_flow import ABANDONED_SECONDS, PaymentFlow
from backend.payments.queries import StalledPayment, StallTimes
from backend.payments.webhooks import HANDLE_WEBHOOK

log = structlog.get_logger()

CONSUMER = "payments"
TYPES = frozenset({"order.cancelled", "order.expired"})
ABANDON = "abandon_payment"

# Stripe captures an authorised payment within a second, so one that waits longer lost its process.
# The webhook of a challenge's result may be lost. A confirmation of this age has no process any
# more.
STALLED_AFTER = StallTimes(
    authorised=timedelta(seconds=3),
    requires_action=timedelta(seconds=15),
    started=timedelta(seconds=ABANDONED_SECONDS),
)
# Several processes may work on one refund; the times only spare calls to Stripe. A bank may take
# days over a pending refund.
REFUND_STALLED_AFTER = refund_queries.StallTimes(
    requested=timedelta(seconds=10), pending=timedelta(minutes=10)
)
WEBHOOK_SECONDS = 5.0
BATCH = 50
CONCURRENCY = 10
RESUME_SECONDS = 10.0


async def handle_webhook(context: dict[str, Any], event_id: str) -> None:
    await webhooks.handle(context["payments"], context["payment_flow"], event_id)


async def abandon_payment(context: dict[str, Any], order_id: str) -> None:
    payment_flow: PaymentFlow = context["payment_flow"]
    await payment_flow.abandon(UUID(order_id))


async def reconcile_payments(context: dict[str, Any]) -> int:
    """Take each stalled payment and refund one step forward, and enqueue each waiting webhook.

    Returns the number of all three.
    """
    resources: Resources = context["payments"]
    payment_flow: PaymentFlow = context["payment_flow"]
    jobs: ArqRedis = context["redis"]
    async with database.connection(resources.pool) as connection:
        waiting = await queries.waiting_webhooks(connection, WEBHOOK_SECONDS, BATCH)
        payments = await queries.claim_stalled(connection, STALLED_AFTER, BATCH)
        refunds = await refund_queries.claim_stalled(connection, REFUND_STALLED_AFTER, BATCH)
    for event_id in waiting:
        await enqueue(jobs, HANDLE_WEBHOOK, event_id, job_id=f"webhook:{event_id}")
    slots = asyncio.Semaphore(CONCURRENCY)
    await asyncio.gather(
        *(_resume(payment_flow, stalled, slots) for stalled in payments),
        *(_resume_refund(payment_flow, refund, slots) for refund in refunds),
    )
    return len(payments) + len(refunds) + len(waiting)


async def _resume(
    payment_flow: PaymentFlow, stalled: StalledPayment, slots: asyncio.Semaphore
) -> None:
    payment = stalled.payment
    correlation.rebind(payment.correlation_id)
    try:
        async with slots, asyncio.timeout(RESUME_SECONDS):
            outcome = await payment_flow.resume(payment, abandoned=stalled.abandoned)
    except Exception as error:
        log.warning("payment not reconciled", payment_id=str(payment.id), error=repr(error))
        return
    if outcome.payment.status != payment.status:
        log.info(
            "payment reconciled",
            payment_id=str(payment.id),
            was=payment.status,
            now=outcome.payment.status,
        )


async def _resume_refund(
    payment_flow: PaymentFlow, refund: Refund, slots: asyncio.Semaphore
) -> None:
    try:
        async with slots, asyncio.timeout(RESUME_SECONDS):
            resumed = await payment_flow.refunds.resume(refund)
    except Exception as error:
        log.warning("refund not reconciled", refund_id=str(refund.id), error=repr(error))
        return
    if resumed.status != refund.status:
        log.info(
            "refund reconciled", refund_id=str(refund.id), was=refund.status, now=resumed.status
        )


class Abandonment:
    """Enqueues the void of an ended order's intent when the order's last event arrives."""

    def __init__(self, jobs: ArqRedis) -> None:
        self._jobs = jobs

    async def handle(self, _connection: Connection, event: Event) -> None:
        order = msgspec.json.decode(event.envelope.data, type=Order)
        if order.payment_id is not None:
            await enqueue(self._jobs, ABANDON, str(order.id), job_id=f"{ABANDON}:{order.id}")
