"""The PaymentIntent and its state machine (docs.stripe.com/payments/paymentintents/lifecycle).

    requires_payment_method -> requires_confirmation -> requires_action -> requires_capture
    -> succeeded; a declined card leads back to requires_payment_method

Each function is one API operation: it reads the parameters that it supports, refuses the others,
changes the objects and appends their events.
"""

from typing import Any

from backend.stripe_sandbox import charges, methods, money
from backend.stripe_sandbox.drafts import (
    TEXTS,
    WITHOUT_EFFECT,
    blank,
    merged,
    read_confirmation,
    read_method_types,
)
from backend.stripe_sandbox.errors import InvalidParams, Refused, UnexpectedState
from backend.stripe_sandbox.listing import read_page
from backend.stripe_sandbox.params import Params
from backend.stripe_sandbox.queries import Book, Document, shown

_OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")
_CANCELABLE = (
    "requires_payment_method",
    "requires_capture",
    "requires_confirmation",
    "requires_action",
    "processing",
)


def create(book: Book, params: Params) -> Document:
    amount, currency = (
        params.integer("amount", at_least=1),
        money.currency_of(params.required("currency")),
    )
    if amount is None:
        raise InvalidParams(
            "Missing required param: amount.", code="parameter_missing", param="amount"
        )
    money.check_amount(amount, currency)
    confirming = params.flag("confirm") or False
    capture_method = params.choice("capture_method", "automatic", "automatic_async", "manual")
    automatic, types = read_method_types(params)
    metadata = merged({}, params.metadata())
    intent = blank(
        book,
        amount=amount,
        currency=currency,
        capture_method=capture_method or "automatic_async",
        automatic_payment_methods=automatic,
        payment_method_types=types or ["card"],
        metadata=metadata,
    )
    intent.update({name: params.text(name) for name in TEXTS})
    method_id = read_confirmation(params, intent)
    params.finish()
    if not confirming and intent["_return_url"]:
        raise InvalidParams(
            "You cannot provide `return_url` without setting `confirm` to true.", param="return_url"
        )
    if method_id:
        _attach(book, intent, method_id)
    book.add(intent)
    book.append_event("payment_intent.created", intent)
    if confirming:
        _confirm(book, intent)
    return intent


def retrieve(book: Book, params: Params, id: str) -> Document:
    client_secret = params.text("client_secret")
    params.finish()
    intent = book.get("payment_intent", id)
    if client_secret and client_secret != intent["client_secret"]:
        raise InvalidParams(
            "The client_secret provided does not match the client_secret associated with this "
            "PaymentIntent.",
            code="payment_intent_invalid_parameter",
            param="client_secret",
        )
    return intent


def update(book: Book, params: Params, id: str) -> Document:
    intent = book.get("payment_intent", id)
    amount, currency = params.integer("amount", at_least=1), params.text("currency")
    changes: dict[str, Any] = {
        name: text for name in TEXTS if (text := params.text(name)) is not None
    }
    metadata, method_id = params.metadata(), params.text("payment_method")
    params.ignore(*WITHOUT_EFFECT)
    params.finish()
    if currency:
        changes["currency"] = money.currency_of(currency)
    if amount is not None:
        changes["amount"] = amount
    result = intent | changes
    money.check_amount(result["amount"], result["currency"])
    if (changes.keys() & {"amount", "currency"} or method_id) and intent["status"] not in _OPEN:
        name = "amount" if amount is not None else "currency" if currency else "payment_method"
        raise UnexpectedState(
            f"This PaymentIntent's {name} could not be updated because it has a status of "
            f"{intent['status']}. You may only update the {name} of a PaymentIntent with one of "
            f"the following statuses: {', '.join(_OPEN)}.",
            shown(intent),
        )
    intent.update(changes, metadata=merged(intent["metadata"], metadata))
    if method_id:
        _attach(book, intent, method_id)
    book.save(intent)
    return intent


def confirm(book: Book, params: Params, id: str) -> Document:
    intent = book.get("payment_intent", id)
    if "capture_method" in (named := params.names()) and intent["status"] in _OPEN:
        chosen = params.choice("capture_method", "automatic", "automatic_async", "manual")
        intent["capture_method"] = chosen or intent["capture_method"]
    params.ignore("capture_method", "client_secret", "payment_method_types")
    for name in ("receipt_email", "setup_future_usage"):
        if name in named:
            intent[name] = params.text(name)
    method_id = read_confirmation(params, intent)
    params.finish()
    _check_confirmable(intent)
    if method_id:
        _attach(book, intent, method_id)
    _confirm(book, intent)
    return intent


