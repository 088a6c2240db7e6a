"""The replies to requests to pay and to refund, encoded so that a repeat gets the same bytes."""

from typing import Any
from uuid import UUID

import msgspec

from backend.kernel.idempotency import Reply
from backend.kernel.problems import Problem
from backend.payments.decline_reasons import SENTENCES, Reason
from backend.payments.errors import OrderExpired, PaymentDeclined
from backend.payments.idempotency_queries import make_reply
from backend.payments.model import PaymentReply, Refund, RefundReply, RefundState
from backend.payments.payment_steps import Outcome


def of_payment(outcome: Outcome) -> Reply:
    payment = outcome.payment
    if payment.status in {"voided", "refunded"}:
        return of_problem(
            OrderExpired(
                "the hold ended before the payment; you were not charged", payment_id=payment.id
            )
        )
    if payment.failed_for is not None:
        return of_problem(declined(payment.failed_for))
    return make_reply(201, msgspec.json.encode(payment_body(outcome)))


def payment_body(outcome: Outcome) -> PaymentReply:
    payment = outcome.payment
    return PaymentReply(
        id=payment.id,
        order_id=payment.order_id,
        attempt=payment.attempt,
        status=payment.status,
        amount=payment.amount,
        currency=payment.currency,
        version=payment.version,
        reason=payment.failed_for,
        client_secret=outcome.client_secret,
    )


def of_refund(refund: Refund, order: dict[str, Any], user_id: UUID) -> Reply:
    """202 while the money is on its way. A seller gets only its own lines."""
    state = RefundState(
        id=refund.id,
        status=refund.status,
        lines=refund.lines,
        amount=refund.amount,
        currency=refund.currency,
        relist=refund.relist,
    )
    if order["buyer_id"] != str(user_id):
        order = order | _lines_of(order["tickets"], str(user_id))
    body = msgspec.convert(order | {"refund": msgspec.to_builtins(state)}, RefundReply)
    return make_reply(200 if refund.status == "succeeded" else 202, msgspec.json.encode(body))


def _lines_of(lines: list[dict[str, Any]], seller_id: str) -> dict[str, Any]:
    own = [line for line in lines if line["seller_id"] == seller_id]
    subtotal, fee = (sum(line[name] for line in own) for name in ("price", "fee"))
    refunded = sum(line["price"] + line["fee"] for line in own if line["status"] == "refunded")
    return {
        "tickets": own,
        "subtotal": subtotal,
        "fee": fee,
        "total": subtotal + fee,
        "refunded": refunded,
    }


def declined(reason: Reason) -> PaymentDeclined:
    return PaymentDeclined(SENTENCES[reason], reason=reason)


def of_problem(problem: Problem) -> Reply:
    return make_reply(problem.status, bytes(problem.response().body))
