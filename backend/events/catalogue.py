"""The events of GitTix, typed: what is on the stream, for whoever reads it.

An event's `data` is the full public state of what it is about, and `version` grows by one with each change of that, so
a reader applies what is newer than what it has and never waits for a gap.
"""

from datetime import datetime
from typing import Any, Literal, get_args
from uuid import UUID

import msgspec

Type = Literal[
    "user.registered",
    "show.created",
    "show.updated",
    "ticket.listed",
    "ticket.updated",
    "ticket.withdrawn",
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
    """One event. `position` is its place in the event log, dense and growing; `data` is still encoded."""

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
    """`data` of `ticket.*`, but for the order: what anyone may know.

    Ids that are only passed on stay the text they came as: to read and write them again would be half of its costs.
    """

    id: str
    show_id: UUID
    seller_id: str
    seller_name: str
    status: Literal["available", "held", "reserved", "sold", "withdrawn"]
    title: str | None
    section: str | None
    row: str | None
    seat: str | None
    price: int
    face_value: int | None
    currency: str
    held_until: datetime | None
    version: int
    created_at: datetime


class TicketOrder(msgspec.Struct, frozen=True, kw_only=True):
    """`data` of `ticket.*` that nobody but the seller may know: the order that has the ticket.

    `previous_order_id` is the order that lost it: its hold ended, or it was `refunded`.
    """

    order_id: str | None
    previous_order_id: str | None = None
    refunded: bool = False


class OrderLine(msgspec.Struct, frozen=True, kw_only=True):
    id: UUID
    show_id: UUID
    seller_id: UUID
    price: int
    title: str | None
    section: str | None
    row: str | None
    seat: str | None


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """`data` of `order.*`."""

    id: UUID
    buyer_id: UUID
    status: str
    subtotal: int
    fee: int
    total: int
    currency: str
    expires_at: datetime
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
    failure_code: str | None
    decline_code: str | None
    failure_message: str | None
    version: int


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
    version: int


class Event(msgspec.Struct, frozen=True):
    """An envelope as it was read from the stream, with its entry id."""

    epoch: int
    position: int
    envelope: Envelope

    @property
    def type(self) -> str:
        return self.envelope.type


_decode_envelope = msgspec.json.Decoder(Envelope).decode


def decode(entry_id: str, body: bytes) -> Event:
    """An event of the stream. Raises msgspec.DecodeError or ValueError for anything else."""
    epoch, _, position = entry_id.partition("-")
    return Event(int(epoch), int(position), _decode_envelope(body))


def named(event: Event) -> dict[str, str]:
    """What a log line says of an event."""
    envelope = event.envelope
    return {
        "type": event.type,
        "event_id": str(envelope.id),
        "correlation_id": str(envelope.correlation_id or ""),
    }


def data_of(event: Event) -> dict[str, Any]:
    """The event's data without a type, for showing."""
    data: dict[str, Any] = msgspec.json.decode(event.envelope.data)
    return data
