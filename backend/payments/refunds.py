"""The way of a refund: begin, ask Stripe, finish; or fail, and the order is completed as it was.

Each step is one transaction or one call to Stripe, never both at once, and each can be taken again: whoever comes after
a crash (a webhook's job, the reconciler, a repeated request) looks at what Stripe has and goes on from there. The order
names the refund that it waits for, so a stale one moves neither order nor ticket; its tickets leave it in the
transaction that records the money's return.
"""

import asyncio
from datetime import timedelta

import asyncpg
import structlog

from backend.events import outbox
from backend.events.resources import Resources
from backend.kernel import database, idempotency
from backend.kernel.database import Connection
from backend.kernel.ids import new_id
from backend.kernel.metrics import STALE
from backend.kernel.problems import Problem
from backend.payments import queries, refund_queries
from backend.payments.errors import (
    OrderAlreadyRefunded,
    OrderHasOtherSellers,
    OrderNotFound,
    OrderNotRefundable,
    RefundInProgress,
    RefundNotAllowed,
    RelistNotAllowed,
)
from backend.payments.model import Refund
from backend.payments.provider import (
    Declined,
    Faulted,
    Provider,
    Refused,
    StripeRefund,
    Unreachable,
)
from backend.payments.refund_queries import Asking, Begun

log = structlog.get_logger()

# No request waits longer for Stripe; the refund goes on without it.
REFUND_SECONDS = 25.0

ALREADY_REFUNDED = "charge_already_refunded"
ALWAYS = timedelta(days=36_500)
OPEN = ("requested", "pending")
# Money that Stripe has sent, or will.
GIVEN = frozenset({"succeeded", "pending", "requires_action"})


