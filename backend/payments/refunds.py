"""The course of a refund: begin, request it from Stripe, finish; or fail, and its lines are sold as
before.

A refund returns the money of some lines of an order, or of all. Several refunds of an order may be
under way for different lines: each is one refund at Stripe.

Each step is one transaction or one call to Stripe, never both, and each can be repeated. After a
crash, a webhook's job, the reconciler or a repeated request retrieves Stripe's refund and continues
from its status. A line's row has the id of the refund that it awaits, so a stale refund changes
neither line nor ticket; the tickets leave the order in the transaction that records the returned
money.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

import asyncpg
import structlog

from backend.events.resources import Resources
from backend.kernel import database, idempotency
from backend.kernel.database import Connection
from backend.kernel.ids import new_id
from backend.kernel.metrics import STALE
from backend.kernel.problems import Problem
from backend.payments import queries, refund_queries
from backend.payments.errors import (
    LineNotFound,
    OrderAlreadyRefunded,
    OrderNotFound,
    OrderNotRefundable,
    RefundInProgress,
    RefundNotAllowed,
    RelistNotAllowed,
)
from backend.payments.model import Refund
from backend.payments.payment_steps import append_event
from backend.payments.provider import (
    Declined,
    Provider,
    Refused,
    ServerFailed,
    StripeRefund,
    Unreachable,
)
from backend.payments.refund_queries import Begun, RefundRequest

log = structlog.get_logger()

# A request waits for Stripe at most this long. After it, a webhook or the reconciler continues the
# refund.
REFUND_SECONDS = 25.0

ALREADY_REFUNDED = "charge_already_refunded"
ALWAYS = timedelta(days=36_500)
OPEN = ("requested", "pending")
# Stripe's statuses of a refund that has returned the money, or may still return it.
RETURNING = frozenset({"succeeded", "pending", "requires_action"})


class Refunds:
    def __init__(self, resources: Resources, provider: Provider) -> None:
        self._resources = resources
        self._provider = provider

    async def begin(self, request: RefundRequest) -> Refund:
        """Open the refund of lines of an order. Raises the errors of `backend.payments.errors`, and
        Conflict while the first request with this key runs.
        """
        refund_id = new_id()
        try:
            async with database.transaction(self._resources.pool) as connection:
                begun = await refund_queries.begin(connection, request, refund_id)
                if begun.outcome != "ok":
                    raise _refusal(begun)
                refund = await refund_queries.insert(connection, request, refund_id, begun)
        except asyncpg.UniqueViolationError as error:
            if error.constraint_name == "refunds_key":
                raise idempotency.in_flight() from error
            raise _under_way() from error
        self._resources.wake_relay()
        return refund

    async def carry_out(self, refund: Refund) -> Refund:
        """Continue a refund for at most REFUND_SECONDS. Returns it as it is then. Later, a webhook
        or the reconciler continues it.
        """
        try:
            async with asyncio.timeout(REFUND_SECONDS):
                return await self.resume(refund)
        except (Refused, Unreachable, TimeoutError) as error:
            log.warning(
                "refund left to the reconciler", refund_id=str(refund.id), error=repr(error)
            )
        return await self._read(refund)

    async def resume(self, refund: Refund) -> Refund:
        """Continue a refund from its status at Stripe. Raises Refused, Unreachable."""
        if refund.status == "failed":
            return refund
        found = await self._find_or_request(refund)
        if found.status == refund.status:
            return refund
        match found.status:
            case "succeeded":
                return await self._finish(refund, found)
            case "failed" | "canceled":
                return await self._fail(refund, found)
        return await self._record_pending(refund, found)

    async def resume_intent(self, intent_id: str) -> None:
        """Continue the refunds of this intent, after a webhook reported a change of one."""
        async with database.connection(self._resources.pool) as connection:
            refunds = await refund_queries.open_of_intent(connection, intent_id)
        for refund in refunds:
            await self.resume(refund)

    async def record_manual_refund(self, intent_id: str) -> None:
        """Refund the order of this intent, or the rest of it, if all its money is returned and an
        operator did so at Stripe. Raises Refused, Unreachable, and the errors of `begin`.
        """
        async with database.connection(self._resources.pool) as connection:
            payment = await queries.captured(connection, intent_id)
            ours = await refund_queries.open_of_intent(connection, intent_id)
        if payment is None or sum(refund.amount for refund in ours) >= payment.amount:
            return
        made = await self._provider.refunds_of(intent_id)
        if sum(each.amount for each in made if each.status in RETURNING) < payment.amount:
            if _adoptable(made, ours):
                log.warning(
                    "part of an order's money was refunded at Stripe",
                    order_id=str(payment.order_id),
                )
            return
        # In the name of the buyer, the owner of the money. The refund window does not bind an
        # operator.
        request = RefundRequest(
            payment.order_id, payment.buyer_id, relist=False, buyer_window=ALWAYS
        )
        with suppress(RefundInProgress, OrderAlreadyRefunded):
            await self.resume(await self.begin(request))

    async def _find_or_request(self, refund: Refund) -> StripeRefund:
        if refund.stripe_id is not None:
            return await self._provider.retrieve_refund(refund.stripe_id)
        made = await self._provider.refunds_of(refund.intent_id)
        ours = next((each for each in made if each.refund_id == refund.id), None)
        return ours or await self._request(refund)

    async def _request(self, refund: Refund) -> StripeRefund:
        """Stripe's refund; a failed one when Stripe refuses the request."""
        # Stripe returns its 5xx again under the same key for a day. The list shows that the failed
        # call had no effect, so the next call uses another key.
        key = f"refund:{refund.order_id}:{refund.number}:{refund.faults}"
        try:
            return await self._provider.request_refund(refund, key)
        except ServerFailed:
            async with database.connection(self._resources.pool) as connection:
                await refund_queries.count_fault(connection, refund)
            raise
        except Refused as error:
            manual = None
            if error.code == ALREADY_REFUNDED:
                manual = await self._find_manual_refund(refund)
            return manual or _failed_at_stripe(error.code)
        except Declined as error:
            return _failed_at_stripe(error.failure.code)

    async def _find_manual_refund(self, refund: Refund) -> StripeRefund | None:
        """The refund of an operator, who returned the whole charge at Stripe. Several refunds of
        ours adopt the same one, up to its amount.
        """
        async with database.connection(self._resources.pool) as connection:
            ours = await refund_queries.open_of_intent(connection, refund.intent_id)
        made = await self._provider.refunds_of(refund.intent_id)
        others = [other for other in ours if other.id != refund.id]
        if _adoptable(made, others) < refund.amount:
            return None
        return next(each for each in made if _is_manual(each))

    async def _finish(self, refund: Refund, found: StripeRefund) -> Refund:
        """The money is returned: the lines are refunded, and with the last money the payment."""
        async with database.transaction(self._resources.pool) as connection:
            finished = await refund_queries.finish(connection, refund)
            if not finished:
                STALE.labels("refund").inc()
            succeeded = await refund_queries.advance(
                connection, refund.id, OPEN, "succeeded", stripe_id=found.id
            )
            if succeeded is not None:
                assert finished, "returned money must refund its lines"
                await _refund_payment(connection, refund)
        self._resources.wake_relay()
        return succeeded or await self._read(refund)

    async def _record_pending(self, refund: Refund, found: StripeRefund) -> Refund:
        async with database.connection(self._resources.pool) as connection:
            pending = await refund_queries.advance(
                connection, refund.id, ("requested",), "pending", stripe_id=found.id
            )
        return pending or await self._read(refund)

    async def _fail(self, refund: Refund, found: StripeRefund) -> Refund:
        """The lines are sold again. Lines that are refunded stay so, since another buyer may have
        their tickets: then the shop owes the buyer the money.
        """
        async with database.transaction(self._resources.pool) as connection:
            kept = await refund_queries.fail(connection, refund)
            await refund_queries.free_lines(connection, refund)
            failed = await refund_queries.advance(
                connection,
                refund.id,
                (*OPEN, "succeeded"),
                "failed",
                stripe_id=found.id or None,
                failure_code=found.failure_code or found.status,
            )
        self._resources.wake_relay()
        if failed is not None:
            write = log.warning if kept else log.error
            write(
                "refund failed",
                refund_id=str(refund.id),
                code=failed.failure_code,
                owed_to_buyer=not kept,
            )
        return failed or await self._read(refund)

    async def _read(self, refund: Refund) -> Refund:
        async with database.connection(self._resources.pool) as connection:
            return await refund_queries.refund(connection, refund.id) or refund