def capture(book: Book, params: Params, id: str) -> Document:
    intent = book.get("payment_intent", id)
    amount, metadata = params.integer("amount_to_capture", at_least=1), params.metadata()
    params.ignore(
        "final_capture", "statement_descriptor", "statement_descriptor_suffix", "amount_details"
    )
    params.finish()
    if intent["status"] == "succeeded":
        raise UnexpectedState(
            "This PaymentIntent could not be captured because it has already been captured.",
            shown(intent),
        )
    if intent["status"] != "requires_capture":
        raise UnexpectedState(
            "This PaymentIntent could not be captured because it has a status of "
            f"{intent['status']}. Only a PaymentIntent with one of the following statuses may be "
            "captured: requires_capture.",
            shown(intent),
        )
    money.check_step(amount, intent["currency"], "amount_to_capture")
    if amount is not None and amount > intent["amount_capturable"]:
        capturable = money.shown(intent["amount_capturable"], intent["currency"])
        raise Refused(
            f"Amount to capture ({money.shown(amount, intent['currency'])}) is greater than the "
            f"capturable amount ({capturable}).",
            code="amount_too_large",
            param="amount_to_capture",
        )
    intent["metadata"] = merged(intent["metadata"], metadata)
    charges.capture(book, intent, amount or intent["amount_capturable"])
    return intent


def cancel(book: Book, params: Params, id: str) -> Document:
    intent = book.get("payment_intent", id)
    reason = params.choice(
        "cancellation_reason", "duplicate", "fraudulent", "requested_by_customer", "abandoned"
    )
    params.finish()
    if intent["status"] not in _CANCELABLE:
        raise UnexpectedState(
            f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}. "
            "Only a PaymentIntent with one of the following statuses may be canceled: "
            f"{', '.join(_CANCELABLE)}.",
            shown(intent),
        )
    return _cancel(book, intent, reason, event="charge.refunded")


def listing(book: Book, params: Params) -> Document:
    params.ignore("customer")
    return read_page(book, params, "payment_intent", "/v1/payment_intents")


def authenticate(book: Book, id: str, *, succeed: bool) -> Document:
    """Act as the buyer in 3-D Secure. Raises `Declined` for cards that decline after
    authentication.
    """
    intent = book.get("payment_intent", id)
    if intent["status"] != "requires_action":
        raise UnexpectedState(
            f"This PaymentIntent awaits no authentication: it has a status of {intent['status']}.",
            shown(intent),
        )
    if succeed:
        charges.attempt(book, intent, authenticated=True)
    else:
        charges.fail_authentication(book, intent)
    return intent


def expire(book: Book, id: str) -> Document:
    """Let the authorisation expire, as Stripe does after seven days."""
    intent = book.get("payment_intent", id)
    if intent["status"] != "requires_capture":
        raise UnexpectedState(
            f"This PaymentIntent holds no authorisation: it has a status of {intent['status']}.",
            shown(intent),
        )
    return _cancel(book, intent, "automatic", event="charge.expired")


def _cancel(book: Book, intent: Document, reason: str | None, *, event: str) -> Document:
    if intent["status"] == "requires_capture":
        charges.release(book, intent, event=event)
    intent.update(
        status="canceled",
        amount_capturable=0,
        canceled_at=int(book.now),
        cancellation_reason=reason,
        next_action=None,
    )
    book.save(intent)
    book.append_event("payment_intent.canceled", intent)
    return intent


def _attach(book: Book, intent: Document, method_id: str) -> None:
    intent["payment_method"] = methods.use(book, method_id)["id"]
    intent.update(status="requires_confirmation", next_action=None)


def _confirm(book: Book, intent: Document) -> None:
    if intent["payment_method"] is None:
        raise UnexpectedState(
            "You cannot confirm this PaymentIntent because it's missing a payment method. You "
            "can either update the PaymentIntent with a payment method and then confirm it "
            "again, or confirm it again directly with a payment method or ConfirmationToken.",
            shown(intent),
        )
    automatic = intent["automatic_payment_methods"]
    # Stripe requires a return_url for a server-side confirmation while redirects are allowed, which
    # is the default.
    if automatic and automatic["allow_redirects"] == "always" and not intent["_return_url"]:
        raise InvalidParams(
            "This PaymentIntent is configured to accept payment methods enabled in your "
            "Dashboard. Because some of these payment methods might redirect your customer off "
            "of your page, you must provide a `return_url`. If you don't want to accept "
            "redirect-based payment methods, set `automatic_payment_methods[enabled]` to `true` "
            "and `automatic_payment_methods[allow_redirects]` to `never` when creating Setup "
            "Intents and Payment Intents.",
        )
    charges.attempt(book, intent)


def _check_confirmable(intent: Document) -> None:
    status = intent["status"]
    if status == "succeeded":
        raise UnexpectedState(
            "You cannot confirm this PaymentIntent because it has already succeeded after being "
            "previously confirmed.",
            shown(intent),
        )
    if status not in _OPEN:
        raise UnexpectedState(
            f"You cannot confirm this PaymentIntent because it has a status of {status}. Only a "
            "PaymentIntent with one of the following statuses may be confirmed: "
            "requires_confirmation, requires_action.",
            shown(intent),
        )