class Refunds:
    def __init__(self, resources: Resources, provider: Provider) -> None:
        self._resources = resources
        self._provider = provider

    async def begin(self, asking: Asking) -> Refund:
        """Open the refund of an order. Raises the errors of `backend.payments.errors`."""
        refund_id = new_id()
        try:
            async with database.transaction(self._resources.pool) as connection:
                begun = await refund_queries.begin(connection, asking, refund_id)
                if begun.outcome != "ok" and not await _is_owed(connection, asking, begun):
                    raise _refusal(begun)
                refund = await refund_queries.insert(connection, asking, refund_id, begun)
        except asyncpg.UniqueViolationError as fault:
            if fault.constraint_name == "refunds_key":
                raise idempotency.in_flight() from fault
            raise RefundInProgress("another refund of this order is under way") from fault
        self._resources.wake_relay()
        return refund

    async def carry_out(self, refund: Refund) -> Refund:
        """Take a refund as far as it goes now; an outcome that is still open comes by webhook or reconciler."""
        try:
            async with asyncio.timeout(REFUND_SECONDS):
                return await self.resume(refund)
        except (Refused, Unreachable, TimeoutError) as fault:
            log.warning("refund goes on later", refund_id=str(refund.id), error=repr(fault))
        return await self._read(refund)

    async def resume(self, refund: Refund) -> Refund:
        """Go on with a refund: see what Stripe has of it, and move forward only. Raises Refused, Unreachable."""
        if refund.status == "failed":
            return refund
        found = await self._at_stripe(refund)
        if found.status == refund.status:
            return refund
        match found.status:
            case "succeeded":
                return await self._succeeded(refund, found)
            case "failed" | "canceled":
                return await self._failed(refund, found)
        return await self._pending(refund, found)

    async def resume_intent(self, intent_id: str) -> None:
        """Something happened to this intent, as a webhook says: go on with the refund that it is about."""
        async with database.connection(self._resources.pool) as connection:
            refund = await refund_queries.newest_of_intent(connection, intent_id)
        if refund is not None:
            await self.resume(refund)

    async def adopt(self, intent_id: str) -> None:
        """Refund an order whose money went back by somebody's hand, at Stripe. Raises Refused, Unreachable."""
        async with database.connection(self._resources.pool) as connection:
            payment = await queries.captured(connection, intent_id)
            last = await refund_queries.newest_of_intent(connection, intent_id)
        if payment is None or (last is not None and last.status != "failed"):
            return
        made = await self._provider.refunds_of(intent_id)
        given = sum(each.amount for each in made if each.status in GIVEN)
        if given < payment.amount:
            if given:
                log.warning(
                    "part of an order's money went back by hand", order_id=str(payment.order_id)
                )
            return
        # It is the buyer who has it, and whoever gave it asked nobody.
        asking = Asking(payment.order_id, payment.buyer_id, relist=False, buyer_window=ALWAYS)
        await self.resume(await self.begin(asking))

    async def _at_stripe(self, refund: Refund) -> StripeRefund:
        if refund.stripe_id is not None:
            return await self._provider.retrieve_refund(refund.stripe_id)
        made = await self._provider.refunds_of(refund.intent_id)
        ours = next((each for each in made if each.refund_id == refund.id), None)
        return ours or await self._requested(refund)

    async def _requested(self, refund: Refund) -> StripeRefund:
        """What Stripe refuses is a refund that failed."""
        # A fault of Stripe's is its answer to the key for a day; nothing was found since, so another key may ask.
        key = f"refund:{refund.order_id}:{refund.number}:{refund.faults}"
        try:
            return await self._provider.request_refund(
                refund.intent_id, refund.amount, refund.order_id, refund.id, key
            )
        except Faulted:
            async with database.connection(self._resources.pool) as connection:
                await refund_queries.count_fault(connection, refund)
            raise
        except Refused as fault:
            by_hand = await self._given_by_hand(refund) if fault.code == ALREADY_REFUNDED else None
            return by_hand or _refused(fault.code)
        except Declined as fault:
            return _refused(fault.code)

    async def _given_by_hand(self, refund: Refund) -> StripeRefund | None:
        """The whole charge went back by somebody's hand, at Stripe: the order's refund is that one."""
        made = await self._provider.refunds_of(refund.intent_id)
        return next((each for each in made if each.status in GIVEN), None)

    async def _succeeded(self, refund: Refund, found: StripeRefund) -> Refund:
        async with database.transaction(self._resources.pool) as connection:
            finished = await refund_queries.finish(connection, refund)
            if not finished:
                STALE.labels("refund").inc()
            succeeded = await refund_queries.advance(
                connection, refund.id, OPEN, "succeeded", stripe_id=found.id
            )
            if succeeded is not None:
                assert finished, "money that is back must refund its order"
                await _tell_refunded(connection, refund)
        self._resources.wake_relay()
        return succeeded or await self._read(refund)

    async def _pending(self, refund: Refund, found: StripeRefund) -> Refund:
        async with database.connection(self._resources.pool) as connection:
            pending = await refund_queries.advance(
                connection, refund.id, ("requested",), "pending", stripe_id=found.id
            )
        return pending or await self._read(refund)

    async def _failed(self, refund: Refund, found: StripeRefund) -> Refund:
        """The order is completed again. One that is refunded stays so: its tickets may be somebody else's by now."""
        async with database.transaction(self._resources.pool) as connection:
            kept = await refund_queries.fail(connection, refund)
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
            told = log.warning if kept else log.error
            told(
                "refund failed",
                refund_id=str(refund.id),
                code=failed.failure_code,
                owed_to_buyer=not kept,
            )
        return failed or await self._read(refund)

    async def _read(self, refund: Refund) -> Refund:
        async with database.connection(self._resources.pool) as connection:
            return await refund_queries.refund(connection, refund.id) or refund


async def _is_owed(connection: Connection, asking: Asking, begun: Begun) -> bool:
    """The order was refunded, and Stripe's bank sent the money back to us days later: it may be asked for again."""
    if begun.outcome != "refunded":
        return False
    last = await refund_queries.newest_of_order(connection, asking.order_id)
    return last is not None and last.status == "failed"


def _refused(code: str) -> StripeRefund:
    return StripeRefund("", "failed", 0, None, code)


def _refusal(begun: Begun) -> Problem:
    match begun.outcome:
        case "not_found":
            return OrderNotFound()
        case "other_sellers":
            return OrderHasOtherSellers(
                "only an order whose tickets are all yours can be refunded whole"
            )
        case "refunded":
            return OrderAlreadyRefunded("the order is refunded")
        case "in_progress":
            return RefundInProgress("another refund of this order is under way")
        case "not_refundable":
            return OrderNotRefundable(
                "only a completed order is refunded", order_status=begun.order_status
            )
        case "relist_not_allowed":
            return RelistNotAllowed("only the seller puts tickets on sale again")
        case "not_allowed":
            return RefundNotAllowed("only the seller may refund this order now")
    raise AssertionError(begun.outcome)


async def _tell_refunded(connection: Connection, refund: Refund) -> None:
    payment = await queries.advance(connection, refund.payment_id, ("captured",), "refunded")
    if payment is not None:
        await outbox.append(
            connection,
            "payment.refunded",
            payment.id,
            payment.version,
            payment,
        )
