"""The routes of payments."""

from collections.abc import Iterable
from typing import NamedTuple

from arq.connections import ArqRedis
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backend.events.resources import Resources
from backend.kernel import idempotency, principal
from backend.kernel.client_address import Network, client_ip
from backend.kernel.openapi import describe
from backend.kernel.settings import Settings
from backend.kernel.web import path_id, read_json, reply
from backend.payments import service, webhooks
from backend.payments.errors import OrderNotFound, PaymentNotFound
from backend.payments.model import NewPayment, NewRefund, PaymentReply, Received, RefundReply
from backend.payments.payment_flow import PaymentFlow


class PaymentsState(NamedTuple):
    resources: Resources
    payment_flow: PaymentFlow
    jobs: ArqRedis
    settings: Settings
    proxies: Iterable[Network]


@describe(tag="payments", body=NewPayment, created=PaymentReply, problems=(402, 404, 409, 429, 503))
async def pay(request: Request) -> Response:
    """Pay an order of yours.

    402 is the bank's refusal of the card, with a reason; the hold stays as it is, and the order has
    a few attempts. `requires_action` asks for 3-D Secure.
    """
    buyer = principal.require(request)
    new = await read_json(request, NewPayment)
    keyed = await idempotency.keyed(request, buyer.user_id)
    state = _state(request)
    wanted = service.payment_request(
        state.settings, buyer.user_id, new, keyed, client_ip(request, state.proxies)
    )
    paid = await service.pay(state.resources, state.payment_flow, wanted)
    return paid.response()


@describe(tag="payments", ok=PaymentReply, problems=(404,))
async def payment(request: Request) -> Response:
    """One of your payments, such as the `payment_id` of an order.

    While it `requires_action`, the reply has Stripe's current status: the payment continues once
    the bank has authenticated you.
    """
    buyer = principal.require(request)
    payment_id = path_id(request, PaymentNotFound)
    state = _state(request)
    return reply(
        await service.payment(state.resources, state.payment_flow, buyer.user_id, payment_id)
    )


@describe(
    tag="orders", body=NewRefund, ok=RefundReply, accepted=RefundReply, problems=(403, 404, 409)
)
async def refund(request: Request) -> Response:
    """Refund an order, or some of its tickets: a seller its own at any time, the buyer any within
    the refund window.

    Each ticket's price is returned with its part of the fee. 202 means that the money is on its
    way: follow the order, or `sale.refunded`. With `relist`, which only the seller may set, the
    tickets are for sale again; without, they are withdrawn.
    """
    user = principal.require(request)
    order_id = path_id(request, OrderNotFound)
    new = await read_json(request, NewRefund)
    state = _state(request)
    keyed = await idempotency.keyed(request, user.user_id)
    wanted = service.refund_request(state.settings, user.user_id, order_id, new, keyed)
    refunded = await service.refund(state.resources, state.payment_flow.refunds, wanted)
    return refunded.response()


@describe(tag="payments", public=True, body=None, ok=Received, problems=(400,))
async def webhook(request: Request) -> Response:
    """Stripe's events: verified on their raw bytes, stored, answered, then handled."""
    state = _state(request)
    body = await request.body()
    signature = request.headers.get("stripe-signature", "")
    await webhooks.accept(
        state.resources, state.jobs, body, signature, state.settings.webhook_secrets
    )
    return reply(Received())


def _state(request: Request) -> PaymentsState:
    state: PaymentsState = request.state.payments
    return state


routes = [
    Route("/api/payments", pay, methods=["POST"]),
    Route("/api/payments/{id}", payment, methods=["GET"]),
    Route("/api/orders/{id}/refund", refund, methods=["POST"]),
    Route("/api/payments/webhook", webhook, methods=["POST"]),
]
