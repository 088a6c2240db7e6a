"""The steps of a payment, each one transaction or one call to Stripe: the effect of an intent's
status on its attempt and its order.

A step that finds its work done, or done otherwise by another process, changes nothing and returns
the payment as it is now.
"""

from typing import NamedTuple

import msgspec
import structlog

from backend.events import outbox
from backend.events.resources import Resources
from backend.kernel import database
from backend.kernel.database import Connection
from backend.kernel.metrics import STALE
from backend.payments import queries
from backend.payments.model import OPEN, Payment
from backend.payments.provider import Declined, Failure, Intent, Provider, Refused

log = structlog.get_logger()

ABANDONED = Failure("abandoned", None, "the payment was not completed")
AUTHORISABLE = ("started", "requires_action", "failed")


class Outcome(NamedTuple):
    """A payment after its steps, with the client secret when the browser has to authenticate it."""

    payment: Payment
    client_secret: str | None = None


class PaymentSteps:
    def __init__(self, resources: Resources, provider: Provider) -> None:
        self._resources = resources
        self._provider = provider

    async def apply_intent(
        self, payment: Payment, intent: Intent, *, abandoned: bool = False
    ) -> Outcome:
        """Advance the payment to the status of its intent. `abandoned`: see `PaymentFlow.resume`.

        Raises Declined, Refused, Unreachable.
        """
        match intent.status:
            case "requires_capture":
                return Outcome(await self._settle(payment, intent))
            case "succeeded":
                return Outcome(await self._settle_captured(payment, intent))
            case "canceled":
                return Outcome(await self._record_void(payment, intent.id))
            case "requires_action" if payment.status == "requires_action" and abandoned:
                return Outcome(await self.void(payment, intent.id))
            case "requires_action":
                return await self._require_action(payment, intent)
            case "requires_payment_method" | "requires_confirmation":
                challenged = payment.status == "requires_action" and intent.failure is not None
                if challenged or (payment.status == "started" and abandoned):
                    # An intent keeps its last error, which is an earlier attempt's when this
                    # attempt never reached Stripe.
                    is_own = challenged or payment.attempt == 1
                    failure = intent.failure if is_own and intent.failure else ABANDONED
                    return Outcome(await self.fail(payment, failure, intent.id))
        return Outcome(payment)

    async def void(self, payment: Payment, intent_id: str) -> Payment:
        """Cancel the intent at Stripe. Raises Unreachable when Stripe may not have cancelled it."""
        try:
            await self._provider.cancel(intent_id)
        except Refused:
            # Cancelled before, or captured: then the next reconciliation settles it.
            intent = await self._provider.retrieve(intent_id)
            if intent.status != "canceled":
                log.warning(
                    "intent can't be voided",
                    payment_id=str(payment.id),
                    intent_status=intent.status,
                )
                return payment
        return await self._record_void(payment, intent_id)

    async def clear_voided(self, payment: Payment, intent: Intent) -> None:
        """Cancel or refund a voided payment's intent that a late request authorised or captured."""
        if intent.status == "requires_capture":
            await self._provider.cancel(intent.id)
        elif intent.status == "succeeded":
            await self._refund_uncompleted_capture(payment, intent)

    async def fail(
        self, payment: Payment, failure: Failure, intent_id: str | None = None
    ) -> Payment:
        """Record that the attempt failed, if it is not authorised."""
        return await self._advance(
            payment,
            "failed",
            "payment.failed",
            from_statuses=("started", "requires_action"),
            intent_id=intent_id,
            failure=failure,
        )

    async def fail_unreached(self, payment: Payment, failure: Failure) -> Payment:
        """Record that the attempt failed before Stripe received a card: it does not count."""
        try:
            async with database.transaction(self._resources.pool) as connection:
                # Before the attempt's row, as a payment that wins its order locks both.
                await queries.uncount_attempt(connection, payment)
                failed = _changed(
                    await queries.advance(
                        connection, payment.id, ("started",), "failed", failure=failure
                    )
                )
                await append_event(connection, "payment.failed", failed)
        except _Outdated:
            return await self.read(payment)
        self._resources.wake_relay()
        return failed

    async def read(self, payment: Payment) -> Payment:
        """The payment as it is now."""
        async with database.connection(self._resources.pool) as connection:
            return await queries.payment(connection, payment.id) or payment

    async def _settle(self, payment: Payment, intent: Intent) -> Payment:
        """The card is authorised: capture the money if this payment wins the order, else void."""
        try:
            async with database.transaction(self._resources.pool) as connection:
                won = await queries.settle(connection, payment, intent)
                authorised = await queries.advance(
                    connection, payment.id, AUTHORISABLE, "authorised", intent_id=intent.id
                )
                if authorised is not None:
                    await append_event(connection, "payment.authorised", authorised)
                else:
                    await _check_current(connection, payment)
        except _Outdated:
            return await self.read(payment)
        self._resources.wake_relay()
        payment = authorised or payment
        if not won:
            STALE.labels("settle").inc()
            return await self.void(payment, intent.id)
        try:
            await self._provider.capture(intent.id)
        except (Declined, Refused) as error:
            log.warning("capture refused", payment_id=str(payment.id), error=str(error))
            return await self._apply_refused_capture(payment, intent.id)
        return await self._finish(payment)

    async def _apply_refused_capture(self, payment: Payment, intent_id: str) -> Payment:
        intent = await self._provider.retrieve(intent_id)
        match intent.status:
            case "succeeded":
                return await self._finish(payment)
            case "canceled":
                return await self._record_void(payment, intent_id)
            case "requires_capture":
                return await self.void(payment, intent_id)
        return payment

    async def _finish(self, payment: Payment) -> Payment:
        """The money is captured: complete the order."""
        async with database.transaction(self._resources.pool) as connection:
            finished = await queries.finish(connection, payment)
            captured = await queries.advance(
                connection, payment.id, (*AUTHORISABLE, "authorised"), "captured"
            )
            if not finished:
                STALE.labels("finish").inc()
            if captured is not None:
                # Otherwise another process captured it, and the order may already await a refund.
                assert finished, "captured money must complete its order"
                await append_event(connection, "payment.captured", captured)
        self._resources.wake_relay()
        return captured or await self.read(payment)

    async def _settle_captured(self, payment: Payment, intent: Intent) -> Payment:
        """The intent is captured, and its attempt does not show it: a process of ours died before
        it recorded the capture, or another client of Stripe captured the intent. The money is
        refunded if the payment does not win the order.
        """
        try:
            async with database.transaction(self._resources.pool) as connection:
                won = await queries.settle(connection, payment, intent)
                await _check_current(connection, payment)
        except _Outdated:
            return await self.read(payment)
        if won:
            return await self._finish(payment)
        STALE.labels("settle").inc()
        return await self._refund_uncompleted_capture(payment, intent)

    async def _refund_uncompleted_capture(self, payment: Payment, intent: Intent) -> Payment:
        """Refund captured money that completed no order."""
        async with database.connection(self._resources.pool) as connection:
            if await queries.is_captured(connection, intent.id):
                return await self.read(payment)
        await self._provider.refund(intent.id, payment.order_id)
        return await self._advance(
            payment,
            "refunded",
            "payment.refunded",
            from_statuses=(*OPEN, "failed", "voided"),
            intent_id=intent.id,
        )

    async def _record_void(self, payment: Payment, intent_id: str) -> Payment:
        """The intent will never be captured. An order that it had won is cancelled, and its tickets
        are for sale again.
        """
        async with database.transaction(self._resources.pool) as connection:
            await queries.fail(connection, payment)
            voided = await queries.advance(
                connection, payment.id, tuple(OPEN), "voided", intent_id=intent_id
            )
            if voided is not None:
                await append_event(connection, "payment.voided", voided)
        self._resources.wake_relay()
        return voided or await self.read(payment)

    async def _require_action(self, payment: Payment, intent: Intent) -> Outcome:
        if payment.status == "started":
            payment = await self._advance(
                payment,
                "requires_action",
                "payment.started",
                from_statuses=("started",),
                intent_id=intent.id,
            )
        return Outcome(payment, intent.client_secret)

    async def _advance(
        self,
        payment: Payment,
        status: str,
        event: str,
        *,
        from_statuses: tuple[str, ...],
        intent_id: str | None = None,
        failure: Failure | None = None,
    ) -> Payment:
        async with database.transaction(self._resources.pool) as connection:
            advanced = await queries.advance(
                connection, payment.id, from_statuses, status, intent_id=intent_id, failure=failure
            )
            if advanced is not None:
                await append_event(connection, event, advanced)
        self._resources.wake_relay()
        return advanced or await self.read(payment)


class _Outdated(Exception):
    """Since the attempt was read, another process changed it, or its intent was voided or became a
    later attempt's: the intent's status decides nothing about this attempt.
    """


def _changed(payment: Payment | None) -> Payment:
    """Raises _Outdated when another process changed the payment."""
    if payment is None:
        raise _Outdated
    return payment


async def _check_current(connection: Connection, payment: Payment) -> None:
    """Raises _Outdated. An attempt is recorded before it is confirmed, so a later attempt that
    changed the intent is visible here.
    """
    current = await queries.current_attempt(connection, payment.order_id)
    if current is None or current.id != payment.id or current.status == "voided":
        raise _Outdated


async def append_event(connection: Connection, event: str, payment: Payment) -> None:
    """Append the payment's event in the transaction of its change."""
    published = msgspec.structs.replace(
        payment,
        correlation_id=None,
        failure_code=None,
        decline_code=None,
        failure_message=None,
        reason=payment.failed_for,
    )
    await outbox.append(connection, event, payment.id, payment.version, published)
