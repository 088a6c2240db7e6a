"""The course of a payment: begin, authorise, settle, capture, finish; or void.

Each step is one transaction or one call to Stripe, never both, and each can be repeated. After a
crash, a webhook's job, the reconciler or a repeated request retrieves the intent from Stripe and
continues from its status. The order's row decides which payment wins (`orders.settle`), and Stripe
captures money only after that decision, so no buyer pays for a ticket that another buyer has.

This module decides when a payment takes a step; `payment_steps` has the steps.
"""

import asyncio
from contextlib import suppress
from uuid import UUID

import asyncpg
import msgspec
import structlog

from backend.events.resources import Resources
from backend.kernel import correlation, database, idempotency
from backend.kernel.budgets import BudgetSpent, Spent
from backend.kernel.database import Connection
from backend.kernel.idempotency import KeyedRequest, State
from backend.kernel.ids import new_id
from backend.kernel.metrics import STALE
from backend.kernel.problems import Problem
from backend.kernel.shown_shows import moved
from backend.payments import queries
from backend.payments.errors import (
    NoAttemptsLeft,
    OrderAlreadyPaid,
    OrderCancelled,
    OrderExpired,
    OrderNotFound,
    PaymentInProgress,
    ProviderUnavailable,
    SalesEnded,
    ShowChanged,
    TooManyDeclines,
)
from backend.payments.idempotency_queries import PAYMENT_KEYS
from backend.payments.model import OPEN, NewPayment, Payment, PaymentRequest
from backend.payments.payment_steps import ABANDONED, Outcome, PaymentSteps, append_event
from backend.payments.provider import Declined, Failure, Intent, Provider, Refused, Unreachable
from backend.payments.queries import Begun
from backend.payments.refunds import Refunds

log = structlog.get_logger()

# A request works on an attempt for at most PAY_SECONDS. After ABANDONED_SECONDS any process may
# continue the attempt.
PAY_SECONDS = 25.0
ABANDONED_SECONDS = 30.0

REFUSALS = {
    "not_found": OrderNotFound,
    "expired": OrderExpired,
    "cancelled": OrderCancelled,
    "paid": OrderAlreadyPaid,
    "in_progress": PaymentInProgress,
}
ENDED = frozenset({"expired", "cancelled"})
PROVIDER_UNAVAILABLE = "provider_unavailable"
PAYABLE = frozenset({"requires_payment_method", "requires_confirmation"})


