"""The event types of GitTix, and the typed data of each.

An event's `data` is the full public state of its subject, and `version` grows by one with each
change of that subject. A consumer therefore applies an event when its version is newer than the
stored one, and never waits for a missing version.
"""

from datetime import datetime
from typing import Any, Literal, get_args
from uuid import UUID

import msgspec

Type = Literal[
    "user.registered",
    "user.updated",
    "show.created",
    "show.updated",
    "ticket.listed",
    "ticket.updated",
    "ticket.withdrawn",
    "ticket.hidden",
    "ticket.unhidden",
    "ticket.held",
    "ticket.extended",
    "ticket.reserved",
    "ticket.released",
    "ticket.sold",
    "order.created",
    "order.updated",
    "order.confirmed",
    "order.completed",
    "order.cancelled",
    "order.expired",
    "order.refunded",
    "payment.started",
    "payment.authorised",
    "payment.captured",
    "payment.voided",
    "payment.failed",
    "payment.refunded",
    "payment.disputed",
]
TYPES: frozenset[str] = frozenset(get_args(Type))


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """One event as encoded on the stream. `data` stays encoded until a consumer decodes it."""

    id: UUID
    type: str
    schema: int
    subject: UUID
    version: int
    occurred_at: datetime
    correlation_id: UUID | None = None
    causation_id: UUID | None = None
    data: msgspec.Raw


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """The public fields of the `data` of `ticket.*`, without the order.

    Ids that the notifier only copies stay text: parsing and formatting UUIDs would be half of its
    CPU time.
    """

    id: str
    show_id: UUID
    seller_id: str
    # Events from before this field lack it.
    seller_handle: str = ""
    status: Literal["available", "held", "reserved", "sold", "withdrawn"]
    title: str | None
    section: str | None
    row: str | None
    seat: str | None
    price: int
    face_value: int | None
    currency: str
    held_until: datetime | None
    # Events from before this field lack it.
    hidden: bool = False
    version: int
    created_at: datetime


class TicketOrder(msgspec.Struct, frozen=True, kw_only=True):
    """The private fields of the `data` of `ticket.*`, for the seller only.

    `previous_order_id` is the order that lost the ticket, because its hold ended or because it was
    `refunded`.
    """

    order_id: str | None
    previous_order_id: str | None = None
    refunded: bool = False


class BoughtShow(msgspec.Struct, frozen=True, kw_only=True):
    """The show of an order line as it was when the order was placed."""

    title: str
    venue: str
    city: str
    starts_at: datetime
    timezone: str


class OrderLine(msgspec.Struct, frozen=True, kw_only=True):
    id: UUID
    show_id: UUID
    seller_id: UUID
    price: int
    title: str | None
    section: str | None
    row: str | None
    seat: str | None
    # Events from before these fields lack them.
    fee: int = 0
    status: str | None = None
    refund_reason: str | None = None
    show: BoughtShow | None = None


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """`data` of `order.*`."""

    id: UUID
    # Events from before this field lack it.
    number: str = ""
    buyer_id: UUID
    status: str
    subtotal: int
    fee: int
    total: int
    # Events from before this field lack it.
    refunded: int = 0
    currency: str
    expires_at: datetime
    # When the buyer extended the hold. Events from before this field lack it.
    extended_at: datetime | None = None
    payment_id: UUID | None
    version: int
    created_at: datetime
    tickets: list[OrderLine]


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """`data` of `payment.*`."""

    id: UUID
    order_id: UUID
    buyer_id: UUID
    attempt: int
    status: str
    amount: int
    currency: str
    version: int
    # Of a failed payment. Older events have Stripe's codes instead.
    reason: str | None = None


class Show(msgspec.Struct, frozen=True, kw_only=True):
    """`data` of `show.*`."""

    id: UUID
    owner_id: UUID
    title: str
    venue: str
    city: str
    starts_at: datetime
    timezone: str
    category: str
    # Events from before these fields lack them.
    listing_policy: Literal["open", "owner"] = "open"
    ends_at: datetime | None = None
    # Null: when the show starts.
    sales_end_at: datetime | None = None
    status: Literal["on_sale", "postponed", "cancelled"] = "on_sale"
    version: int


class Event(msgspec.Struct, frozen=True):
    """An envelope read from the stream, with the epoch and the position of its entry id."""

    epoch: int
    position: int
    envelope: Envelope

    @property
    def type(self) -> str:
        return self.envelope.type


_decode_envelope = msgspec.json.Decoder(Envelope).decode


def decode(entry_id: str, body: bytes) -> Event:
    """Return the event of a stream entry.

    Raises msgspec.DecodeError or ValueError if it is malformed.
    """
    epoch, _, position = entry_id.partition("-")
    return Event(int(epoch), int(position), _decode_envelope(body))


def log_fields(event: Event) -> dict[str, str]:
    """Return the fields that identify an event in a log line."""
    envelope = event.envelope
    return {
        "type": event.type,
        "event_id": str(envelope.id),
        "correlation_id": str(envelope.correlation_id or ""),
    }


def decode_data(event: Event) -> dict[str, Any]:
    """Return the event's data as plain dicts and lists, for display."""
    data: dict[str, Any] = msgspec.json.decode(event.envelope.data)
    return data
