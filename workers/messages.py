"""From domain events to push messages: who hears what, and what a stranger may know.

A public message never tells whose order holds a ticket. `seconds_left` is as of the event; a client counts down to
`held_until` on the server's clock.
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


class UnknownEvent(Exception):
    """No message is known for this type."""


class Told(NamedTuple):
    """What an event becomes: its messages, and the show whose availability it may have changed."""

    messages: list[Message]
    show_id: UUID | None = None


class ShownTicket(Ticket, frozen=True, kw_only=True):
    """A ticket as anyone is told of it."""

    seconds_left: float | None = None


class Sale(msgspec.Struct, frozen=True):
    """What a seller is told of an order for a ticket. `ticket` is as anyone is told of it."""

    order_id: str
    ticket: msgspec.Raw
    amount: int
    currency: str
    held_until: datetime | None


_decode_ticket = msgspec.json.Decoder(ShownTicket).decode
_decode_ticket_order = msgspec.json.Decoder(TicketOrder).decode
_decode_order = msgspec.json.Decoder(Order).decode
_decode_payment = msgspec.json.Decoder(Payment).decode
_decode_show = msgspec.json.Decoder(Show).decode
_encode = msgspec.json.Encoder().encode


def told_of(event: Event) -> Told:
    """Raises UnknownEvent, and msgspec.ValidationError for data that does not fit its type."""
    if event.type not in TYPES:
        raise UnknownEvent(event.type)
    noun, _, _ = event.type.partition(".")
    data = event.envelope.data
    match noun:
        case "ticket":
            return _told_of_ticket(event, _decode_ticket(data), _decode_ticket_order(data))
        case "order":
            order = _decode_order(data)
            return Told([_caused(event, (_user(order.buyer_id),), event.type, {"order": order})])
        case "payment":
            payment = _decode_payment(data)
            return Told(
                [_caused(event, (_user(payment.buyer_id),), event.type, {"payment": payment})]
            )
        case "show":
            return Told([], _decode_show(data).id)
    return Told([])


def availability_message(show: Any) -> Message:
    """The live counts of a show, for those who look at many."""
    counts = {
        name: getattr(show, name)
        for name in (
            "available",
            "held",
            "sold",
            "from_price",
            "currency",
            "next_free_at",
            "version",
        )
    }
    data = _encode({"show": {"id": show.id} | counts}).decode()
    return Message(("shows",), "show.availability", data, key=str(show.id), version=show.version)


def _told_of_ticket(event: Event, ticket: ShownTicket, order: TicketOrder) -> Told:
    if ticket.held_until is not None:
        left = (ticket.held_until - event.envelope.occurred_at).total_seconds()
        ticket = msgspec.structs.replace(ticket, seconds_left=max(0.0, round(left, 3)))
    channels = (f"show-{ticket.show_id}", f"ticket-{ticket.id}")
    shown = msgspec.Raw(_encode(ticket))
    messages = [_caused(event, channels, event.type, {"ticket": shown}, ticket.id, ticket.version)]
    order_id = order.order_id or order.previous_order_id
    told_as = "sale.refunded" if order.refunded else SALES.get(event.type)
    if told_as is not None and order_id is not None:
        sale = Sale(order_id, shown, ticket.price, ticket.currency, ticket.held_until)
        messages.append(_caused(event, (_user(ticket.seller_id),), told_as, {"sale": sale}))
    return Told(messages, ticket.show_id)


def _caused(
    event: Event,
    channels: tuple[str, ...],
    name: str,
    data: dict[str, Any],
    key: str | None = None,
    version: int | None = None,
) -> Message:
    """A message that carries the event's correlation id to the gateway's log, and no further."""
    return Message(
        channels, name, _encode(data).decode(), key, version, event.envelope.correlation_id
    )


def _user(user_id: UUID | str) -> str:
    return f"{USER_CHANNEL_PREFIX}{user_id}"