async def _refund_payment(connection: Connection, refund: Refund) -> None:
    """Set the payment refunded if this refund returned the rest of its money. The order's row is
    locked, so of two refunds at the same time the later one sees the other.
    """
    if not await refund_queries.returns_all(connection, refund):
        return
    payment = await queries.advance(connection, refund.payment_id, ("captured",), "refunded")
    if payment is not None:
        await append_event(connection, "payment.refunded", payment)


def _is_manual(made: StripeRefund) -> bool:
    """Whether another client than ours returned this money."""
    return made.refund_id is None and made.status in RETURNING


def _adoptable(made: Sequence[StripeRefund], ours: Sequence[Refund]) -> int:
    """The money that an operator returned at Stripe, less what refunds of ours stand for."""
    manual = [each for each in made if _is_manual(each)]
    ids = {each.id for each in manual}
    adopted = sum(refund.amount for refund in ours if refund.stripe_id in ids)
    return sum(each.amount for each in manual) - adopted


def _failed_at_stripe(code: str) -> StripeRefund:
    return StripeRefund("", "failed", 0, None, code)


def _under_way() -> RefundInProgress:
    return RefundInProgress("another refund of these tickets is under way")


def _refusal(begun: Begun) -> Problem:
    match begun.outcome:
        case "not_found":
            return OrderNotFound()
        case "line_not_found":
            return LineNotFound("the order has no such ticket that you may refund")
        case "refunded":
            return OrderAlreadyRefunded("the order or one of the tickets is refunded")
        case "in_progress":
            return _under_way()
        case "not_refundable":
            return OrderNotRefundable(
                "only a completed order can be refunded", order_status=begun.order_status
            )
        case "relist_not_allowed":
            return RelistNotAllowed("only the seller can put the tickets on sale again")
        case "not_allowed":
            return RefundNotAllowed("only the seller can refund this order now")
    raise AssertionError(begun.outcome)
