"""Payments go on without their request: webhooks, orders that ended unpaid, and attempts whose process died."""

from typing import Any
from uuid import UUID

import msgspec
import structlog
from arq.connections import ArqRedis

from backend.events.catalogue import Event, Order
from backend.events.stores import Stores
from backend.kernel import database
from backend.kernel.database import Connection
from backend.payments import queries, service
from backend.payments.model import Payment
from backend.payments.service import HANDLE_WEBHOOK
from backend.payments.settlement import ABANDONED_SECONDS, Settlement

log = structlog.get_logger()

CONSUMER = "payments"
TYPES = frozenset({"order.cancelled", "order.expired"})
ABANDON = "abandon_payment"

# A captured payment is told within a second; an authorised one that waits longer lost its process.
CAPTURE_SECONDS = 3.0
# 3-D Secure: look for an answer whose webhook was lost.
ACTION_SECONDS = 15.0
# Nobody answers a challenge this old, and its order has ended.
ACTION_ABANDONED_SECONDS = 600.0
WEBHOOK_SECONDS = 10.0
BATCH = 50


async def handle_webhook(context: dict[str, Any], event_id: str) -> None:
    await service.handle_webhook(context["payments"], context["settlement"], event_id)


async def abandon_payment(context: dict[str, Any], order_id: str) -> None:
    settlement: Settlement = context["settlement"]
    await settlement.abandon(UUID(order_id))


async def reconcile_payments(context: dict[str, Any]) -> int:
    """Take every payment that stands still one step on. Returns how many were looked at."""
    stores: Stores = context["payments"]
    settlement: Settlement = context["settlement"]
    async with database.connection(stores.pool) as connection:
        abandoned = [
            *await queries.stale(connection, "requires_action", ACTION_ABANDONED_SECONDS, BATCH),
            *await queries.stale(connection, "started", ABANDONED_SECONDS, BATCH),
        ]
        open_still = [
            *await queries.stale(connection, "authorised", CAPTURE_SECONDS, BATCH),
            *await queries.stale(connection, "requires_action", ACTION_SECONDS, BATCH),
        ]
        webhooks = await queries.waiting_webhooks(connection, WEBHOOK_SECONDS, BATCH)
    for payment in abandoned:
        await _resume(settlement, payment, abandoned=True)
    for payment in open_still:
        await _resume(settlement, payment, abandoned=False)
    jobs: ArqRedis = context["redis"]
    for event_id in webhooks:
        await jobs.enqueue_job(HANDLE_WEBHOOK, event_id, _job_id=f"webhook:{event_id}")
    return len(abandoned) + len(open_still) + len(webhooks)


async def _resume(settlement: Settlement, payment: Payment, *, abandoned: bool) -> None:
    try:
        outcome = await settlement.resume(payment, abandoned=abandoned)
    except Exception as fault:
        log.warning("payment not reconciled", payment_id=str(payment.id), error=repr(fault))
        return
    if outcome.payment.status != payment.status:
        log.info(
            "payment reconciled", payment_id=str(payment.id), was=payment.status, now=outcome.payment.status
        )


class Abandonment:
    """Puts the voiding of an ended order's intent on the queue, as the event stream tells of the end."""

    def __init__(self, jobs: ArqRedis) -> None:
        self._jobs = jobs

    async def handle(self, _connection: Connection, event: Event) -> None:
        order = msgspec.json.decode(event.envelope.data, type=Order)
        if order.payment_id is not None:
            await self._jobs.enqueue_job(ABANDON, str(order.id), _job_id=f"{ABANDON}:{order.id}")
