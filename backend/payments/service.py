"""Requests to pay and to refund. Each keyed request is answered once; see `idempotency_queries`."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

import structlog

from backend.events.resources import Resources
from backend.kernel import database, idempotency
from backend.kernel.budgets import UNLIMITED, budgets_of
from backend.kernel.idempotency import Claim, KeyedRequest, Reply, State
from backend.kernel.problems import Conflict, Invalid
from backend.kernel.settings import Settings
from backend.kernel.text import clean
from backend.payments import queries, refund_queries, replies
from backend.payments.decline_reasons import reason_of
from backend.payments.errors import (
    PaymentMethodRefused,
    PaymentNotFound,
    ProviderUnavailable,
    RefundRefused,
)
from backend.payments.idempotency_queries import PAYMENT_KEYS, REFUND_KEYS
from backend.payments.model import NewPayment, NewRefund, PaymentReply, PaymentRequest, Refund
from backend.payments.payment_flow import PaymentFlow
from backend.payments.payment_steps import Outcome
from backend.payments.provider import Declined, Refused, Unreachable
from backend.payments.refund_queries import RefundRequest
from backend.payments.refunds import Refunds

log = structlog.get_logger()

T = TypeVar("T")

# A read of a payment waits for Stripe at most this long; a later read shows the outcome.
READ_SECONDS = 10.0


def payment_request(
    settings: Settings,
    buyer_id: UUID,
    new: NewPayment,
    keyed: KeyedRequest | None,
    address: str,
) -> PaymentRequest:
    """The request with the limits of the settings. `address` is the client's."""
    budgets = budgets_of(
        "declines",
        buyer_id,
        address,
        of_account=settings.max_declines,
        of_address=settings.max_declines_of_address,
    )
    return PaymentRequest(
        buyer_id,
        new,
        keyed,
        address,
        settings.max_payment_attempts,
        budgets if settings.rate_limits == "on" else UNLIMITED,
    )


def refund_request(
    settings: Settings, user_id: UUID, order_id: UUID, new: NewRefund, keyed: KeyedRequest | None
) -> RefundRequest:
    """The request with the refund window of the settings. Raises Invalid."""
    if new.lines is not None and len(set(new.lines)) < len(new.lines):
        raise Invalid(
            "a ticket is in the refund twice: name each ticket once", code="duplicate_ticket"
        )
    return RefundRequest(
        order_id=order_id,
        user_id=user_id,
        relist=new.relist,
        buyer_window=timedelta(seconds=settings.refund_window_seconds),
        keyed=keyed,
        lines=new.lines,
        reason=clean("reason", new.reason) if new.reason is not None else None,
    )


async def pay(resources: Resources, payment_flow: PaymentFlow, request: PaymentRequest) -> Reply:
    """Pay an order. A repeat of a keyed request gets the first reply. Raises Problem when no
    attempt was made.
    """
    payment = await _repeat_or_begin(
        lambda: _repeat_payment(resources, payment_flow, request),
        lambda: payment_flow.begin(request),
    )
    if isinstance(payment, Reply):
        return payment
    try:
        reply = replies.of_payment(await payment_flow.pay(payment, request))
    except Declined as error:
        failure = error.failure
        reason = reason_of(failure.code, failure.decline_code)
        reply = replies.of_problem(replies.declined(reason))
    except Refused as error:
        reply = replies.of_problem(PaymentMethodRefused(str(error), stripe_code=error.code))
    except ProviderUnavailable:
        async with database.connection(resources.pool) as connection:
            await PAYMENT_KEYS.free(connection, payment.id)
        raise
    if request.keyed is not None:
        await _store_or_free(resources, payment.id, reply)
    return reply


async def payment(
    resources: Resources, payment_flow: PaymentFlow, buyer_id: UUID, payment_id: UUID
) -> PaymentReply:
    """One of a buyer's payments. One that awaits 3-D Secure first takes Stripe's current status.

    Raises PaymentNotFound.
    """
    async with database.connection(resources.pool) as connection:
        found = await queries.payment(connection, payment_id)
    if found is None or found.buyer_id != buyer_id:
        raise PaymentNotFound
    if found.status != "requires_action":
        return replies.payment_body(Outcome(found))
    try:
        async with asyncio.timeout(READ_SECONDS):
            return replies.payment_body(await payment_flow.resume(found, abandoned=False))
    except (Refused, Unreachable, TimeoutError) as error:
        log.warning("payment provider did not answer", payment_id=str(found.id), error=repr(error))
    return replies.payment_body(Outcome(found))


