"""The way of a payment: begin, authorise, settle, capture, finish; or void.

Each step is one transaction or one call to Stripe, never both at once, and each can be taken again: whoever comes
after a crash (a webhook's job, the reconciler, a repeated request) reads the intent and goes on from there. The order's
row decides who wins (`orders.settle`); money is captured only after it did, so nobody pays for a ticket that somebody
else has.
"""

import asyncio
from contextlib import suppress
from typing import NamedTuple
from uuid import UUID

import asyncpg
import msgspec
import structlog

from backend.events import outbox
from backend.events.resources import Resources
from backend.kernel import correlation, database, idempotency
from backend.kernel.database import Connection
from backend.kernel.ids import new_id
from backend.kernel.metrics import STALE
from backend.payments import idempotency_queries, queries
from backend.payments.errors import (
    OrderAlreadyPaid,
    OrderCancelled,
    OrderExpired,
    OrderNotFound,
    PaymentInProgress,
    ProviderUnavailable,
)
from backend.payments.idempotency_queries import PAYMENTS
from backend.payments.model import OPEN, NewPayment, Payment
from backend.payments.provider import Declined, Intent, Provider, Refused, Unreachable
from backend.payments.refunds import Refunds

log = structlog.get_logger()

# No process works longer on an attempt: after it the attempt is whoever's who finds it.
PAY_SECONDS = 25.0
ABANDONED_SECONDS = 30.0

Failure = tuple[str, str | None, str]
ABANDONED: Failure = ("abandoned", None, "the payment was not completed")
REFUSALS = {
    "not_found": OrderNotFound,
    "expired": OrderExpired,
    "cancelled": OrderCancelled,
    "paid": OrderAlreadyPaid,
    "in_progress": PaymentInProgress,
}
ENDED = frozenset({"expired", "cancelled"})
PAYABLE = frozenset({"requires_payment_method", "requires_confirmation"})
AUTHORISABLE = ("started", "requires_action", "failed")


class _Outdated(Exception):
    """Since it was read, the intent was voided, or it became a later attempt's: nothing may be won or lost with it."""


class Outcome(NamedTuple):
    """Where a payment stands; the client secret when the browser has something to do."""

    payment: Payment
    client_secret: str | None = None


