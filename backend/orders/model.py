"""Orders as the API takes and gives them. Money is minor units of the order's currency; times are UTC."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from backend.kernel.pagination import Limit

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


SaleStatus = Literal["held", "paying", "sold", "released", "refunded"]


class Sale(msgspec.Struct, frozen=True, kw_only=True):
    """A ticket of yours on an order of somebody, whose name stays untold; `price` is frozen, without the buyer's fee.

    `status` is effective: a hold past `held_until` reads as released. `seconds_left` counts from this reply.
    """

    order_id: UUID
    ticket_id: UUID
    show_id: UUID
    title: str | None
    section: str | None
    row: str | None
    seat: str | None
    price: int
    currency: str
    status: SaleStatus
    held_until: datetime | None
    seconds_left: float | None
    created_at: datetime
    updated_at: datetime


class SaleQuery(msgspec.Struct, frozen=True):
    status: SaleStatus | None = None
    limit: Limit = 20
    cursor: str | None = None


class Takings(msgspec.Struct, frozen=True):
    """What so many tickets were sold for."""

    currency: str
    amount: int
    sold: int


class SalesPoint(msgspec.Struct, frozen=True):
    """The sales whose hold began in the day or hour from `at` on, by what became of them."""

    at: datetime
    held: int
    paying: int
    sold: int
    released: int
    refunded: int
    revenue: list[Takings]


class SalesSummary(msgspec.Struct, frozen=True):
    """A point for every day or hour from `since` to now, with nothing in it as well."""

    timezone: str
    since: datetime
    points: list[SalesPoint]


class SummaryQuery(msgspec.Struct, frozen=True):
    """The last `days` days of `timezone`, with today."""

    days: Annotated[int, Meta(ge=1, le=92)] = 30
    by: Literal["day", "hour"] = "day"
    timezone: Annotated[str, Meta(max_length=60)] = "UTC"
