"""Stripe's webhooks: a request verifies and stores each event, and a job handles it once."""

import time
from typing import Annotated, Any

import msgspec
import structlog
from arq.connections import ArqRedis
from redis.exceptions import RedisError

from backend.events.resources import Resources
from backend.kernel import database
from backend.kernel.decoding import Malformed, decode_json
from backend.kernel.jobs import enqueue
from backend.payments import queries
from backend.payments.errors import WebhookRefused
from backend.payments.payment_flow import PaymentFlow
from backend.payments.provider import verify_signature

log = structlog.get_logger()

HANDLE_WEBHOOK = "handle_webhook"
# Stripe's ids have up to 255 characters.
StripeId = Annotated[str, msgspec.Meta(max_length=255)]
REFUND_EVENTS = frozenset({"charge.refunded", "refund.created", "refund.updated"})


class Subject(msgspec.Struct, frozen=True):
    """Fields of an event's object. Their types differ between kinds of objects, so any is valid."""

    object: Any = None
    id: Any = None
    payment_intent: Any = None


class EventData(msgspec.Struct, frozen=True):
    object: Subject | None = None


class StripeEvent(msgspec.Struct, frozen=True):
    id: StripeId
    type: StripeId
    data: EventData | None = None

    @property
    def intent_id(self) -> str | None:
        """The id of the PaymentIntent that the event is about, or None."""
        subject = self.data.object if self.data else None
        if subject is None:
            return None
        intent = subject.id if subject.object == "payment_intent" else subject.payment_intent
        return intent if isinstance(intent, str) else None


async def accept(
    resources: Resources, jobs: ArqRedis, body: bytes, signature: str, secrets: tuple[str, ...]
) -> None:
    """Store one of Stripe's events and enqueue its job. Raises WebhookRefused."""
    if not verify_signature(body, signature, secrets, now=time.time()):
        raise WebhookRefused("the signature does not match the body")
    event = _decode(body)
    async with database.transaction(resources.pool) as connection:
        is_new = await queries.store_webhook(connection, event.id, event.type, event.intent_id)
    if not is_new:
        return
    try:
        await enqueue(jobs, HANDLE_WEBHOOK, event.id, job_id=f"webhook:{event.id}")
    except (RedisError, OSError, TimeoutError) as error:
        # The event is stored, so the reconciler enqueues it.
        log.warning("webhook not enqueued", event_id=event.id, error=repr(error))


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


def _decode(body: bytes) -> StripeEvent:
    try:
        return decode_json(body, StripeEvent)
    except Malformed as error:
        raise WebhookRefused(f"the body {error}", code="not_json") from error
    except msgspec.ValidationError as error:
        raise WebhookRefused("the body is not a Stripe event", code="not_an_event") from error
