"""A PaymentIntent before it is charged: its blank form, and the parameters that fill it."""

from typing import Any

from backend.stripe_sandbox.errors import InvalidParams
from backend.stripe_sandbox.params import Params
from backend.stripe_sandbox.queries import Book, Document, random_text

TEXTS = (
    "customer",
    "description",
    "receipt_email",
    "setup_future_usage",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_group",
)
# Stripe's parameters without a visible effect for a merchant of one-time card payments.
WITHOUT_EFFECT = (
    "amount_details",
    "confirmation_method",
    "mandate_data",
    "payment_method_configuration",
    "payment_method_options",
    "radar_options",
    "shipping",
    "use_stripe_sdk",
)


def read_confirmation(params: Params, intent: Document) -> str | None:
    off_session = params.text("off_session") not in {None, "false"}
    refuse_challenge = params.flag("error_on_requires_action") or False
    url = params.text("return_url")
    if url and not url.startswith(("http://", "https://")):
        raise InvalidParams("Not a valid URL", code="url_invalid", param="return_url")
    intent.update(
        _return_url=url or intent["_return_url"], _no_challenge=off_session or refuse_challenge
    )
    params.ignore(*WITHOUT_EFFECT)
    return params.text("payment_method")


def read_method_types(params: Params) -> tuple[Document | None, list[str]]:
    types, automatic = (
        params.texts("payment_method_types"),
        params.group("automatic_payment_methods"),
    )
    if unknown := [one for one in types if one not in {"card", "link"}]:
        raise InvalidParams(
            f"The payment method type provided: {unknown[0]} is invalid.",
            code="payment_intent_invalid_parameter",
            param="payment_method_types",
        )
    if automatic is None:
        return (None if types else {"allow_redirects": "always", "enabled": True}), types
    enabled = automatic.flag("enabled") or False
    redirects = automatic.choice("allow_redirects", "always", "never") or "always"
    automatic.finish()
    if enabled and types:
        raise InvalidParams(
            "You may only specify one of these parameters: automatic_payment_methods, "
            "payment_method_types.",
            param="automatic_payment_methods",
        )
    return ({"allow_redirects": redirects, "enabled": True} if enabled else None), types


def merged(metadata: dict[str, str], changes: dict[str, str] | None) -> dict[str, str]:
    if changes == {"": ""}:
        return {}
    return {key: value for key, value in (metadata | (changes or {})).items() if value}


def blank(book: Book, **fields: Any) -> Document:
    intent = book.new(
        "payment_intent",
        amount_capturable=0,
        amount_details={"tip": {}},
        amount_received=0,
        application=None,
        canceled_at=None,
        cancellation_reason=None,
        confirmation_method="automatic",
        last_payment_error=None,
        latest_charge=None,
        next_action=None,
        payment_method=None,
        payment_method_options={"card": {"request_three_d_secure": "automatic"}},
        processing=None,
        shipping=None,
        status="requires_payment_method",
        _return_url=None,
        _no_challenge=False,
        **fields,
    )
    intent["client_secret"] = f"{intent['id']}_secret_{random_text(25)}"
    return intent
