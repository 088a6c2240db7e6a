"""The reason of a failed payment for its buyer, and the sentence with the remedy.

Stripe's codes stay in the payment's row. A stranger who tries stolen cards would learn from them
whether a number exists, and whether its card has money.
"""

from typing import Literal

# Correct the card's details, approve the payment at the bank, try again, or use another card.
Reason = Literal["details", "approval", "unavailable", "declined"]

_CODES: dict[Reason, frozenset[str]] = {
    "details": frozenset(
        {
            "expired_card",
            "incorrect_address",
            "incorrect_cvc",
            "incorrect_number",
            "incorrect_zip",
            "invalid_cvc",
            "invalid_expiry_month",
            "invalid_expiry_year",
            "invalid_number",
        }
    ),
    "approval": frozenset({"authentication_required", "payment_intent_authentication_failure"}),
    "unavailable": frozenset(
        {
            "abandoned",
            "issuer_not_available",
            "processing_error",
            "provider_unavailable",
            "try_again_later",
        }
    ),
}

SENTENCES: dict[Reason, str] = {
    "details": "check the card's number, date and security code, or use another card",
    "approval": "the bank did not get your approval: try again, or use another card",
    "unavailable": "the payment was not completed: try again in a moment",
    "declined": "the bank declined the card: use another card, or ask your bank",
}


def reason_of(failure_code: str | None, decline_code: str | None) -> Reason:
    """The reason by Stripe's decline code, else by its error code."""
    for code in (decline_code, failure_code):
        for reason, codes in _CODES.items():
            if code in codes:
                return reason
    return "declined"
