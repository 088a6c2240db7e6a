"""Refunds of captured money. Their sum never exceeds the captured amount.

A refund is `succeeded` at once, as Stripe's are for cards. The refunds of two test cards are
settled by a call to the sandbox, where Stripe would take days.
"""

from backend.stripe_sandbox import money
from backend.stripe_sandbox.errors import InvalidParams, Missing, Refused, UnexpectedState
from backend.stripe_sandbox.listing import read_page
from backend.stripe_sandbox.methods import AfterCapture
from backend.stripe_sandbox.params import Params
from backend.stripe_sandbox.queries import Book, Document, shown


def create(book: Book, params: Params) -> Document:
    charge_id, intent_id = params.text("charge"), params.text("payment_intent")
    amount, metadata = params.integer("amount", at_least=1), params.metadata()
    reason = params.choice("reason", "duplicate", "fraudulent", "requested_by_customer")
    params.ignore("instructions_email", "reverse_transfer", "refund_application_fee")
    params.finish()
    charge = _find_charge(book, charge_id, intent_id)
    amount = _check_refundable(charge, amount)
    pending = charge["_aftermath"] == AfterCapture.REFUND_PENDING.value
    refund = book.new(
        "refund",
        amount=amount,
        balance_transaction=None,
        charge=charge["id"],
        currency=charge["currency"],
        destination_details={
            "card": {"reference_status": "pending", "type": "refund"},
            "type": "card",
        },
        metadata={key: value for key, value in (metadata or {}).items() if value},
        payment_intent=charge["payment_intent"],
        reason=reason,
        receipt_number=None,
        status="pending" if pending else "succeeded",
    )
    book.add(refund, parent=charge["payment_intent"])
    _take_back(book, charge, amount)
    book.append_event("refund.created", refund)
    book.append_event("charge.refunded", charge)
    return refund


def listing(book: Book, params: Params) -> Document:
    charge_id, intent_id = params.text("charge"), params.text("payment_intent")
    if charge_id:
        intent_id = book.get("charge", charge_id, param="charge")["payment_intent"]
    return read_page(book, params, "refund", "/v1/refunds", parent=intent_id)


def settle(book: Book, id: str, *, succeed: bool) -> Document:
    """End a refund as Stripe would days later. A refund of the failing card can only fail."""
    refund = book.get("refund", id)
    charge = book.get("charge", refund["charge"])
    fails_later = charge["_aftermath"] == AfterCapture.REFUND_FAILS.value
    if refund["status"] != "pending" and not (
        fails_later and refund["status"] == "succeeded" and not succeed
    ):
        raise Refused(f"This refund has ended: it has a status of {refund['status']}.")
    if succeed:
        refund["status"] = "succeeded"
    else:
        refund.update(status="failed", failure_reason="expired_or_canceled_card")
        _take_back(book, charge, -refund["amount"])
    book.save(refund)
    book.append_event("refund.updated" if succeed else "refund.failed", refund)
    book.append_event("charge.refund.updated", refund)
    return refund


def _find_charge(book: Book, charge_id: str | None, intent_id: str | None) -> Document:
    if charge_id:
        charge = book.get("charge", charge_id, param="charge")
        if intent_id and charge["payment_intent"] != intent_id:
            raise Missing("payment_intent", intent_id, param="payment_intent", status=400)
        return charge
    if not intent_id:
        raise InvalidParams(
            "One of the following params should be provided for this request: payment_intent or "
            "charge.",
            code="parameter_missing",
        )
    intent = book.get("payment_intent", intent_id, param="payment_intent")
    if intent["status"] not in {"succeeded", "requires_capture"}:
        raise UnexpectedState(
            f"This PaymentIntent ({intent_id}) does not have a successful charge to refund.",
            shown(intent),
        )
    return book.get("charge", intent["latest_charge"])


def _check_refundable(charge: Document, amount: int | None) -> int:
    if charge["status"] != "succeeded":
        raise Refused(
            f"This charge ({charge['id']}) failed: there is nothing to refund.", param="charge"
        )
    if charge["refunded"]:
        raise Refused(
            f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded"
        )
    if not charge["captured"]:
        raise Refused(
            f"This uncaptured Charge was created by a PaymentIntent ({charge['payment_intent']}). "
            "You must cancel the PaymentIntent to reverse the authorization instead of refunding "
            "the Charge directly.",
            param="charge",
        )
    if charge["disputed"]:
        raise Refused(
            f"Charge {charge['id']} has been charged back; cannot issue a refund.",
            code="charge_disputed",
        )
    money.check_step(amount, charge["currency"], "amount")
    left = charge["amount"] - charge["amount_refunded"]
    if amount is not None and amount > left:
        kind = "unrefunded amount on charge" if charge["amount_refunded"] else "charge amount"
        shown_amounts = (
            money.shown(amount, charge["currency"]),
            money.shown(left, charge["currency"]),
        )
        raise Refused(
            f"Refund amount ({shown_amounts[0]}) is greater than {kind} ({shown_amounts[1]})",
            param="amount",
        )
    return amount or left


def _take_back(book: Book, charge: Document, amount: int) -> None:
    charge["amount_refunded"] += amount
    assert (
        charge["amount"] - charge["amount_captured"]
        <= charge["amount_refunded"]
        <= charge["amount"]
    ), charge["id"]
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]
    book.save(charge)
