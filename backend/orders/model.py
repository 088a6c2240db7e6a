"""Orders as the API takes and gives them. Money is minor units of the order's currency; times are UTC."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from backend.kernel.pages import Limit

Status = Literal[
    "pending",
    "awaiting_payment",
    "confirmed",
    "completed",
    "cancelled",
    "expired",
    "refund_pending",
    "refunded",
]


class NewOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One ticket, or a cart of them: all or none. Give one of the two."""

    ticket_id: UUID | None = None
    ticket_ids: Annotated[list[UUID], Meta(min_length=1, max_length=100)] | None = None


class OrderLine(msgspec.Struct, frozen=True):
    """A ticket as it was when it was ordered; `price` is frozen."""

    id: UUID
    show_id: UUID
    seller_id: UUID
    price: int
    title: str | None
    section: str | None
    row: str | None
    seat: str | None


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """`status` is effective: an unpaid order past `expires_at` reads as expired. `seconds_left` counts from this reply."""

    id: UUID
    buyer_id: UUID
    status: Status
    tickets: list[OrderLine]
    subtotal: int
    fee: int
    total: int
    currency: str
    expires_at: datetime
    server_now: datetime
    seconds_left: float
    payment_id: UUID | None
    version: int
    created_at: datetime


class OrderQuery(msgspec.Struct, frozen=True):
    status: Status | None = None
    limit: Limit = 20
    cursor: str | None = None
