"""The routes of payments."""

from typing import NamedTuple

from arq.connections import ArqRedis
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backend.events.stores import Stores
from backend.kernel import idempotency, principal
from backend.kernel.openapi import describe
from backend.kernel.web import read_json, reply
from backend.payments import service
from backend.payments.model import NewPayment, PaymentReply, Received
from backend.payments.settlement import Settlement


class PaymentsState(NamedTuple):
    stores: Stores
    settlement: Settlement
    jobs: ArqRedis
    webhook_secrets: tuple[str, ...]


@describe(tag="payments", body=NewPayment, created=PaymentReply, refusals=(402, 404, 409, 503))
async def pay(request: Request) -> Response:
    """Pay an order of yours.

    402 is the card's refusal, with Stripe's code; the hold stays as it is. `requires_action` is 3-D Secure.
    """
    buyer = principal.require(request)
    new = await read_json(request, NewPayment)
    key = idempotency.key_of(request)
    fingerprint = await idempotency.fingerprint(request) if key else None
    state = _state(request)
    answer = await service.pay(
        state.stores, state.settlement, buyer.user_id, new, key, fingerprint, request.state.correlation_id
    )
    return Response(
        answer.body,
        answer.status,
        headers={idempotency.REPLAYED_HEADER: "true"} if answer.replayed else {},
        media_type="application/json" if answer.status < 400 else "application/problem+json",
    )


@describe(tag="payments", public=True, ok=Received, refusals=(400,))
async def webhook(request: Request) -> Response:
    """Stripe's events: verified on their raw bytes, stored, answered, then handled."""
    state = _state(request)
    body = await request.body()
    signature = request.headers.get("stripe-signature", "")
    await service.accept_webhook(state.stores, state.jobs, body, signature, state.webhook_secrets)
    return reply(Received())


def _state(request: Request) -> PaymentsState:
    state: PaymentsState = request.state.payments
    return state


routes = [
    Route("/api/payments", pay, methods=["POST"]),
    Route("/api/payments/webhook", webhook, methods=["POST"]),
]
