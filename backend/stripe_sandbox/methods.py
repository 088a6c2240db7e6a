"""Stripe's test PaymentMethods and cards, and their behaviour when charged
(docs.stripe.com/testing).

As at Stripe, the use of a test id (`pm_card_visa`) creates a new PaymentMethod of that kind. A
card's number is never stored: the object's `_card` is the key of its row in the table below.
"""

import time
from dataclasses import dataclass
from enum import Enum

from backend.stripe_sandbox.errors import Declined, InvalidParams, Missing
from backend.stripe_sandbox.params import Params
from backend.stripe_sandbox.queries import Book, Document, random_text


class Challenge(Enum):
    NEVER = "never"
    ALWAYS = "always"


class AfterCapture(Enum):
    """The events after a charge is captured, by test card."""

    NONE = "none"
    REFUND_PENDING = "refund_pending"
    REFUND_FAILS = "refund_fails"
    DISPUTE = "dispute"


@dataclass(frozen=True, slots=True)
class Card:
    number: str
    brand: str = "visa"
    funding: str = "credit"
    decline_code: str | None = None
    challenge: Challenge = Challenge.NEVER
    after_capture: AfterCapture = AfterCapture.NONE


def _declining(number: str, decline_code: str) -> Card:
    return Card(number, decline_code=decline_code)


def _challenging(number: str, decline_code: str | None = None) -> Card:
    return Card(number, decline_code=decline_code, challenge=Challenge.ALWAYS)


CARDS = {
    "visa": Card("4242424242424242"),
    "visa_debit": Card("4000056655665556", funding="debit"),
    "mastercard": Card("5555555555554444", "mastercard"),
    "mastercard_debit": Card("5200828282828210", "mastercard", "debit"),
    "mastercard_prepaid": Card("5105105105105100", "mastercard", "prepaid"),
    "amex": Card("378282246310005", "amex"),
    "discover": Card("6011111111111117", "discover"),
    "diners": Card("3056930009020004", "diners"),
    "jcb": Card("3566002020360505", "jcb"),
    "unionpay": Card("6200000000000005", "unionpay"),
    "visa_chargeDeclined": _declining("4000000000000002", "generic_decline"),
    "visa_chargeDeclinedInsufficientFunds": _declining("4000000000009995", "insufficient_funds"),
    "visa_chargeDeclinedLostCard": _declining("4000000000009987", "lost_card"),
    "visa_chargeDeclinedStolenCard": _declining("4000000000009979", "stolen_card"),
    "visa_chargeDeclinedVelocityLimitExceeded": _declining(
        "4000000000006975", "card_velocity_exceeded"
    ),
    "chargeDeclinedExpiredCard": _declining("4000000000000069", "expired_card"),
    "chargeDeclinedIncorrectCvc": _declining("4000000000000127", "incorrect_cvc"),
    "chargeDeclinedProcessingError": _declining("4000000000000119", "processing_error"),
    "chargeDeclinedFraudulent": _declining("4100000000000019", "fraudulent"),
    "chargeCustomerFail": _declining("4000000000000341", "generic_decline"),
    "threeDSecure2Required": _challenging("4000000000003220"),
    "threeDSecureRequired": _challenging("4000000000003063"),
    "threeDSecureOptional": Card("4000000000003055"),
    "threeDSecureRequiredChargeDeclined": _challenging("4000008400001629", "generic_decline"),
    "threeDSecureRequiredProcessingError": _challenging("4000008400001280", "processing_error"),
    "authenticationRequired": _challenging("4000002760003184"),
    "authenticationRequiredOnSetup": _challenging("4000002500003155"),
    "authenticationRequiredSetupForOffSession": _challenging("4000003800000446"),
    "authenticationRequiredChargeDeclinedInsufficientFunds": _challenging(
        "4000008260003178", "insufficient_funds"
    ),
    "pendingRefund": Card("4000000000007726", after_capture=AfterCapture.REFUND_PENDING),
    "refundFail": Card("4000000000005126", after_capture=AfterCapture.REFUND_FAILS),
    "createDispute": Card("4000000000000259", after_capture=AfterCapture.DISPUTE),
}
# Older spellings that Stripe still accepts.
_ALIASES = {
    "chargeDeclined": "visa_chargeDeclined",
    "chargeDeclinedInsufficientFunds": "visa_chargeDeclinedInsufficientFunds",
}
_BY_NUMBER = {card.number: name for name, card in CARDS.items()}
_MESSAGES = {
    "insufficient_funds": "Your card has insufficient funds.",
    "expired_card": "Your card has expired.",
    "incorrect_cvc": "Your card's security code is incorrect.",
    "processing_error": "An error occurred while processing your card. Try again in a little bit.",
    "card_velocity_exceeded": "Your card was declined for making repeated attempts too "
    "frequently or exceeding its amount limit.",
    "authentication_required": "Your card was declined. This transaction requires authentication.",
}
_OWN_CODES = {"expired_card", "incorrect_cvc", "processing_error", "authentication_required"}


