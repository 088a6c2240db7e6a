"""Requests to pay and to refund, answered once: a row is the lease and the memory of its Idempotency-Key."""

import asyncio
import json
import time
from typing import Any
from uuid import UUID

import msgspec
import structlog
from arq.connections import ArqRedis
from redis.exceptions import RedisError

from backend.events.resources import Resources
from backend.kernel import database, idempotency
from backend.kernel.jobs import enqueue
from backend.kernel.problems import Problem
from backend.payments import idempotency_queries, queries, refund_queries
from backend.payments.errors import (
    OrderExpired,
    PaymentDeclined,
    PaymentMethodRefused,
    PaymentNotFound,
    ProviderUnavailable,
    RefundInProgress,
    RefundRefused,
    WebhookRefused,
)
from backend.payments.idempotency_queries import PAYMENTS, REFUNDS, Earlier
from backend.payments.model import NewPayment, PaymentReply, Refund, RefundReply, RefundState
from backend.payments.payment_flow import Outcome, PaymentFlow
from backend.payments.provider import Declined, Refused, Unreachable, verify_signature
from backend.payments.refund_queries import Asking
from backend.payments.refunds import Refunds

log = structlog.get_logger()

# Who looks waits no longer for Stripe; whoever looks next sees what became of it.
LOOK_SECONDS = 10.0
HANDLE_WEBHOOK = "handle_webhook"
REFUND_EVENTS = frozenset({"charge.refunded", "refund.created", "refund.updated"})


class Answer(msgspec.Struct, frozen=True):
    """A reply as it goes out, and is kept under the request's key."""

    status: int
    body: bytes
    replayed: bool = False


async def pay(
    resources: Resources,
    payment_flow: PaymentFlow,
    buyer_id: UUID,
    new: NewPayment,
    key: str | None,
    fingerprint: bytes | None,
) -> Answer:
    """Pay an order. A repeat of a keyed request gets the first one's reply. Raises Problem where no attempt was made."""
    if key is not None:
        async with database.connection(resources.pool) as connection:
            earlier = await idempotency_queries.earlier(connection, PAYMENTS, buyer_id, key)
            refunded = await idempotency_queries.earlier(connection, REFUNDS, buyer_id, key)
        if refunded is not None:
            raise idempotency.reused()
        if earlier is not None:
            return await _repeat(resources, payment_flow, earlier, fingerprint)
    payment = await payment_flow.begin(buyer_id, new, key, fingerprint)
    try:
        outcome = await payment_flow.pay(payment, new.payment_method)
        answer = _answer(outcome)
    except Declined as fault:
        answer = _problem(_declined(fault.code, fault.decline_code, fault.message))
    except Refused as fault:
        answer = _problem(PaymentMethodRefused(str(fault), stripe_code=fault.code))
    except ProviderUnavailable:
        async with database.connection(resources.pool) as connection:
            await idempotency_queries.forget(connection, PAYMENTS, payment.id)
        raise
    if key is not None:
        await _keep(resources, payment.id, answer)
    return answer


async def payment(
    resources: Resources, payment_flow: PaymentFlow, buyer_id: UUID, payment_id: UUID
) -> PaymentReply:
    """One of a buyer's payments; one that waits for 3-D Secure, as Stripe has it now. Raises PaymentNotFound."""
    async with database.connection(resources.pool) as connection:
        found = await queries.payment(connection, payment_id)
    if found is None or found.buyer_id != buyer_id:
        raise PaymentNotFound
    if found.status != "requires_action":
        return _reply(Outcome(found))
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            return _reply(await payment_flow.resume(found, abandoned=False))
    except (Refused, Unreachable, TimeoutError) as fault:
        log.warning("payment provider did not answer", payment_id=str(found.id), error=repr(fault))
    return _reply(Outcome(found))