class PaymentFlow:
    def __init__(self, resources: Resources, provider: Provider) -> None:
        self._resources = resources
        self._provider = provider
        self.refunds = Refunds(resources, provider)

    async def begin(
        self,
        buyer_id: UUID,
        new: NewPayment,
        key: str | None,
        fingerprint: bytes | None,
    ) -> Payment:
        """Open an attempt; the hold runs on while it is paid. Raises the errors of `backend.payments.errors`."""
        payment_id = new_id()
        try:
            async with database.transaction(self._resources.pool) as connection:
                begun = await queries.begin(connection, new.order_id, buyer_id, payment_id)
                if begun.outcome != "ok":
                    if await _is_repeat(connection, buyer_id, key):
                        raise idempotency.in_flight()
                    if begun.outcome in ENDED:
                        STALE.labels("pay").inc()
                    raise REFUSALS[begun.outcome]
                payment = await queries.insert(
                    connection,
                    payment_id,
                    new.order_id,
                    buyer_id,
                    begun,
                    new.payment_method,
                    key,
                    fingerprint,
                )
                await _tell(connection, "payment.started", payment)
        except asyncpg.UniqueViolationError as fault:
            async with database.connection(self._resources.pool) as connection:
                if await _is_repeat(connection, buyer_id, key):
                    raise idempotency.in_flight() from fault
            raise PaymentInProgress("another payment of this order is under way") from fault
        self._resources.wake_relay()
        return payment

    async def pay(self, payment: Payment, payment_method: str) -> Outcome:
        """Take an open attempt as far as it goes now; an outcome that is still open comes by webhook or reconciler.

        Raises Declined, Refused for a method that can't be charged, ProviderUnavailable when nothing was begun.
        """
        try:
            async with asyncio.timeout(PAY_SECONDS):
                payment = await self._with_intent(payment)
                intent = await self._confirmed(payment, payment_method)
                try:
                    return await self._follow(payment, intent) if intent else Outcome(payment)
                except (Declined, Refused, Unreachable) as fault:
                    # The card has said yes: whatever else Stripe says is no refusal of it.
                    log.warning(
                        "payment goes on later", payment_id=str(payment.id), error=repr(fault)
                    )
        except TimeoutError:
            log.warning("payment takes long", payment_id=str(payment.id))
        return Outcome(await self._read(payment))

    async def _with_intent(self, payment: Payment) -> Payment:
        """The attempt with the order's intent on record, so that an attempt without one was never confirmed."""
        if payment.intent_id is not None:
            return payment
        try:
            intent = await self._provider.create(
                payment.order_id, payment.attempt, payment.amount, payment.currency
            )
        except Refused as fault:
            await self._failed(payment, (fault.code, None, str(fault)))
            raise
        except Unreachable as fault:
            log.warning(
                "payment provider did not answer", payment_id=str(payment.id), error=str(fault)
            )
            await self._failed(payment, ("provider_unavailable", None, str(fault)))
            raise ProviderUnavailable(
                "the card was not asked; try again", headers={"Retry-After": "2"}
            ) from fault
        async with database.connection(self._resources.pool) as connection:
            await queries.record_intent(connection, payment.id, intent.id)
        return msgspec.structs.replace(payment, intent_id=intent.id)

    async def _confirmed(self, payment: Payment, payment_method: str) -> Intent | None:
        """The intent after its confirmation, None when that was not answered. Raises Declined, Refused."""
        assert payment.intent_id is not None
        try:
            return await self._provider.confirm(
                payment.intent_id, payment.order_id, payment.attempt, payment_method
            )
        except Declined as fault:
            await self._failed(payment, (fault.code, fault.decline_code, fault.message))
            raise
        except Refused as fault:
            # The method's fault, unless the intent was confirmed before: by an attempt that was thought dead.
            with suppress(Unreachable):
                intent = await self._provider.retrieve(payment.intent_id)
                if intent.status not in PAYABLE:
                    return intent
            await self._failed(payment, (fault.code, None, str(fault)))
            raise
        except Unreachable as fault:
            log.warning(
                "payment provider did not answer", payment_id=str(payment.id), error=str(fault)
            )
            return None

    async def resume(self, payment: Payment, *, abandoned: bool) -> Outcome:
        """Go on with a payment whose process may be gone: read the intent, move forward only.

        `abandoned` says that no process can still be confirming it (ABANDONED_SECONDS, by Postgres's clock), so that
        an intent which is still payable means that the attempt failed; or that its order's time is over, so that
        nobody need authenticate it any more. Raises Refused, Unreachable.
        """
        # All attempts share the order's intent: what it says is about the current one.
        async with database.connection(self._resources.pool) as connection:
            current = await queries.current_attempt(connection, payment.order_id)
        if current is None or current.id != payment.id or current.status not in OPEN:
            return Outcome(await self._read(payment))
        correlation.rebind(current.correlation_id)
        if current.intent_id is None:
            return Outcome(await self._failed(current, ABANDONED) if abandoned else current)
        intent = await self._provider.retrieve(current.intent_id)
        return await self._follow(current, intent, abandoned=abandoned)

    async def resume_intent(self, intent_id: str) -> None:
        """Something happened to this intent, as a webhook says: go on with the attempt that it is about."""
        async with database.connection(self._resources.pool) as connection:
            order_id = await queries.order_of_intent(connection, intent_id)
            payment = await queries.current_attempt(connection, order_id) if order_id else None
        if payment is None or payment.intent_id != intent_id:
            log.info("webhook for an intent that no attempt is on", intent_id=intent_id)
            return
        correlation.rebind(payment.correlation_id)
        if payment.status in {"captured", "refunded"}:
            await self.refunds.resume_intent(intent_id)
            return
        # Read after the attempt: what the intent was before could pass for this attempt's outcome.
        intent = await self._provider.retrieve(intent_id)
        if payment.status == "voided":
            await self._put_right(payment, intent)
        else:
            await self._follow(payment, intent)

    async def abandon(self, order_id: UUID) -> None:
        """The order ended unpaid: void its intent, unless an attempt is on its way, which `settle` will decide.

        Raises Refused, Unreachable: the intent may still be payable.
        """
        async with database.connection(self._resources.pool) as connection:
            payment = await queries.current_attempt(connection, order_id)
        if (
            payment is not None
            and payment.intent_id
            and payment.status in {"requires_action", "failed"}
        ):
            correlation.rebind(payment.correlation_id)
            await self._void(payment, payment.intent_id)

    async def _put_right(self, payment: Payment, intent: Intent) -> None:
        """A voided payment's intent must not hold or take money, whatever reached Stripe after the void."""
        if intent.status == "requires_capture":
            await self._provider.cancel(intent.id)
        elif intent.status == "succeeded":
            await self._give_back(payment, intent)

    async def _follow(
        self, payment: Payment, intent: Intent, *, abandoned: bool = False
    ) -> Outcome:
        match intent.status:
            case "requires_capture":
                return Outcome(await self._settle(payment, intent))
            case "succeeded":
                return Outcome(await self._succeeded(payment, intent))
            case "canceled":
                return Outcome(await self._unpayable(payment, intent.id))
            case "requires_action" if payment.status == "requires_action" and abandoned:
                return Outcome(await self._void(payment, intent.id))
            case "requires_action":
                return await self._requires_action(payment, intent)
            case "requires_payment_method" | "requires_confirmation":
                challenged = payment.status == "requires_action" and intent.failure is not None
                if challenged or (payment.status == "started" and abandoned):
                    # An intent keeps its last error: what it says may be of the attempt before, if this one never reached it.
                    own = challenged or payment.attempt == 1
                    failure = intent.failure if own and intent.failure else ABANDONED
                    return Outcome(await self._failed(payment, failure, intent.id))
        return Outcome(payment)

    async def _settle(self, payment: Payment, intent: Intent) -> Payment:
        try:
            async with database.transaction(self._resources.pool) as connection:
                won = await queries.settle(connection, payment, intent)
                authorised = await queries.advance(
                    connection, payment.id, AUTHORISABLE, "authorised", intent_id=intent.id
                )
                if authorised is not None:
                    await _tell(connection, "payment.authorised", authorised)
                else:
                    await _check_current(connection, payment)
        except _Outdated:
            return await self._read(payment)
        self._resources.wake_relay()
        payment = authorised or payment
        if not won:
            STALE.labels("settle").inc()
            return await self._void(payment, intent.id)
        try:
            await self._provider.capture(intent.id)
        except (Declined, Refused) as fault:
            log.warning("capture refused", payment_id=str(payment.id), error=str(fault))
            return await self._uncaptured(payment, intent.id)
        return await self._finish(payment)

    async def _uncaptured(self, payment: Payment, intent_id: str) -> Payment:
        """Stripe would not capture: what the intent is now decides."""
        intent = await self._provider.retrieve(intent_id)
        match intent.status:
            case "succeeded":
                return await self._finish(payment)
            case "canceled":
                return await self._unpayable(payment, intent_id)
            case "requires_capture":
                return await self._void(payment, intent_id)
        return payment

    async def _finish(self, payment: Payment) -> Payment:
        async with database.transaction(self._resources.pool) as connection:
            finished = await queries.finish(connection, payment)
            captured = await queries.advance(
                connection, payment.id, (*AUTHORISABLE, "authorised"), "captured"
            )
            if not finished:
                STALE.labels("finish").inc()
            if captured is not None:
                # Else a twin did this, and the order may be on its way to a refund by now.
                assert finished, "captured money must complete its order"
                await _tell(connection, "payment.captured", captured)
        self._resources.wake_relay()
        return captured or await self._read(payment)

    async def _succeeded(self, payment: Payment, intent: Intent) -> Payment:
        """Captured by an earlier run of ours that died before it could say so; or from outside, and then given back."""
        try:
            async with database.transaction(self._resources.pool) as connection:
                won = await queries.settle(connection, payment, intent)
                await _check_current(connection, payment)
        except _Outdated:
            return await self._read(payment)
        if won:
            return await self._finish(payment)
        STALE.labels("settle").inc()
        return await self._give_back(payment, intent)

    async def _give_back(self, payment: Payment, intent: Intent) -> Payment:
        """Refund captured money that no order was completed with."""
        async with database.connection(self._resources.pool) as connection:
            if await queries.is_captured(connection, intent.id):
                return await self._read(payment)
        await self._provider.refund(intent.id, payment.order_id)
        leaves = (*OPEN, "failed", "voided")
        return await self._moved(
            payment,
            "refunded",
            "payment.refunded",
            leaves=leaves,
            intent_id=intent.id,
        )

    async def _void(self, payment: Payment, intent_id: str) -> Payment:
        """Raises Unreachable when it isn't known to be voided."""
        try:
            await self._provider.cancel(intent_id)
        except Refused:
            # It is no longer voidable: voided before, or captured, which the next look will settle.
            intent = await self._provider.retrieve(intent_id)
            if intent.status != "canceled":
                log.warning(
                    "intent can't be voided",
                    payment_id=str(payment.id),
                    intent_status=intent.status,
                )
                return payment
        return await self._unpayable(payment, intent_id)

    async def _unpayable(self, payment: Payment, intent_id: str) -> Payment:
        """The intent will never be captured. An order that had been won is cancelled, its tickets free again."""
        async with database.transaction(self._resources.pool) as connection:
            await queries.fail(connection, payment)
            voided = await queries.advance(
                connection, payment.id, tuple(OPEN), "voided", intent_id=intent_id
            )
            if voided is not None:
                await _tell(connection, "payment.voided", voided)
        self._resources.wake_relay()
        return voided or await self._read(payment)

    async def _requires_action(self, payment: Payment, intent: Intent) -> Outcome:
        if payment.status == "started":
            payment = await self._moved(
                payment,
                "requires_action",
                "payment.started",
                leaves=("started",),
                intent_id=intent.id,
            )
        return Outcome(payment, intent.client_secret)

    async def _failed(
        self, payment: Payment, failure: Failure, intent_id: str | None = None
    ) -> Payment:
        return await self._moved(
            payment,
            "failed",
            "payment.failed",
            leaves=("started", "requires_action"),
            intent_id=intent_id,
            failure=failure,
        )

    async def _moved(
        self,
        payment: Payment,
        status: str,
        event: str,
        *,
        leaves: tuple[str, ...],
        intent_id: str | None = None,
        failure: Failure | None = None,
    ) -> Payment:
        async with database.transaction(self._resources.pool) as connection:
            moved = await queries.advance(
                connection, payment.id, leaves, status, intent_id=intent_id, failure=failure
            )
            if moved is not None:
                await _tell(connection, event, moved)
        self._resources.wake_relay()
        return moved or await self._read(payment)

    async def _read(self, payment: Payment) -> Payment:
        async with database.connection(self._resources.pool) as connection:
            return await queries.payment(connection, payment.id) or payment


async def _is_repeat(connection: Connection, buyer_id: UUID, key: str | None) -> bool:
    """Whether what is in the way is this very request, at work elsewhere."""
    return (
        key is not None
        and await idempotency_queries.earlier(connection, PAYMENTS, buyer_id, key) is not None
    )


async def _check_current(connection: Connection, payment: Payment) -> None:
    """Raises _Outdated. An attempt is on record before it is confirmed, so one that changed the intent is seen here."""
    current = await queries.current_attempt(connection, payment.order_id)
    if current is None or current.id != payment.id or current.status == "voided":
        raise _Outdated


async def _tell(connection: Connection, event: str, payment: Payment) -> None:
    told = msgspec.structs.replace(payment, correlation_id=None)
    await outbox.append(connection, event, payment.id, payment.version, told)
