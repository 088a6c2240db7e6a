"""Stripe's webhooks: a request verifies and stores each event, and a job handles it once."""

import json
import time
from typing import Any

import structlog
from arq.connections import ArqRedis
from redis.exceptions import RedisError

from backend.events.resources import Resources
from backend.kernel import database
from backend.kernel.jobs import enqueue
from backend.payments import queries
from backend.payments.errors import WebhookRefused
from backend.payments.payment_flow import PaymentFlow
from backend.payments.provider import verify_signature

log = structlog.get_logger()

HANDLE_WEBHOOK = "handle_webhook"
REFUND_EVENTS = frozenset({"charge.refunded", "refund.created", "refund.updated"})


async def accept(
    resources: Resources, jobs: ArqRedis, body: bytes, signature: str, secrets: tuple[str, ...]
) -> None:
    """Store one of Stripe's events and enqueue its job. Raises WebhookRefused."""
    if not verify_signature(body, signature, secrets, now=time.time()):
        raise WebhookRefused("the signature does not match the body")
    event = _decode(body)
    async with database.transaction(resources.pool) as connection:
        is_new = await queries.store_webhook(
            connection, event["id"], event["type"], _intent_of(event)
        )
    if not is_new:
        return
    try:
        await enqueue(jobs, HANDLE_WEBHOOK, event["id"], job_id=f"webhook:{event['id']}")
    except (RedisError, OSError, TimeoutError) as error:
        # The event is stored, so the reconciler enqueues it.
        log.warning("webhook not enqueued", event_id=event["id"], error=repr(error))


async def handle(resources: Resources, payment_flow: PaymentFlow, event_id: str) -> None:
    """Apply a stored event once. An error is stored and raised, and the next try repeats it."""
    async with database.connection(resources.pool) as connection:
        webhook = await queries.unhandled_webhook(connection, event_id)
    try:
        if webhook is not None:
            await payment_flow.resume_intent(webhook.intent_id)
        if webhook is not None and webhook.type in REFUND_EVENTS:
            await payment_flow.refunds.record_manual_refund(webhook.intent_id)
    except Exception as error:
        await _mark(resources, event_id, repr(error)[:500])
        raise
    await _mark(resources, event_id, None)


async def _mark(resources: Resources, event_id: str, error: str | None) -> None:
    async with database.connection(resources.pool) as connection:
        await queries.mark_webhook(connection, event_id, error)


def _decode(body: bytes) -> dict[str, Any]:
    try:
        event = json.loads(body)
    except ValueError as error:
        raise WebhookRefused("the body is not JSON", code="not_json") from error
    if not (
        isinstance(event, dict)
        and isinstance(event.get("id"), str)
        and isinstance(event.get("type"), str)
    ):
        raise WebhookRefused("the body is not a Stripe event", code="not_an_event")
    return event


def _intent_of(event: dict[str, Any]) -> str | None:
    """The id of the PaymentIntent that an event is about, or None."""
    subject = (event.get("data") or {}).get("object") or {}
    intent = (
        subject.get("id")
        if subject.get("object") == "payment_intent"
        else subject.get("payment_intent")
    )
    return intent if isinstance(intent, str) else None