async def refund(resources: Resources, refunds: Refunds, asking: Asking) -> Answer:
    """Refund an order. A repeat of a keyed request gets the first one's reply. Raises Problem where none was begun."""
    earlier = await _asked_before(resources, asking)
    if earlier is not None:
        return await _repeat_refund(resources, refunds, asking, earlier)
    try:
        begun = await refunds.begin(asking)
    except RefundInProgress:
        # Perhaps by this very request, whose first sending was not yet to be seen.
        earlier = await _asked_before(resources, asking)
        if earlier is None:
            raise
        return await _repeat_refund(resources, refunds, asking, earlier)
    return await _carried_out(resources, refunds, asking, begun)


async def accept_webhook(
    resources: Resources, jobs: ArqRedis, body: bytes, signature: str, secrets: tuple[str, ...]
) -> None:
    """Store one of Stripe's events and put its handling on the queue. Raises WebhookRefused."""
    if not verify_signature(body, signature, secrets, now=time.time()):
        raise WebhookRefused("the signature does not fit these bytes")
    event = _event(body)
    async with database.transaction(resources.pool) as connection:
        fresh = await queries.store_webhook(
            connection, event["id"], event["type"], _intent_of(event)
        )
    if not fresh:
        return
    try:
        await enqueue(jobs, HANDLE_WEBHOOK, event["id"], job_id=f"webhook:{event['id']}")
    except (RedisError, OSError, TimeoutError) as fault:
        # Stored is enough: the sweep finds it.
        log.warning("webhook not enqueued", event_id=event["id"], error=repr(fault))


async def handle_webhook(resources: Resources, payment_flow: PaymentFlow, event_id: str) -> None:
    """Do what a stored event asks for, once; again when it failed."""
    async with database.connection(resources.pool) as connection:
        webhook = await queries.unhandled_webhook(connection, event_id)
    try:
        if webhook is not None:
            await payment_flow.resume_intent(webhook.intent_id)
        if webhook is not None and webhook.type in REFUND_EVENTS:
            await payment_flow.refunds.adopt(webhook.intent_id)
    except Exception as fault:
        await _mark(resources, event_id, repr(fault)[:500])
        raise
    await _mark(resources, event_id, None)


async def _mark(resources: Resources, event_id: str, error: str | None) -> None:
    async with database.connection(resources.pool) as connection:
        await queries.mark_webhook(connection, event_id, error)


async def _repeat(
    resources: Resources, payment_flow: PaymentFlow, earlier: Earlier, fingerprint: bytes | None
) -> Answer:
    kept = _kept(earlier, fingerprint)
    if kept is not None:
        return kept
    async with database.connection(resources.pool) as connection:
        payment = await queries.payment(connection, earlier.row_id)
    assert payment is not None, "no payment is ever deleted"
    try:
        outcome = await payment_flow.resume(payment, abandoned=payment.status == "started")
    except (Refused, Unreachable) as fault:
        raise ProviderUnavailable("try again", headers={"Retry-After": "2"}) from fault
    answer = _answer(outcome)
    await _keep(resources, payment.id, answer)
    return answer


async def _keep(resources: Resources, payment_id: UUID, answer: Answer) -> None:
    """A conflict leaves the key free: the attempt took no money, and whether another may begin is for its order to say."""
    async with database.connection(resources.pool) as connection:
        if answer.status in idempotency.UNSTORED:
            await idempotency_queries.forget(connection, PAYMENTS, payment_id)
        else:
            await idempotency_queries.store_reply(
                connection, PAYMENTS, payment_id, answer.status, answer.body
            )


async def _asked_before(resources: Resources, asking: Asking) -> Earlier | None:
    """The refund that this key belongs to. Raises Invalid when it belongs to a payment."""
    if asking.key is None:
        return None
    async with database.connection(resources.pool) as connection:
        if (
            await idempotency_queries.earlier(connection, PAYMENTS, asking.user_id, asking.key)
            is not None
        ):
            raise idempotency.reused()
        return await idempotency_queries.earlier(connection, REFUNDS, asking.user_id, asking.key)


