"""One attempt to charge an intent's card: authorised, declined, or challenged with 3-D Secure.

These functions own the charge object. They save the intent and the charge and append their events,
so callers save nothing afterwards.
"""

from typing import NoReturn

from backend.stripe_sandbox import methods
from backend.stripe_sandbox.errors import Declined
from backend.stripe_sandbox.listing import read_page
from backend.stripe_sandbox.methods import AfterCapture, Challenge
from backend.stripe_sandbox.params import Params
from backend.stripe_sandbox.queries import Book, Document, random_text, shown


def listing(book: Book, params: Params) -> Document:
    intent_id = params.text("payment_intent")
    params.ignore("customer")
    return read_page(book, params, "charge", "/v1/charges", parent=intent_id)


def attempt(book: Book, intent: Document, *, authenticated: bool = False) -> None:
    """Charge the intent's payment method. Raises `Declined`; the failed charge stays."""
    method = book.get("payment_method", intent["payment_method"])
    card = methods.card_of(method)
    intent.update(next_action=None, last_payment_error=None)
    if card.challenge is Challenge.ALWAYS and not authenticated:
        if intent["_no_challenge"]:
            _decline(book, intent, method, "authentication_required")
        _challenge(book, intent)
    elif card.decline_code:
        _decline(book, intent, method, card.decline_code)
    else:
        _authorise(book, intent, method)


def capture(book: Book, intent: Document, amount: int) -> None:
    """Capture `amount` of the authorisation. Stripe shows the released rest as refunded."""
    charge = book.get("charge", intent["latest_charge"])
    assert 0 < amount <= charge["amount"], (amount, charge["amount"])
    assert not charge["captured"], charge["id"]
    charge.update(amount_captured=amount, captured=True, amount_refunded=charge["amount"] - amount)
    book.save(charge)
    intent.update(status="succeeded", amount_received=amount, amount_capturable=0)
    book.save(intent)
    if intent["capture_method"] == "manual":
        book.append_event("charge.captured", charge)
    book.append_event("payment_intent.succeeded", intent)
    if charge["_aftermath"] == AfterCapture.DISPUTE.value:
        _dispute(book, charge)


def release(book: Book, intent: Document, *, event: str) -> None:
    """Release an authorisation. Stripe shows that as a refunded charge that was never captured."""
    charge = book.get("charge", intent["latest_charge"])
    charge.update(refunded=True, amount_refunded=charge["amount"])
    book.save(charge)
    book.append_event(event, charge)


def fail_authentication(book: Book, intent: Document) -> None:
    method = book.get("payment_method", intent["payment_method"])
    error = {
        "code": "payment_intent_authentication_failure",
        "doc_url": "https://stripe.com/docs/error-codes/payment-intent-authentication-failure",
        "message": "The provided PaymentMethod has failed authentication. You can provide "
        "payment_method_data or a new PaymentMethod to attempt to fulfill this PaymentIntent "
        "again.",
        "payment_method": shown(method),
        "type": "invalid_request_error",
    }
    _fail(book, intent, error)


def _authorise(book: Book, intent: Document, method: Document) -> None:
    charge = _new_charge(book, intent, method)
    book.add(charge, parent=intent["id"])
    intent["latest_charge"] = charge["id"]
    if intent["capture_method"] != "manual":
        capture(book, intent, intent["amount"])
        book.append_event("charge.succeeded", book.get("charge", charge["id"]))
        return
    intent.update(status="requires_capture", amount_capturable=intent["amount"])
    book.save(intent)
    book.append_event("charge.succeeded", charge)
    book.append_event("payment_intent.amount_capturable_updated", intent)


def _challenge(book: Book, intent: Document) -> None:
    page = f"{book.origin.public_url}/sandbox/3ds/{intent['id']}"
    if intent["_return_url"]:
        action = {
            "type": "redirect_to_url",
            "redirect_to_url": {"return_url": intent["_return_url"], "url": page},
        }
    else:
        action = {
            "type": "use_stripe_sdk",
            "use_stripe_sdk": {
                "source": f"src_{random_text(24)}",
                "stripe_js": page,
                "type": "three_d_secure_redirect",
            },
        }
    intent.update(status="requires_action", next_action=action)
    book.save(intent)
    book.append_event("payment_intent.requires_action", intent)


def _decline(book: Book, intent: Document, method: Document, decline_code: str) -> NoReturn:
    code, message = methods.error_code(decline_code), methods.decline_message(decline_code)
    charge = _new_charge(book, intent, method)
    charge.update(
        status="failed",
        paid=False,
        failure_code=code,
        failure_message=message,
        outcome={
            "network_status": "declined_by_network",
            "reason": decline_code,
            "risk_level": "normal",
            "seller_message": "The bank did not return any further details with this decline.",
            "type": "issuer_declined",
        },
    )
    book.add(charge, parent=intent["id"])
    book.append_event("charge.failed", charge)
    intent["latest_charge"] = charge["id"]
    cause = {"charge": charge["id"], "decline_code": decline_code, "payment_method": shown(method)}
    error = Declined(message, code=code, **cause)
    _fail(book, intent, dict(error.error))
    error.error["payment_intent"] = shown(intent)
    raise error


def _fail(book: Book, intent: Document, error: Document) -> None:
    intent.update(
        status="requires_payment_method",
        payment_method=None,
        next_action=None,
        last_payment_error=error,
    )
    book.save(intent)
    book.append_event("payment_intent.payment_failed", intent)


def _dispute(book: Book, charge: Document) -> None:
    charge["disputed"] = True
    book.save(charge)
    dispute = book.new(
        "dispute",
        amount=charge["amount_captured"],
        charge=charge["id"],
        currency=charge["currency"],
        is_charge_refundable=False,
        metadata={},
        payment_intent=charge["payment_intent"],
        reason="fraudulent",
        status="needs_response",
    )
    book.add(dispute, parent=charge["payment_intent"])
    book.append_event("charge.dispute.created", dispute)


def _new_charge(book: Book, intent: Document, method: Document) -> Document:
    card = method["card"]
    return book.new(
        "charge",
        amount=intent["amount"],
        amount_captured=0,
        amount_refunded=0,
        balance_transaction=None,
        billing_details=method["billing_details"],
        captured=False,
        currency=intent["currency"],
        customer=intent["customer"],
        description=intent["description"],
        disputed=False,
        failure_code=None,
        failure_message=None,
        metadata=intent["metadata"],
        outcome={
            "network_status": "approved_by_network",
            "reason": None,
            "risk_level": "normal",
            "seller_message": "Payment complete.",
            "type": "authorized",
        },
        paid=True,
        payment_intent=intent["id"],
        payment_method=method["id"],
        payment_method_details={
            "card": {
                name: card[name]
                for name in ("brand", "country", "exp_month", "exp_year", "funding", "last4")
            },
            "type": "card",
        },
        receipt_email=intent["receipt_email"],
        refunded=False,
        status="succeeded",
        transfer_group=intent["transfer_group"],
        _aftermath=methods.card_of(method).after_capture.value,
    )