async def refund(resources: Resources, refunds: Refunds, request: RefundRequest) -> Reply:
    """Refund lines of an order. A repeat of a keyed request gets the first reply. Raises Problem
    when no refund was begun, RefundRefused when Stripe did not return the money.
    """
    begun = await _repeat_or_begin(
        lambda: _repeat_refund(resources, refunds, request), lambda: refunds.begin(request)
    )
    if isinstance(begun, Reply):
        return begun
    return await _carry_out(resources, refunds, request, begun)


async def _repeat_or_begin(
    repeat: Callable[[], Awaitable[Reply | None]], begin: Callable[[], Awaitable[T]]
) -> Reply | T:
    """The reply to a repeated request, or the work that a first one begins. A conflict may be with
    the first request with this key, which began after `repeat` read the key: it reads it again.
    """
    repeated = await repeat()
    if repeated is not None:
        return repeated
    try:
        return await begin()
    except Conflict:
        repeated = await repeat()
        if repeated is None:
            raise
        return repeated


async def _repeat_payment(
    resources: Resources, payment_flow: PaymentFlow, request: PaymentRequest
) -> Reply | None:
    """The reply to a repeated request, or None for a first one."""
    if request.keyed is None:
        return None
    async with database.connection(resources.pool) as connection:
        claim = await PAYMENT_KEYS.claim(connection, request.keyed)
    if claim.state is State.INTERRUPTED:
        return await _resume_interrupted(resources, payment_flow, claim)
    return idempotency.replay(claim)


async def _resume_interrupted(
    resources: Resources, payment_flow: PaymentFlow, claim: Claim
) -> Reply:
    """Continue the attempt of a request whose process ended before the reply."""
    assert claim.row_id is not None
    async with database.connection(resources.pool) as connection:
        payment = await queries.payment(connection, claim.row_id)
    assert payment is not None, "payments are never deleted"
    try:
        outcome = await payment_flow.resume(payment, abandoned=payment.status == "started")
    except (Refused, Unreachable) as error:
        raise ProviderUnavailable(
            "Stripe did not answer; try again", headers={"Retry-After": "2"}
        ) from error
    reply = replies.of_payment(outcome)
    await _store_or_free(resources, payment.id, reply)
    return reply


async def _store_or_free(resources: Resources, payment_id: UUID, reply: Reply) -> None:
    """Store the reply. A conflict frees the key instead: the attempt took no money, and the order
    decides whether another attempt may begin.
    """
    async with database.connection(resources.pool) as connection:
        if idempotency.is_stored(reply.status):
            await PAYMENT_KEYS.store(connection, payment_id, reply)
        else:
            await PAYMENT_KEYS.free(connection, payment_id)


async def _repeat_refund(
    resources: Resources, refunds: Refunds, request: RefundRequest
) -> Reply | None:
    """The reply to a repeated request, None for a first request. Raises Conflict, Invalid."""
    if request.keyed is None:
        return None
    async with database.connection(resources.pool) as connection:
        claim = await REFUND_KEYS.claim(connection, request.keyed)
        if claim.state is not State.INTERRUPTED:
            return idempotency.replay(claim)
        assert claim.row_id is not None
        refund = await refund_queries.refund(connection, claim.row_id)
    assert refund is not None, "refunds are never deleted"
    return await _carry_out(resources, refunds, request, refund)


async def _carry_out(
    resources: Resources, refunds: Refunds, request: RefundRequest, refund: Refund
) -> Reply:
    refund = await refunds.carry_out(refund)
    async with database.connection(resources.pool) as connection:
        if refund.status == "failed":
            await REFUND_KEYS.free(connection, refund.id)
            raise RefundRefused("Stripe did not return the money", stripe_code=refund.failure_code)
        order = await refund_queries.order(connection, refund.order_id)
        reply = replies.of_refund(refund, order, request.user_id)
        if request.keyed is not None:
            await REFUND_KEYS.store(connection, refund.id, reply)
    return reply
