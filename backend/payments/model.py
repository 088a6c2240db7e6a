"""Payments as the API takes and gives them, and as they are stored."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

Status = Literal["started", "requires_action", "authorised", "captured", "voided", "failed", "refunded"]
OPEN = frozenset({"started", "requires_action", "authorised"})


class NewPayment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`payment_method` is the id of a Stripe PaymentMethod."""

    order_id: UUID
    payment_method: Annotated[str, Meta(min_length=1, max_length=255, pattern="^[A-Za-z0-9_]+$")]


class PaymentReply(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`requires_action` comes with the client secret, for 3-D Secure in the browser.

    `started` and `authorised` mean that the outcome is still coming: follow the order.
    """

    id: UUID
    order_id: UUID
    status: Status
    amount: int
    currency: str
    client_secret: str | None = None


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at paying an order, and what its events tell."""

    id: UUID
    order_id: UUID
    buyer_id: UUID
    attempt: int
    status: Status
    amount: int
    currency: str
    intent_id: str | None
    failure_code: str | None
    decline_code: str | None
    failure_message: str | None
    version: int
    created_at: datetime
    updated_at: datetime


class Received(msgspec.Struct, frozen=True):
    """The answer to Stripe's webhook."""

    received: bool = True
