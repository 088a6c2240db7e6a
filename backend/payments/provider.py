"""Stripe's API by its official library: the calls that payments makes, with typed results and
errors. This module converts our amounts to Stripe's and back.

A create, a confirmation and a refund carry an idempotency key made of their subject, so that a
repeat after a crash or a lost reply is the same call. A capture and a void need none: the intent's
status allows each once, and Stripe would return a stored 500 under the same key for a day. Each
call has a timeout.
"""

import time
from typing import Any, NamedTuple
from uuid import UUID

import stripe
from prometheus_client import Histogram
from stripe import StripeClient

from backend.currencies import CURRENCIES
from backend.kernel import tracing
from backend.kernel.client_address import UNKNOWN
from backend.payments.model import Payment, Refund

# Two calls, each tried twice, end before an attempt counts as abandoned.
CALL_SECONDS = 5.0
REFUNDS_LISTED = 100

CALL_DURATION = Histogram(
    "gittix_stripe_request_seconds",
    "Time until Stripe replied or the call failed",
    ["operation", "outcome"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)


class Failure(NamedTuple):
    """Stripe's codes and message for a payment that failed."""

    code: str
    decline_code: str | None
    message: str


class Intent(NamedTuple):
    """A PaymentIntent with its amount in our units. `failure` is its last error."""

    id: str
    status: str
    amount: int
    currency: str
    order_id: UUID | None
    client_secret: str
    failure: Failure | None


class StripeRefund(NamedTuple):
    """A refund at Stripe, in our units. `refund_id` is the id of our refund, None when another
    client made it.
    """

    id: str
    status: str
    amount: int
    refund_id: UUID | None
    failure_code: str | None


class Declined(Exception):
    """The bank declined the card."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Refused(Exception):
    """Stripe refuses the call, now and later; `code` is Stripe's reason."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Unreachable(Exception):
    """No reply, or one that does not show the outcome: retrieve the intent again later."""


class ServerFailed(Unreachable):
    """A 5xx, which Stripe returns again for this idempotency key, whether the call took effect or
    not.
    """


class Provider:
    """The client of Stripe's API. Each call raises Declined, Refused or Unreachable."""

    def __init__(self, api_key: str, api_base: str) -> None:
        self._http = stripe.HTTPXClient(timeout=CALL_SECONDS)
        self._client = StripeClient(
            api_key, base_addresses={"api": api_base}, http_client=self._http, max_network_retries=1
        )

    async def close(self) -> None:
        await self._http.close_async()  # type: ignore[no-untyped-call]

    async def create(self, payment: Payment, address: str) -> Intent:
        """Create the order's intent. A repeat for the same attempt returns the same intent, as it
        was created.

        Later attempts use the intent of the first, unless Stripe's reply to this call was lost.

        Rules of Radar can use the metadata. Stripe's script in the browser sends the device and the
        address of the buyer itself (docs.stripe.com/radar/optimize-risk-factors); a server has no
        field for the address but in a mandate, which no buyer gives here. Without
        `setup_future_usage`, the card is used for this payment only.
        """
        metadata = {"order_id": str(payment.order_id), "buyer_id": str(payment.buyer_id)}
        if address != UNKNOWN:
            metadata["client_ip"] = address
        return await _call_intent(
            "create_intent",
            self._client.v1.payment_intents.create_async(
                {
                    "amount": CURRENCIES[payment.currency].to_wire(payment.amount),
                    "currency": payment.currency.lower(),
                    "capture_method": "manual",
                    "description": f"GitTix order {payment.order_id}",
                    # Cards only, since no payment method may redirect the buyer to another page.
                    "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
                    "metadata": metadata,
                },
                {"idempotency_key": f"intent:{payment.order_id}:{payment.attempt}"},
            ),
        )

    async def confirm(
        self, intent_id: str, order_id: UUID, attempt: int, payment_method: str
    ) -> Intent:
        """Confirm the intent with a payment method. A repeat for the same attempt returns the same
        intent.
        """
        return await _call_intent(
            "confirm",
            self._client.v1.payment_intents.confirm_async(
                intent_id,
                # Stripe's own script authenticates the buyer in the browser.
                {"payment_method": payment_method, "use_stripe_sdk": True},
                {"idempotency_key": f"confirm:{order_id}:{attempt}"},
            ),
        )

    async def retrieve(self, intent_id: str) -> Intent:
        return await _call_intent(
            "retrieve", self._client.v1.payment_intents.retrieve_async(intent_id)
        )

    async def capture(self, intent_id: str) -> Intent:
        return await _call_intent(
            "capture", self._client.v1.payment_intents.capture_async(intent_id)
        )

    async def cancel(self, intent_id: str) -> Intent:
        return await _call_intent(
            "cancel",
            self._client.v1.payment_intents.cancel_async(
                intent_id, {"cancellation_reason": "abandoned"}
            ),
        )

    async def refund(self, intent_id: str, order_id: UUID) -> None:
        """Refund all captured money."""
        await _call(
            "refund",
            self._client.v1.refunds.create_async(
                {"payment_intent": intent_id}, {"idempotency_key": f"refund:{order_id}"}
            ),
        )

    async def request_refund(self, refund: Refund, key: str) -> StripeRefund:
        """Refund `amount` of the captured money."""
        return _refund_of(
            await _call(
                "refund",
                self._client.v1.refunds.create_async(
                    {
                        "payment_intent": refund.intent_id,
                        "amount": CURRENCIES[refund.currency].to_wire(refund.amount),
                        "metadata": {"order_id": str(refund.order_id), "refund_id": str(refund.id)},
                    },
                    {"idempotency_key": key},
                ),
            )
        )

    async def retrieve_refund(self, stripe_id: str) -> StripeRefund:
        return _refund_of(
            await _call("retrieve_refund", self._client.v1.refunds.retrieve_async(stripe_id))
        )

    async def refunds_of(self, intent_id: str) -> list[StripeRefund]:
        """The newest refunds of an intent, up to REFUNDS_LISTED, of any client."""
        found = await _call(
            "list_refunds",
            self._client.v1.refunds.list_async(
                {"payment_intent": intent_id, "limit": REFUNDS_LISTED}
            ),
        )
        return [_refund_of(each) for each in found.data]


def verify_signature(body: bytes, header: str, secrets: tuple[str, ...], *, now: float) -> bool:
    """Whether one of the secrets signed these bytes at most five minutes before or after `now`."""
    if not header.isascii():
        return False
    for secret in secrets:
        try:
            stripe.WebhookSignature.verify_header(body, header, secret, tolerance=300)
        except (stripe.SignatureVerificationError, UnicodeDecodeError):
            continue
        # The library accepts a timestamp of any time in the future.
        stamp = next((part[2:] for part in header.split(",") if part.strip().startswith("t=")), "")
        return stamp.isdigit() and float(stamp) < now + 300
    return False


async def _call_intent(operation: str, call: Any) -> Intent:
    found = await _call(operation, call)
    error = found.last_payment_error
    order_id = (
        found.metadata["order_id"] if found.metadata and "order_id" in found.metadata else None
    )
    currency = found.currency.upper()
    return Intent(
        found.id,
        found.status,
        _amount(found.amount, currency),
        currency,
        UUID(order_id) if order_id else None,
        found.client_secret or "",
        _failure_of(error) if error else None,
    )


def _refund_of(found: Any) -> StripeRefund:
    ours = found.metadata["refund_id"] if found.metadata and "refund_id" in found.metadata else None
    return StripeRefund(
        found.id,
        found.status,
        _amount(found.amount, found.currency.upper()),
        UUID(ours) if ours else None,
        getattr(found, "failure_reason", None),
    )


def _amount(amount: int, currency: str) -> int:
    """Our amount of Stripe's. Another client of the account may charge in any currency: such an
    amount stays as it is, and no order has that currency.
    """
    rules = CURRENCIES.get(currency)
    return rules.from_wire(amount) if rules else amount


def _failure_of(error: Any) -> Failure:
    # The library has no attribute for a field that Stripe left out.
    code, decline_code, message = (
        getattr(error, name, None) for name in ("code", "decline_code", "message")
    )
    return Failure(code or "card_declined", decline_code, message or "")


# The metric's labels.
_OUTCOMES: dict[type[Exception], str] = {
    Declined: "declined",
    Refused: "refused",
    ServerFailed: "faulted",
}


async def _call(operation: str, call: Any) -> Any:
    began = time.perf_counter()
    outcome = "unreachable"
    try:
        with tracing.span(f"stripe {operation}"):
            answer = await _with_own_errors(call)
        outcome = "ok"
    except (Declined, Refused, ServerFailed) as error:
        outcome = _OUTCOMES[type(error)]
        raise
    finally:
        CALL_DURATION.labels(operation, outcome).observe(time.perf_counter() - began)
    return answer


async def _with_own_errors(call: Any) -> Any:
    try:
        return await call
    except stripe.CardError as error:
        decline_code = error.error.decline_code if error.error else None
        code = error.code or "card_declined"
        raise Declined(Failure(code, decline_code, error.user_message or "")) from error
    except stripe.InvalidRequestError as error:
        raise Refused(error.code or "invalid_request", error.user_message or str(error)) from error
    except stripe.StripeError as error:
        unanswered = ServerFailed if (error.http_status or 0) >= 500 else Unreachable
        raise unanswered(f"{type(error).__name__} {error.http_status or ''}".strip()) from error
