"""Payments and refunds: the bodies of requests and replies, and the stored rows."""

from datetime import datetime
from typing import Annotated, Literal, NamedTuple
from uuid import UUID

import msgspec
from msgspec import Meta

from backend.kernel.budgets import Budgets
from backend.kernel.idempotency import KeyedRequest
from backend.kernel.shown_shows import ShownShows
from backend.payments.decline_reasons import Reason, reason_of

Status = Literal[
    "started", "requires_action", "authorised", "captured", "voided", "failed", "refunded"
]
OPEN = frozenset({"started", "requires_action", "authorised"})
RefundStatus = Literal["requested", "pending", "succeeded", "failed"]


class NewPayment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`payment_method` is the id of a Stripe PaymentMethod. `shown_shows` has the shows of the
    order by their ids, as the buyer was shown them: a payment for another place or time is refused.
    """

    order_id: UUID
    payment_method: Annotated[str, Meta(min_length=1, max_length=255, pattern="^[A-Za-z0-9_]+$")]
    shown_shows: ShownShows | None = None


class PresentShow(msgspec.Struct, frozen=True):
    title: str
    venue: str
    city: str
    starts_at: datetime
    timezone: str
    status: Literal["on_sale", "postponed", "cancelled"]


class PaymentRequest(NamedTuple):
    """A buyer's request to pay. `address` is the client's; `budgets` are of declines."""

    buyer_id: UUID
    new: NewPayment
    keyed: KeyedRequest | None
    address: str
    max_attempts: int
    budgets: Budgets


class PaymentReply(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A payment that `requires_action` has the client secret, for 3-D Secure in the browser.

    `started` and `authorised` have no outcome yet: the order's next status is the outcome. `failed`
    has the reason.
    """

    id: UUID
    order_id: UUID
    attempt: int
    status: Status
    amount: int
    currency: str
    version: int
    reason: Reason | None = None
    client_secret: str | None = None


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to pay an order. Its events have `reason` instead of Stripe's codes."""

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
    # Of the request that started the attempt. Later work on the attempt continues under this id.
    correlation_id: UUID | None = None
    reason: Reason | None = None

    @property
    def failed_for(self) -> Reason | None:
        """The reason of a failed payment, None of any other."""
        if self.status != "failed":
            return None
        return reason_of(self.failure_code, self.decline_code)


class NewRefund(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`lines` are the ids of tickets of the order; without it, all that you may refund. A seller
    may refund its own tickets, a buyer each. `reason` is for the buyer to read.

    `relist` puts the tickets on sale again at their price, for sellers only; without it they are
    withdrawn.
    """

    lines: Annotated[list[UUID], Meta(min_length=1, max_length=100)] | None = None
    reason: Annotated[str, Meta(max_length=200)] | None = None
    relist: bool = False


LineStatus = Literal["sold", "refund_pending", "refunded"]


class RefundLine(msgspec.Struct, frozen=True):
    """A ticket as it was when the order was placed. A refund returns `price` and `fee`."""

    id: UUID
    show_id: UUID
    seller_id: UUID
    price: int
    fee: int
    status: LineStatus
    refund_reason: str | None
    title: str | None
    section: str | None
    row: str | None
    seat: str | None


class RefundState(msgspec.Struct, frozen=True, kw_only=True):
    """The refund of some lines, which `lines` names by their tickets.

    `requested` and `pending` have no outcome yet: the event `order.refunded` follows, or
    `order.updated` if other lines of the order are not refunded.
    """

    id: UUID
    status: RefundStatus
    lines: list[UUID]
    amount: int
    currency: str
    relist: bool


class RefundReply(msgspec.Struct, frozen=True, kw_only=True):
    """The order without its buyer, and its refund. A seller gets its own lines and amounts."""

    id: UUID
    status: Literal["completed", "refund_pending", "refunded"]
    tickets: list[RefundLine]
    subtotal: int
    fee: int
    total: int
    refunded: int
    currency: str
    version: int
    refund: RefundState


class Refund(msgspec.Struct, frozen=True, kw_only=True):
    """A refund of lines of an order. `number` counts the order's refunds, `faults` Stripe's 5xx
    replies. `lines` has the tickets.
    """

    id: UUID
    order_id: UUID
    payment_id: UUID
    intent_id: str
    number: int
    relist: bool
    status: RefundStatus
    amount: int
    currency: str
    stripe_id: str | None
    failure_code: str | None
    faults: int
    version: int
    lines: list[UUID]


class Received(msgspec.Struct, frozen=True):
    """The reply to Stripe's webhook."""

    received: bool = True