class PaymentFlow:
    def __init__(self, resources: Resources, provider: Provider) -> None:
        self._resources = resources
        self._provider = provider
        self._steps = PaymentSteps(resources, provider)
        self.refunds = Refunds(resources, provider)

    async def begin(self, request: PaymentRequest) -> Payment:
        """Open an attempt, which extends the hold. Raises the errors of `backend.payments.errors`,
        and Conflict while the first request with this key runs.
        """
        payment_id = new_id()
        try:
            async with database.transaction(self._resources.pool) as connection:
                begun = await queries.begin(connection, request, payment_id)
                if begun.outcome != "ok":
                    if await _is_repeat(connection, request.keyed):
                        raise idempotency.in_flight()
                    if begun.outcome in ENDED:
                        STALE.labels("pay").inc()
                    raise _refusal(begun)
                await _require_shows(connection, request.new)
                payment = await queries.insert(connection, payment_id, request, begun)
                await append_event(connection, "payment.started", payment)
        except BudgetSpent as error:
            raise _too_many_declines(Spent.of(error)) from error
        except asyncpg.UniqueViolationError as error:
            async with database.connection(self._resources.pool) as connection:
                if await _is_repeat(connection, request.keyed):
                    raise idempotency.in_flight() from error
            raise PaymentInProgress("another payment of this order is under way") from error
        self._resources.wake_relay()
        return payment

    async def pay(self, payment: Payment, request: PaymentRequest) -> Outcome:
        """Confirm an open attempt and apply the result, within PAY_SECONDS. After a later outcome,
        a webhook or the reconciler continues the attempt.

        Raises Declined, Refused for a method that can't be charged, ProviderUnavailable when no
        intent was confirmed.
        """
        try:
            async with asyncio.timeout(PAY_SECONDS):
                payment = await self._ensure_intent(payment, request.address)
                intent = await self._confirm(payment, request.new.payment_method)
                try:
                    return (
                        await self._steps.apply_intent(payment, intent)
                        if intent
                        else Outcome(payment)
                    )
                except (Declined, Refused, Unreachable) as error:
                    # The card is authorised: an error after that is no refusal of the card.
                    log.warning(
                        "payment left to the reconciler",
                        payment_id=str(payment.id),
                        error=repr(error),
                    )
        except TimeoutError:
            log.warning("payment not finished in time", payment_id=str(payment.id))
        return Outcome(await self._steps.read(payment))

    async def resume(self, payment: Payment, *, abandoned: bool) -> Outcome:
        """Continue a payment that may have lost its process: retrieve the intent, move forward
        only.

        `abandoned`: no process can still be confirming the attempt (ABANDONED_SECONDS by Postgres's
        clock), so an intent that is still payable means that the attempt failed; or the order's
        time is over, so its buyer need not authenticate any more. Raises Refused, Unreachable.
        """
        # All attempts share the order's intent; its status is about the current attempt.
        async with database.connection(self._resources.pool) as connection:
            current = await queries.current_attempt(connection, payment.order_id)
        if current is None or current.id != payment.id or current.status not in OPEN:
            return Outcome(await self._steps.read(payment))
        correlation.rebind(current.correlation_id)
        if current.intent_id is None:
            return Outcome(await self._steps.fail(current, ABANDONED) if abandoned else current)
        intent = await self._provider.retrieve(current.intent_id)
        return await self._steps.apply_intent(current, intent, abandoned=abandoned)

    async def resume_intent(self, intent_id: str) -> None:
        """Continue the attempt of this intent, after a webhook reported a change."""
        async with database.connection(self._resources.pool) as connection:
            order_id = await queries.order_of_intent(connection, intent_id)
            payment = await queries.current_attempt(connection, order_id) if order_id else None
        if payment is None or payment.intent_id != intent_id:
            log.info("webhook for an intent of no attempt", intent_id=intent_id)
            return
        correlation.rebind(payment.correlation_id)
        if payment.status in {"captured", "refunded"}:
            await self.refunds.resume_intent(intent_id)
            return
        # Retrieved after the attempt was read: an older status of the intent could belong to an
        # earlier attempt.
        intent = await self._provider.retrieve(intent_id)
        if payment.status == "voided":
            await self._steps.clear_voided(payment, intent)
        else:
            await self._steps.apply_intent(payment, intent)

    async def abandon(self, order_id: UUID) -> None:
        """Void the intent of an order that ended unpaid. An attempt that is being confirmed or
        settled is left as it is: `orders.settle` decides about it. Raises Refused, Unreachable: the
        intent may still be payable.
        """
        async with database.connection(self._resources.pool) as connection:
            payment = await queries.current_attempt(connection, order_id)
        if (
            payment is not None
            and payment.intent_id
            and payment.status in {"requires_action", "failed"}
        ):
            correlation.rebind(payment.correlation_id)
            await self._steps.void(payment, payment.intent_id)

    async def _ensure_intent(self, payment: Payment, address: str) -> Payment:
        """The attempt with its intent recorded: an attempt without one was never confirmed."""
        if payment.intent_id is not None:
            return payment
        try:
            intent = await self._provider.create(payment, address)
        except Refused as error:
            await self._steps.fail(payment, Failure(error.code, None, str(error)))
            raise
        except Unreachable as error:
            log.warning(
                "payment provider did not answer", payment_id=str(payment.id), error=str(error)
            )
            await self._steps.fail_unreached(
                payment, Failure(PROVIDER_UNAVAILABLE, None, str(error))
            )
            raise ProviderUnavailable(
                "Stripe did not answer, and the card was not charged: try again",
                headers={"Retry-After": "2"},
            ) from error
        async with database.connection(self._resources.pool) as connection:
            await queries.record_intent(connection, payment.id, intent.id)
        return msgspec.structs.replace(payment, intent_id=intent.id)

    async def _confirm(self, payment: Payment, payment_method: str) -> Intent | None:
        """The confirmed intent, None when Stripe did not answer. Raises Declined, Refused."""
        assert payment.intent_id is not None
        try:
            return await self._provider.confirm(
                payment.intent_id, payment.order_id, payment.attempt, payment_method
            )
        except Declined as error:
            await self._steps.fail(payment, error.failure)
            raise
        except Refused as error:
            # Stripe refuses the method, unless the intent is no longer payable: an earlier attempt
            # may have confirmed it after that attempt counted as abandoned.
            with suppress(Unreachable):
                intent = await self._provider.retrieve(payment.intent_id)
                if intent.status not in PAYABLE:
                    return intent
            await self._steps.fail(payment, Failure(error.code, None, str(error)))
            raise
        except Unreachable as error:
            log.warning(
                "payment provider did not answer", payment_id=str(payment.id), error=str(error)
            )
            return None


def _refusal(begun: Begun) -> Problem:
    if begun.outcome == "too_many_declines":
        assert begun.spent
        assert begun.refused_until
        return _too_many_declines(Spent.at(begun.spent, begun.refused_until, begun.decided_at))
    if begun.outcome == "no_attempts_left":
        return NoAttemptsLeft(
            "too many payments of this order failed: its tickets are free when the hold ends"
        )
    if begun.outcome == "sales_ended":
        return SalesEnded("the tickets are not on sale any more: nothing was charged")
    return REFUSALS[begun.outcome]()


def _too_many_declines(spent: Spent) -> TooManyDeclines:
    return TooManyDeclines(
        f"too many cards were declined for this {spent.owner}: wait until `retry_at`",
        limited=spent.owner,
        retry_at=spent.retry_at,
        headers={"Retry-After": str(spent.wait_seconds)},
    )


async def _require_shows(connection: Connection, new: NewPayment) -> None:
    """Raises ShowChanged, which undoes the beginning of the payment."""
    if new.shown_shows is None:
        return
    present = await queries.changed_shows(connection, new.order_id)
    if changed := moved(new.shown_shows, present):
        raise ShowChanged(
            "a show has another place or time than was shown: nothing was charged", shows=changed
        )


async def _is_repeat(connection: Connection, keyed: KeyedRequest | None) -> bool:
    """Whether the attempt in the way belongs to this request, which runs in another task."""
    if keyed is None:
        return False
    claim = await PAYMENT_KEYS.claim(connection, keyed)
    return claim.state is not State.NEW
