"""Push messages of domain events: their channels and their data.

A public message never contains the order or the buyer of a ticket. `seconds_left` is measured at
the time of the event; a client counts down to `held_until` on the server's clock.
"""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from backend.events.catalogue import TYPES, Event, Order, Payment, Show, Ticket, TicketOrder
from backend.push.protocol import USER_CHANNEL_PREFIX
from backend.push.push_log import Message

SALES = {
    "ticket.held": "sale.held",
    "ticket.extended": "sale.extended",
    "ticket.released": "sale.released",
    "ticket.sold": "sale.sold",
}


class UnknownEventType(Exception):
    """The event's type is not in the catalogue."""


class EventMessages(NamedTuple):
    """The messages of an event, and the show with perhaps another availability."""

    messages: list[Message]
    show_id: UUID | None = None


class PublicTicket(Ticket, frozen=True, kw_only=True):
    """A ticket in a public message."""

    seconds_left: float | None = None


class Sale(msgspec.Struct, frozen=True):
    """An order for a ticket in a message to its seller. `ticket` is an encoded PublicTicket."""

    order_id: str
    ticket: msgspec.Raw
    amount: int
    currency: str
    held_until: datetime | None


_decode_ticket = msgspec.json.Decoder(PublicTicket).decode
_decode_ticket_order = msgspec.json.Decoder(TicketOrder).decode
_decode_order = msgspec.json.Decoder(Order).decode
_decode_payment = msgspec.json.Decoder(Payment).decode
_decode_show = msgspec.json.Decoder(Show).decode
_encode = msgspec.json.Encoder().encode


def messages_of(event: Event) -> EventMessages:
    """Return the push messages of an event.

    Raises UnknownEventType for an unknown type, and msgspec.ValidationError for data that does not
    match its type.
    """
    if event.type not in TYPES:
        raise UnknownEventType(event.type)
    subject_kind, _, _ = event.type.partition(".")
    data = event.envelope.data
    match subject_kind:
        case "ticket":
            return _ticket_messages(event, _decode_ticket(data), _decode_ticket_order(data))
        case "order":
            order = _decode_order(data)
            return EventMessages(
                [_message(event, (_user_channel(order.buyer_id),), event.type, {"order": order})]
            )
        case "payment":
            payment = _decode_payment(data)
            return EventMessages(
                [
                    _message(
                        event, (_user_channel(payment.buyer_id),), event.type, {"payment": payment}
                    )
                ]
            )
        case "show":
            show = _decode_show(data)
            if event.type != "show.updated":
                return EventMessages([], show.id)
            # The latter is for holders of its tickets: the gateway counts no viewers there.
            channels = (f"show-{show.id}", f"changes-{show.id}")
            key, version = str(show.id), event.envelope.version
            message = _message(event, channels, event.type, {"show": show}, key, version)
            return EventMessages([message], show.id)
    return EventMessages([])


def availability_message(show: Any) -> Message:
    """Return the message with a show's live counts, for pages that list shows."""
    counts = {
        name: getattr(show, name)
        for name in (
            "available",
            "held",
            "sold",
            "from_price",
            "currency",
            "from_prices",
            "next_free_at",
            "status",
            "version",
        )
    }
    data = _encode({"show": {"id": show.id} | counts}).decode()
    return Message(("shows",), "show.availability", data, key=str(show.id), version=show.version)


def _ticket_messages(event: Event, ticket: PublicTicket, order: TicketOrder) -> EventMessages:
    if ticket.held_until is not None:
        left = (ticket.held_until - event.envelope.occurred_at).total_seconds()
        ticket = msgspec.structs.replace(ticket, seconds_left=max(0.0, round(left, 3)))
    channels = (f"show-{ticket.show_id}", f"ticket-{ticket.id}")
    shown = msgspec.Raw(_encode(ticket))
    messages = [_message(event, channels, event.type, {"ticket": shown}, ticket.id, ticket.version)]
    order_id = order.order_id or order.previous_order_id
    sale_event = "sale.refunded" if order.refunded else SALES.get(event.type)
    if sale_event is not None and order_id is not None:
        sale = Sale(order_id, shown, ticket.price, ticket.currency, ticket.held_until)
        messages.append(
            _message(event, (_user_channel(ticket.seller_id),), sale_event, {"sale": sale})
        )
    return EventMessages(messages, ticket.show_id)


def _message(
    event: Event,
    channels: tuple[str, ...],
    name: str,
    data: dict[str, Any],
    key: str | None = None,
    version: int | None = None,
) -> Message:
    """Build a message. The gateway logs its correlation id and does not send that id to clients."""
    return Message(
        channels, name, _encode(data).decode(), key, version, event.envelope.correlation_id
    )


def _user_channel(user_id: UUID | str) -> str:
    return f"{USER_CHANNEL_PREFIX}{user_id}"
