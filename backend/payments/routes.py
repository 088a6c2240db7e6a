"""The routes of payments."""

from datetime import timedelta
from typing import NamedTuple

from arq.connections import ArqRedis
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backend.events.resources import Resources
from backend.kernel import idempotency, principal
from backend.kernel.openapi import describe
from backend.kernel.web import path_id, read_json, reply
from backend.payments import service
from backend.payments.errors import OrderNotFound, PaymentNotFound
from backend.payments.model import NewPayment, NewRefund, PaymentReply, Received, RefundReply
from backend.payments.payment_flow import PaymentFlow
from backend.payments.refund_queries import Asking
from backend.payments.service import Answer


class PaymentsState(NamedTuple):
    resources: Resources
    payment_flow: PaymentFlow
    jobs: ArqRedis
    webhook_secrets: tuple[str, ...]
    buyer_window: timedelta


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
        state.resources,
        state.payment_flow,
        buyer.user_id,
        new,
        key,
        fingerprint,
    )
    return _response(answer)


@describe(tag="payments", ok=PaymentReply, refusals=(404,))
async def payment(request: Request) -> Response:
    """One of your payments, such as the `payment_id` of an order.

    While it `requires_action`, Stripe is asked how far that is, and the payment goes on when it is done.
    """
    buyer = principal.require(request)
    payment_id = path_id(request, PaymentNotFound)
    state = _state(request)
    return reply(
        await service.payment(state.resources, state.payment_flow, buyer.user_id, payment_id)
    )


@describe(
    tag="orders", body=NewRefund, ok=RefundReply, accepted=RefundReply, refusals=(403, 404, 409)
)
async def refund(request: Request) -> Response:
    """Give an order's money back, all of it: its seller, or its buyer as long as that is allowed.

    202 says that it is under way: follow the order, or `sale.refunded`. The tickets are on sale again with `relist`,
    which is the seller's to say, and withdrawn without.
    """
    user = principal.require(request)
    order_id = path_id(request, OrderNotFound)
    new = await read_json(request, NewRefund)
    key = idempotency.key_of(request)
    state = _state(request)
    asking = Asking(
        order_id=order_id,
        user_id=user.user_id,
        relist=new.relist,
        buyer_window=state.buyer_window,
        key=key,
        fingerprint=await idempotency.fingerprint(request) if key else None,
    )
    answer = await service.refund(state.resources, state.payment_flow.refunds, asking)
    return _response(answer)


@describe(tag="payments", public=True, ok=Received, refusals=(400,))
async def webhook(request: Request) -> Response:
    """Stripe's events: verified on their raw bytes, stored, answered, then handled."""
    state = _state(request)
    body = await request.body()
    signature = request.headers.get("stripe-signature", "")
    await service.accept_webhook(
        state.resources, state.jobs, body, signature, state.webhook_secrets
    )
    return reply(Received())


def _response(answer: Answer) -> Response:
    return Response(
        answer.body,
        answer.status,
        headers=idempotency.replay_headers() if answer.replayed else {},
        media_type="application/json" if answer.status < 400 else "application/problem+json",
    )


def _state(request: Request) -> PaymentsState:
    state: PaymentsState = request.state.payments
    return state


routes = [
    Route("/api/payments", pay, methods=["POST"]),
    Route("/api/payments/{id}", payment, methods=["GET"]),
    Route("/api/orders/{id}/refund", refund, methods=["POST"]),
    Route("/api/payments/webhook", webhook, methods=["POST"]),
]
