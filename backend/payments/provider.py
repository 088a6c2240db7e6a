"""Stripe, by its official library: what is asked of it, and its answers in our words.

A create, a confirmation and a refund have an idempotency key made of what they are for, so that a repeat after a crash
or a lost reply is the same call. A capture and a void need none: the intent's state allows each once, and Stripe would
repeat a stored 500 under the same key for a day. Every call is bounded in time.
"""

import time
from typing import Any, NamedTuple
from uuid import UUID

import stripe
from prometheus_client import Histogram
from stripe import StripeClient

from backend.kernel import tracing

# Two calls, each tried twice, end before an attempt counts as abandoned.
CALL_SECONDS = 5.0
REFUNDS_LISTED = 100

ASKED = Histogram(
    "gittix_stripe_request_seconds",
    "Time until Stripe answered, or was known not to",
    ["operation", "outcome"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)


class Intent(NamedTuple):
    """A PaymentIntent. `failure` is its last error: (code, decline code, message)."""

    id: str
    status: str
    amount: int
    currency: str
    order_id: UUID | None
    client_secret: str
    failure: tuple[str, str | None, str] | None


class StripeRefund(NamedTuple):
    """Money on its way back. `refund_id` is ours, if it was we who asked for it."""

    id: str
    status: str
    amount: int
    refund_id: UUID | None
    failure_code: str | None


class Declined(Exception):
    """The card was refused. Carries Stripe's codes."""

    def __init__(self, code: str, decline_code: str | None, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.decline_code = decline_code
        self.message = message


class Refused(Exception):
    """Stripe will not do this, now or later; `code` is its reason."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Unreachable(Exception):
    """No answer, or none that tells the outcome: read the intent again later."""


class Faulted(Unreachable):
    """Stripe's own fault was the answer, and stays the answer under this idempotency key, whatever was done."""


class Provider:
    def __init__(self, api_key: str, api_base: str) -> None:
        self._http = stripe.HTTPXClient(timeout=CALL_SECONDS)
        self._client = StripeClient(
            api_key, base_addresses={"api": api_base}, http_client=self._http, max_network_retries=1
        )

    async def close(self) -> None:
        await self._http.close_async()  # type: ignore[no-untyped-call]

    async def create(self, order_id: UUID, attempt: int, amount: int, currency: str) -> Intent:
        """The intent of an order's first attempt, as it was when it was made: the same again for the same attempt.

        Later attempts use it too, unless it never became known.
        """
        return await _asked(
            "create_intent",
            self._client.v1.payment_intents.create_async(
                {
                    "amount": amount,
                    "currency": currency.lower(),
                    "capture_method": "manual",
                    # Cards only come back to the page that asked: no redirects to follow.
                    "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
                    "metadata": {"order_id": str(order_id)},
                },
                {"idempotency_key": f"intent:{order_id}:{attempt}"},
            ),
        )

    async def confirm(
        self, intent_id: str, order_id: UUID, attempt: int, payment_method: str
    ) -> Intent:
        """Raises Declined, Refused, Unreachable."""
        return await _asked(
            "confirm",
            self._client.v1.payment_intents.confirm_async(
                intent_id,
                # The browser carries out what the bank asks for, by Stripe's own script.
                {"payment_method": payment_method, "use_stripe_sdk": True},
                {"idempotency_key": f"confirm:{order_id}:{attempt}"},
            ),
        )

    async def retrieve(self, intent_id: str) -> Intent:
        return await _asked("retrieve", self._client.v1.payment_intents.retrieve_async(intent_id))

    async def capture(self, intent_id: str) -> Intent:
        return await _asked("capture", self._client.v1.payment_intents.capture_async(intent_id))

    async def cancel(self, intent_id: str) -> Intent:
        return await _asked(
            "cancel",
            self._client.v1.payment_intents.cancel_async(
                intent_id, {"cancellation_reason": "abandoned"}
            ),
        )

    async def refund(self, intent_id: str, order_id: UUID) -> None:
        """All that was captured, back."""
        await _answered(
            "refund",
            self._client.v1.refunds.create_async(
                {"payment_intent": intent_id}, {"idempotency_key": f"refund:{order_id}"}
            ),
        )

    async def request_refund(
        self, intent_id: str, amount: int, order_id: UUID, refund_id: UUID, key: str
    ) -> StripeRefund:
        """`amount` of what was captured, back. Raises Refused, Unreachable."""
        return _refund(
            await _answered(
                "refund",
                self._client.v1.refunds.create_async(
                    {
                        "payment_intent": intent_id,
                        "amount": amount,
                        "metadata": {"order_id": str(order_id), "refund_id": str(refund_id)},
                    },
                    {"idempotency_key": key},
                ),
            )
        )

    async def retrieve_refund(self, stripe_id: str) -> StripeRefund:
        return _refund(
            await _answered("retrieve_refund", self._client.v1.refunds.retrieve_async(stripe_id))
        )

    async def refunds_of(self, intent_id: str) -> list[StripeRefund]:
        """The newest refunds of an intent, whoever asked for them."""
        found = await _answered(
            "list_refunds",
            self._client.v1.refunds.list_async(
                {"payment_intent": intent_id, "limit": REFUNDS_LISTED}
            ),
        )
        return [_refund(each) for each in found.data]


def verify_signature(body: bytes, header: str, secrets: tuple[str, ...], *, now: float) -> bool:
    """Whether one of the secrets signed these very bytes within five minutes of `now`, before or after."""
    if not header.isascii():
        return False
    for secret in secrets:
        try:
            stripe.WebhookSignature.verify_header(body, header, secret, tolerance=300)
        except (stripe.SignatureVerificationError, UnicodeDecodeError):
            continue
        # The library accepts stamps of any future.
        stamp = next((part[2:] for part in header.split(",") if part.strip().startswith("t=")), "")
        return stamp.isdigit() and float(stamp) < now + 300
    return False


async def _asked(operation: str, call: Any) -> Intent:
    found = await _answered(operation, call)
    error = found.last_payment_error
    order_id = (
        found.metadata["order_id"] if found.metadata and "order_id" in found.metadata else None
    )
    return Intent(
        found.id,
        found.status,
        found.amount,
        found.currency.upper(),
        UUID(order_id) if order_id else None,
        found.client_secret or "",
        _failure(error) if error else None,
    )


def _refund(found: Any) -> StripeRefund:
    ours = found.metadata["refund_id"] if found.metadata and "refund_id" in found.metadata else None
    return StripeRefund(
        found.id,
        found.status,
        found.amount,
        UUID(ours) if ours else None,
        getattr(found, "failure_reason", None),
    )


def _failure(error: Any) -> tuple[str, str | None, str]:
    # An attribute that Stripe left out is missing, not None.
    code, decline_code, message = (
        getattr(error, name, None) for name in ("code", "decline_code", "message")
    )
    return code or "card_declined", decline_code, message or ""


async def _answered(operation: str, call: Any) -> Any:
    began = time.perf_counter()
    outcome = "unreachable"
    try:
        with tracing.span(f"stripe {operation}"):
            answer = await _translated(call)
        outcome = "ok"
    except (Declined, Refused, Faulted) as fault:
        outcome = type(fault).__name__.lower()
        raise
    finally:
        ASKED.labels(operation, outcome).observe(time.perf_counter() - began)
    return answer


async def _translated(call: Any) -> Any:
    try:
        return await call
    except stripe.CardError as fault:
        error = fault.error
        raise Declined(
            fault.code or "card_declined",
            error.decline_code if error else None,
            fault.user_message or "",
        ) from fault
    except stripe.InvalidRequestError as fault:
        raise Refused(fault.code or "invalid_request", fault.user_message or str(fault)) from fault
    except stripe.StripeError as fault:
        unanswered = Faulted if (fault.http_status or 0) >= 500 else Unreachable
        raise unanswered(f"{type(fault).__name__} {fault.http_status or ''}".strip()) from fault