async def _repeat_refund(
    resources: Resources, refunds: Refunds, asking: Asking, earlier: Earlier
) -> Answer:
    kept = _kept(earlier, asking.fingerprint)
    if kept is not None:
        return kept
    async with database.connection(resources.pool) as connection:
        refund = await refund_queries.refund(connection, earlier.row_id)
    assert refund is not None, "no refund is ever deleted"
    return await _carried_out(resources, refunds, asking, refund)


def _kept(earlier: Earlier, fingerprint: bytes | None) -> Answer | None:
    """The reply that the key's first request got; None when its process died before. Raises Invalid, Conflict."""
    if earlier.fingerprint != fingerprint:
        raise idempotency.reused()
    if earlier.in_flight:
        raise idempotency.in_flight()
    if earlier.reply_status is None:
        return None
    return Answer(earlier.reply_status, earlier.reply_body or b"", replayed=True)


async def _carried_out(
    resources: Resources, refunds: Refunds, asking: Asking, refund: Refund
) -> Answer:
    refund = await refunds.carry_out(refund)
    async with database.connection(resources.pool) as connection:
        if refund.status == "failed":
            await idempotency_queries.forget(connection, REFUNDS, refund.id)
            raise RefundRefused("Stripe did not return the money", stripe_code=refund.failure_code)
        answer = _refund_answer(refund, await refund_queries.order(connection, refund.order_id))
        if asking.key is not None:
            await idempotency_queries.store_reply(
                connection, REFUNDS, refund.id, answer.status, answer.body
            )
    return answer


def _refund_answer(refund: Refund, order: dict[str, Any]) -> Answer:
    state = RefundState(
        id=refund.id,
        status=refund.status,
        amount=refund.amount,
        currency=refund.currency,
        relist=refund.relist,
    )
    body = msgspec.convert(order | {"refund": msgspec.to_builtins(state)}, RefundReply)
    return Answer(200 if refund.status == "succeeded" else 202, msgspec.json.encode(body))


def _answer(outcome: Outcome) -> Answer:
    payment = outcome.payment
    if payment.status in {"voided", "refunded"}:
        return _problem(
            OrderExpired(
                "the hold ended before the payment; you were not charged", payment_id=payment.id
            )
        )
    if payment.status == "failed":
        return _problem(
            _declined(payment.failure_code, payment.decline_code, payment.failure_message)
        )
    return Answer(201, msgspec.json.encode(_reply(outcome)))


def _reply(outcome: Outcome) -> PaymentReply:
    payment = outcome.payment
    return PaymentReply(
        id=payment.id,
        order_id=payment.order_id,
        attempt=payment.attempt,
        status=payment.status,
        amount=payment.amount,
        currency=payment.currency,
        version=payment.version,
        failure_code=payment.failure_code,
        decline_code=payment.decline_code,
        client_secret=outcome.client_secret,
    )


def _declined(code: str | None, decline_code: str | None, message: str | None) -> PaymentDeclined:
    return PaymentDeclined(message or None, code=code, decline_code=decline_code)


def _problem(problem: Problem) -> Answer:
    return Answer(problem.status, bytes(problem.response().body))


def _event(body: bytes) -> dict[str, Any]:
    try:
        event = json.loads(body)
    except ValueError as fault:
        raise WebhookRefused("the body is not JSON", code="not_json") from fault
    if not (
        isinstance(event, dict)
        and isinstance(event.get("id"), str)
        and isinstance(event.get("type"), str)
    ):
        raise WebhookRefused("the body is not an event", code="not_an_event")
    return event


def _intent_of(event: dict[str, Any]) -> str | None:
    """The PaymentIntent that an event is about, if any."""
    subject = (event.get("data") or {}).get("object") or {}
    intent = (
        subject.get("id")
        if subject.get("object") == "payment_intent"
        else subject.get("payment_intent")
    )
    return intent if isinstance(intent, str) else None