def card_of(method: Document) -> Card:
    return CARDS[method["_card"]]


def decline_message(decline_code: str) -> str:
    return _MESSAGES.get(decline_code, "Your card was declined.")


def error_code(decline_code: str) -> str:
    return decline_code if decline_code in _OWN_CODES else "card_declined"


def use(book: Book, id: str) -> Document:
    """The PaymentMethod of a parameter. A test id creates a new one."""
    card = _test_card(id, "pm_card_")
    return _create(book, card) if card else book.get("payment_method", id, param="payment_method")


def retrieve(book: Book, params: Params, id: str) -> Document:
    params.finish()
    card = _test_card(id, "pm_card_")
    method = _create(book, card) if card else book.find("payment_method", id)
    if method is None:
        raise Missing("payment_method", id, param="payment_method")
    return method


def create(book: Book, params: Params) -> Document:
    params.required("type")
    params.ignore("type", "billing_details", "allow_redisplay")
    metadata = params.metadata() or {}
    given = params.group("card")
    params.finish()
    if given is None:
        raise InvalidParams("Missing required param: card.", code="parameter_missing", param="card")
    token = given.text("token")
    name = _test_card(token, "tok_") if token else _read_number(given)
    year, month = given.integer("exp_year"), given.integer("exp_month")
    given.ignore("cvc")
    given.finish()
    if name is None:
        raise Missing("token", token or "", param="card[token]", status=400)
    if not token:
        _check_expiry(year, month, book.now)
    return _create(book, name, metadata=metadata, exp_year=year, exp_month=month)


def _test_card(id: str, prefix: str) -> str | None:
    if not id.startswith(prefix):
        return None
    name = _ALIASES.get(id.removeprefix(prefix), id.removeprefix(prefix))
    return name if name in CARDS else None


def _read_number(given: Params) -> str:
    number = given.required("number").replace(" ", "").replace("-", "")
    if not (number.isascii() and number.isdigit() and _luhn(number)):
        raise Declined("Your card number is incorrect.", code="incorrect_number", param="number")
    if number not in _BY_NUMBER:
        raise Declined(
            "Your card was declined. Your request was in test mode, but used a non test card.",
            code="card_declined",
            decline_code="test_mode_live_card",
        )
    return _BY_NUMBER[number]


def _check_expiry(year: int | None, month: int | None, now: float) -> None:
    today = time.gmtime(now)
    if month is None or not 1 <= month <= 12:
        raise Declined(
            "Your card's expiration month is invalid.",
            code="invalid_expiry_month",
            param="exp_month",
        )
    full_year = (year or 0) + (2000 if (year or 0) < 100 else 0)
    if not (today.tm_year, today.tm_mon) <= (full_year, month) <= (today.tm_year + 50, 12):
        raise Declined(
            "Your card's expiration year is invalid.", code="invalid_expiry_year", param="exp_year"
        )


def _luhn(number: str) -> bool:
    digits = [int(digit) for digit in reversed(number)]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _create(
    book: Book,
    name: str,
    *,
    metadata: dict[str, str] | None = None,
    exp_year: int | None = None,
    exp_month: int | None = None,
) -> Document:
    card = CARDS[name]
    method = book.new(
        "payment_method",
        type="card",
        allow_redisplay="unspecified",
        billing_details={"address": None, "email": None, "name": None, "phone": None},
        card={
            "brand": card.brand,
            "checks": {
                "address_line1_check": None,
                "address_postal_code_check": None,
                "cvc_check": "pass",
            },
            "country": "US",
            "exp_month": exp_month or 12,
            "exp_year": exp_year or time.gmtime(book.now).tm_year + 1,
            "fingerprint": random_text(16),
            "funding": card.funding,
            "last4": card.number[-4:],
            "three_d_secure_usage": {"supported": True},
        },
        customer=None,
        metadata=metadata or {},
        _card=name,
    )
    book.add(method)
    return method
