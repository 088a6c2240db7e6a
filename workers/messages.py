"""From domain events to push messages: who hears what, and what a stranger may know.

A public message never tells whose order holds a ticket. `seconds_left` is as of the event; a client counts down to
`held_until` on the server's clock.
"""

from typing import Any
from uuid import UUID

import msgspec

from backend.events.catalogue import TYPES, Event, Order, Payment, Show, Ticket
from backend.push.protocol import USER_CHANNEL_PREFIX
from backend.push.publisher import Message

SALES = {
    "ticket.held": "sale.held",
    "ticket.extended": "sale.extended",
    "ticket.released": "sale.released",
    "ticket.sold": "sale.sold",
}


class UnknownEvent(Exception):
    """No message is known for this type."""


def messages_for(event: Event) -> list[Message]:
    """Raises UnknownEvent, and msgspec.ValidationError for data that does not fit its type."""
    if event.type not in TYPES:
        raise UnknownEvent(event.type)
    noun, _, _ = event.type.partition(".")
    match noun:
        case "ticket":
            return _ticket_messages(event, msgspec.json.decode(event.envelope.data, type=Ticket))
        case "order":
            order = msgspec.json.decode(event.envelope.data, type=Order)
            return [
                _caused(event, (_user(order.buyer_id),), event.type, {"order": msgspec.to_builtins(order)})
            ]
        case "payment":
            payment = msgspec.json.decode(event.envelope.data, type=Payment)
            return [
                _caused(
                    event, (_user(payment.buyer_id),), event.type, {"payment": msgspec.to_builtins(payment)}
                )
            ]
    return []


def show_of(event: Event) -> UUID | None:
    """The show whose availability this event may have changed."""
    if event.type.startswith("ticket."):
        return msgspec.json.decode(event.envelope.data, type=Ticket).show_id
    if event.type.startswith("show."):
        return msgspec.json.decode(event.envelope.data, type=Show).id
    return None


def availability_message(show: Any) -> Message:
    """The live counts of a show, for those who look at many."""
    counts = {
        name: getattr(show, name)
        for name in ("available", "held", "sold", "from_price", "currency", "next_free_at", "version")
    }
    return Message(
        ("shows",),
        "show.availability",
        {"show": msgspec.to_builtins({"id": str(show.id)} | counts)},
        key=str(show.id),
        version=show.version,
    )


def _caused(
    event: Event, channels: tuple[str, ...], name: str, data: dict[str, Any], **state: Any
) -> Message:
    """A message that carries the event's correlation id to the gateway's log, and no further."""
    cause = event.envelope.correlation_id
    return Message(channels, name, data, correlation_id=str(cause) if cause else "", **state)


def _ticket_messages(event: Event, ticket: Ticket) -> list[Message]:
    key = str(ticket.id)
    data = {"ticket": _public(event, ticket)}
    told = [
        _caused(
            event,
            (f"show-{ticket.show_id}", f"ticket-{ticket.id}"),
            event.type,
            data,
            key=key,
            version=ticket.version,
        )
    ]
    order_id = ticket.order_id or ticket.previous_order_id
    told_as = "sale.refunded" if ticket.refunded else SALES.get(event.type)
    if told_as is not None and order_id is not None:
        sale = {
            "order_id": str(order_id),
            "ticket": data["ticket"],
            "amount": ticket.price,
            "currency": ticket.currency,
            "held_until": data["ticket"]["held_until"],
        }
        told.append(_caused(event, (_user(ticket.seller_id),), told_as, {"sale": sale}))
    return told


def _public(event: Event, ticket: Ticket) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(ticket)
    del shown["order_id"], shown["previous_order_id"], shown["refunded"]
    left = (ticket.held_until - event.envelope.occurred_at).total_seconds() if ticket.held_until else None
    return shown | {"seconds_left": left if left is None else max(0.0, round(left, 3))}


def _user(user_id: UUID) -> str:
    return USER_CHANNEL_PREFIX + str(user_id)
