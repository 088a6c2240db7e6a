"""Orders in requests and replies. Money is minor units of the order's currency; times are UTC."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from backend.kernel.pagination import Limit
from backend.kernel.shown_shows import ShownShows

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


# The exact integers of JSON in a browser.
MAX_SHOWN_TOTAL = 2**53 - 1


class NewOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One ticket or a cart of tickets, all or none. Exactly one of the first two fields is
    required. `shown_total`, in minor units and with the fee, is what the buyer was shown: an order
    that costs more is refused. `shown_shows` has the shows of the tickets by their ids, as the
    buyer was shown them: an order for another place or time is refused.
    """

    ticket_id: UUID | None = None
    ticket_ids: Annotated[list[UUID], Meta(min_length=1, max_length=100)] | None = None
    shown_total: Annotated[int, Meta(ge=0, le=MAX_SHOWN_TOTAL)] | None = None
    shown_shows: ShownShows | None = None


class OrderShow(msgspec.Struct, frozen=True):
    title: str
    venue: str
    city: str
    starts_at: datetime
    timezone: str


LineStatus = Literal["sold", "refund_pending", "refunded"]


class ChangedShow(OrderShow, frozen=True):
    """A show as it is now."""

    status: Literal["on_sale", "postponed", "cancelled"]


class OrderLine(msgspec.Struct, frozen=True):
    """A ticket and its show as they were when the order was placed.

    `fee` is the line's part of the order's fee; a refund returns `price` and `fee`. `status` is
    null until the order is completed.
    """

    id: UUID
    show_id: UUID
    seller_id: UUID
    price: int
    fee: int
    status: LineStatus | None
    refund_reason: str | None
    title: str | None
    section: str | None
    row: str | None
    seat: str | None
    show: OrderShow


class OrderState(msgspec.Struct, frozen=True, kw_only=True):
    """An order's row with its lines, as the SQL function `orders.state` builds it. `refunded` is
    the amount of the lines that are refunded.
    """

    id: UUID
    number: str
    buyer_id: UUID
    status: Status
    tickets: list[OrderLine]
    subtotal: int
    fee: int
    total: int
    refunded: int
    currency: str
    expires_at: datetime
    # When the buyer extended the hold. Stored replies from before this field lack it.
    extended_at: datetime | None = None
    payment_id: UUID | None
    version: int
    created_at: datetime


class Order(OrderState, frozen=True, kw_only=True):
    """An order at the time `server_now`.

    `status` is effective: an unpaid order past `expires_at` is expired. `seconds_left` is the time
    until `expires_at` for an unpaid order, and 0 for any other. `show_changed` has the shows whose
    place or time has changed since the order was placed, and those that are postponed or cancelled,
    as they are now, by their ids. `returnable` has the tickets that the buyer may return because of
    that, irrespective of the refund window.
    """

    server_now: datetime
    seconds_left: float
    show_changed: dict[UUID, ChangedShow]
    returnable: list[UUID]


UNPAID: frozenset[Status] = frozenset({"pending", "awaiting_payment"})


def order_at(
    state: OrderState,
    now: datetime,
    changed: dict[UUID, ChangedShow] | None = None,
    returnable: list[UUID] | None = None,
) -> Order:
    """The order as a reply at `now` shows it; `changed` becomes `show_changed`."""
    is_unpaid = state.status in UNPAID
    left = max((state.expires_at - now).total_seconds(), 0.0) if is_unpaid else 0.0
    order = Order(
        **msgspec.structs.asdict(state),
        server_now=now,
        seconds_left=left,
        show_changed=changed or {},
        returnable=returnable or [],
    )
    if is_unpaid and state.expires_at <= now:
        return msgspec.structs.replace(order, status="expired")
    return order


class OrderQuery(msgspec.Struct, frozen=True):
    """A request examines at most 2,000 orders. A page may therefore have fewer items than `limit`,
    or none, and still a `next_cursor`.
    """

    status: Status | None = None
    limit: Limit = 20
    cursor: str | None = None


SaleStatus = Literal["held", "paying", "sold", "released", "refunded"]


class Sale(msgspec.Struct, frozen=True, kw_only=True):
    """A seller's ticket on an order; the buyer stays anonymous, and `price` excludes the fee.

    `status` is effective: a hold past `held_until` is released. `seconds_left` counts from the time
    of this reply. A refund returns `price` and `fee` to the buyer; while `refund_pending`, the
    money is on its way, and the sale is still `sold`.
    """

    order_id: UUID
    order_number: str
    ticket_id: UUID
    show_id: UUID
    title: str | None
    section: str | None
    row: str | None
    seat: str | None
    price: int
    fee: int
    currency: str
    status: SaleStatus
    refund_pending: bool
    held_until: datetime | None
    seconds_left: float | None
    created_at: datetime
    updated_at: datetime


class SaleQuery(msgspec.Struct, frozen=True):
    """`since` leaves out the sales whose order was placed earlier.

    A request examines at most 2,000 sales. A page may therefore have fewer items than `limit`, or
    none, and still a `next_cursor`.
    """

    status: SaleStatus | None = None
    show_id: UUID | None = None
    since: Annotated[datetime, Meta(tz=True)] | None = None
    limit: Limit = 20
    cursor: str | None = None


class Takings(msgspec.Struct, frozen=True):
    """The number of sold tickets and the sum of their prices, in one currency, without the buyers'
    fee. Those that were refunded since are not in `sold` and `amount`, but in `refunded` and
    `refunded_amount`.
    """

    currency: str
    amount: int
    sold: int
    refunded: int
    refunded_amount: int


class SalesPoint(msgspec.Struct, frozen=True):
    """The number of sales in each status, for the orders of the day or hour that begins at `at`."""

    at: datetime
    held: int
    paying: int
    sold: int
    released: int
    refunded: int
    revenue: list[Takings]


class SalesSummary(msgspec.Struct, frozen=True):
    """A point for each day or hour from `since` to now, including those without sales."""

    timezone: str
    since: datetime
    points: list[SalesPoint]


class ShowSales(msgspec.Struct, frozen=True):
    """The sales of one show in a period, by the time when their orders were placed."""

    show_id: UUID
    sold: int
    refunded: int
    revenue: list[Takings]


class SalesByShow(msgspec.Struct, frozen=True):
    """The shows with sales or refunds since `since`, up to 500, those with most sales first."""

    timezone: str
    since: datetime
    items: list[ShowSales]


class SummaryQuery(msgspec.Struct, frozen=True):
    """The last `days` days in the time zone `timezone`, including today; of one show, or of all."""

    days: Annotated[int, Meta(ge=1, le=92)] = 30
    by: Literal["day", "hour"] = "day"
    timezone: Annotated[str, Meta(max_length=60)] = "UTC"
    show_id: UUID | None = None
