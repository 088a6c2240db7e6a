"""Payments and refunds go on without their request: webhooks, orders that ended unpaid, and what lost its process."""

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
from backend.payments import queries, refund_queries, service
from backend.payments.model import Refund
from backend.payments.payment_flow import ABANDONED_SECONDS, PaymentFlow
from backend.payments.queries import Patience, Still
from backend.payments.service import HANDLE_WEBHOOK

log = structlog.get_logger()

CONSUMER = "payments"
TYPES = frozenset({"order.cancelled", "order.expired"})
ABANDON = "abandon_payment"

# A captured payment is told within a second, so an authorised one that waits longer lost its process; a challenge's
# answer may have lost its webhook; a confirmation that is this old has no process any more.
PATIENCE = Patience(
    authorised=timedelta(seconds=3),
    requires_action=timedelta(seconds=15),
    started=timedelta(seconds=ABANDONED_SECONDS),
)
# Any two may work on the same refund; this only spares Stripe the questions. A pending one may take its bank days.
REFUND_PATIENCE = refund_queries.Patience(
    requested=timedelta(seconds=10), pending=timedelta(minutes=10)
)
WEBHOOK_SECONDS = 10.0
BATCH = 50
AT_ONCE = 10
RESUME_SECONDS = 10.0


async def handle_webhook(context: dict[str, Any], event_id: str) -> None:
    await service.handle_webhook(context["payments"], context["payment_flow"], event_id)


async def abandon_payment(context: dict[str, Any], order_id: str) -> None:
    payment_flow: PaymentFlow = context["payment_flow"]
    await payment_flow.abandon(UUID(order_id))


async def reconcile_payments(context: dict[str, Any]) -> int:
    """Take every payment and refund that stands still one step on. Returns how many were looked at."""
    resources: Resources = context["payments"]
    payment_flow: PaymentFlow = context["payment_flow"]
    jobs: ArqRedis = context["redis"]
    async with database.connection(resources.pool) as connection:
        webhooks = await queries.waiting_webhooks(connection, WEBHOOK_SECONDS, BATCH)
        still = await queries.claim_still(connection, PATIENCE, BATCH)
        refunds = await refund_queries.claim_still(connection, REFUND_PATIENCE, BATCH)
    for event_id in webhooks:
        await enqueue(jobs, HANDLE_WEBHOOK, event_id, job_id=f"webhook:{event_id}")
    places = asyncio.Semaphore(AT_ONCE)
    await asyncio.gather(
        *(_resume(payment_flow, one, places) for one in still),
        *(_resume_refund(payment_flow, one, places) for one in refunds),
    )
    return len(still) + len(refunds) + len(webhooks)


async def _resume(payment_flow: PaymentFlow, still: Still, places: asyncio.Semaphore) -> None:
    payment = still.payment
    correlation.rebind(payment.correlation_id)
    try:
        async with places, asyncio.timeout(RESUME_SECONDS):
            outcome = await payment_flow.resume(payment, abandoned=still.abandoned)
    except Exception as fault:
        log.warning("payment not reconciled", payment_id=str(payment.id), error=repr(fault))
        return
    if outcome.payment.status != payment.status:
        log.info(
            "payment reconciled",
            payment_id=str(payment.id),
            was=payment.status,
            now=outcome.payment.status,
        )


async def _resume_refund(
    payment_flow: PaymentFlow, refund: Refund, places: asyncio.Semaphore
) -> None:
    try:
        async with places, asyncio.timeout(RESUME_SECONDS):
            resumed = await payment_flow.refunds.resume(refund)
    except Exception as fault:
        log.warning("refund not reconciled", refund_id=str(refund.id), error=repr(fault))
        return
    if resumed.status != refund.status:
        log.info(
            "refund reconciled", refund_id=str(refund.id), was=refund.status, now=resumed.status
        )


class Abandonment:
    """Puts the voiding of an ended order's intent on the queue, as the event stream tells of the end."""

    def __init__(self, jobs: ArqRedis) -> None:
        self._jobs = jobs

    async def handle(self, _connection: Connection, event: Event) -> None:
        order = msgspec.json.decode(event.envelope.data, type=Order)
        if order.payment_id is not None:
            await enqueue(self._jobs, ABANDON, str(order.id), job_id=f"{ABANDON}:{order.id}")
