"""Push messages of events: their channels, and the fields that public messages must not contain."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from backend.events.catalogue import TYPES, Envelope, Event
from backend.push.push_log import Message
from workers.push_messages import UnknownEventType, messages_of

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
TICKET, SHOW, SELLER, BUYER, ORDER, PAYMENT = (uuid4() for _ in range(6))


def types_of(noun: str) -> list[str]:
    return sorted(name for name in TYPES if name.startswith(f"{noun}."))


TICKET_EVENTS = types_of("ticket")
SALES = {
    f"ticket.{change}": f"sale.{change}" for change in ("held", "extended", "released", "sold")
}


def event(type: str, data: dict[str, Any]) -> Event:
    envelope = Envelope(
        id=uuid4(),
        type=type,
        schema=1,
        subject=TICKET,
        version=3,
        occurred_at=NOW,
        data=msgspec.Raw(msgspec.json.encode(data)),
    )
    return Event(1, 1, envelope)


def ticket(**fields: Any) -> dict[str, Any]:
    return {
        "id": TICKET,
        "show_id": SHOW,
        "seller_id": SELLER,
        "seller_handle": "sam",
        "status": "available",
        "title": None,
        "section": "A",
        "row": "1",
        "seat": "2",
        "price": 4500,
        "face_value": None,
        "currency": "EUR",
        "order_id": None,
        "held_until": None,
        "hidden": False,
        "version": 3,
        "created_at": NOW,
    } | fields


def ticket_event(type: str) -> Event:
    match type:
        case "ticket.released":
            return event(type, ticket(previous_order_id=ORDER))
        case "ticket.held" | "ticket.extended":
            held = ticket(status="held", order_id=ORDER, held_until=NOW + timedelta(seconds=60))
            return event(type, held)
        case "ticket.reserved" | "ticket.sold":
            return event(type, ticket(status=type.removeprefix("ticket."), order_id=ORDER))
    return event(type, ticket())


def order_event(type: str) -> Event:
    line = {"id": TICKET, "show_id": SHOW, "seller_id": SELLER, "price": 4500}
    order = {
        "id": ORDER,
        "buyer_id": BUYER,
        "status": "pending",
        "subtotal": 4500,
        "fee": 225,
        "total": 4725,
        "currency": "EUR",
        "expires_at": NOW,
        "payment_id": None,
        "version": 1,
        "created_at": NOW,
        "tickets": [line | {"title": None, "section": None, "row": None, "seat": None}],
    }
    return event(type, order)


def payment_event(type: str) -> Event:
    payment = {
        "id": PAYMENT,
        "order_id": ORDER,
        "buyer_id": BUYER,
        "attempt": 1,
        "status": "captured",
        "amount": 4725,
        "currency": "EUR",
        "version": 4,
        "reason": None,
    }
    # The row has more fields than the event's type, and an older event has Stripe's codes.
    more = {"intent_id": "pi_secret", "created_at": NOW, "decline_code": "insufficient_funds"}
    return event(type, payment | more)


def show_event(type: str) -> Event:
    show = {
        "id": SHOW,
        "owner_id": SELLER,
        "title": "t",
        "venue": "v",
        "city": "c",
        "starts_at": NOW,
    }
    return event(type, show | {"timezone": "UTC", "category": "other", "version": 2})


def messages_for(event: Event) -> list[Message]:
    return messages_of(event).messages


def decode_message(message: Message) -> Any:
    return msgspec.json.decode(message.data)


@pytest.mark.parametrize("type", TICKET_EVENTS)
def test_a_ticket_event_goes_to_its_shows_and_its_own_channel_as_state(type: str) -> None:
    message, *_ = messages_for(ticket_event(type))
    assert message.channels == (f"show-{SHOW}", f"ticket-{TICKET}")
    assert (message.event, message.key, message.version) == (type, str(TICKET), 3)
    shown = decode_message(message)["ticket"]
    assert (shown["id"], shown["price"], shown["created_at"]) == (
        str(TICKET),
        4500,
        "2030-01-01T12:00:00Z",
    )


def test_a_public_ticket_message_has_exactly_the_public_fields() -> None:
    public, sale = messages_for(ticket_event("ticket.held"))
    shown = decode_message(public)["ticket"]
    assert list(shown) == [*(name for name in ticket() if name != "order_id"), "seconds_left"]
    assert decode_message(sale)["sale"]["ticket"] == shown


@pytest.mark.parametrize("type", TICKET_EVENTS)
def test_a_public_message_never_contains_the_order_or_buyer(type: str) -> None:
    for message in messages_for(ticket_event(type)):
        if all(channel.startswith("private-") for channel in message.channels):
            continue
        assert str(ORDER) not in message.data
        assert str(BUYER) not in message.data
        assert "order" not in message.data


@pytest.mark.parametrize("type", TICKET_EVENTS)
def test_the_seller_receives_holds_releases_and_sales(type: str) -> None:
    private = [message for message in messages_for(ticket_event(type)) if message.key is None]
    if type not in SALES:
        assert private == []
        return
    (message,) = private
    assert (message.channels, message.event) == ((f"private-user-{SELLER}",), SALES[type])
    sale = decode_message(message)["sale"]
    assert (sale["order_id"], sale["amount"], sale["currency"]) == (str(ORDER), 4500, "EUR")
    assert str(BUYER) not in message.data


@pytest.mark.parametrize(
    ("type", "status"), [("ticket.released", "available"), ("ticket.withdrawn", "withdrawn")]
)
def test_the_seller_receives_a_refund_for_a_released_or_withdrawn_ticket(
    type: str, status: str
) -> None:
    refunded = event(type, ticket(status=status, previous_order_id=ORDER, refunded=True))
    public, sale = messages_for(refunded)
    assert (public.event, decode_message(public)["ticket"]["status"]) == (type, status)
    assert "refunded" not in decode_message(public)["ticket"]
    assert (sale.channels, sale.event, sale.key) == (
        (f"private-user-{SELLER}",),
        "sale.refunded",
        None,
    )
    sale_data = decode_message(sale)["sale"]
    assert (sale_data["order_id"], sale_data["amount"], sale_data["ticket"]["id"]) == (
        str(ORDER),
        4500,
        str(TICKET),
    )
    assert str(BUYER) not in sale.data


def test_a_ticket_message_has_the_holds_end_and_its_seconds_left() -> None:
    held = decode_message(messages_for(ticket_event("ticket.held"))[0])["ticket"]
    assert (held["held_until"], held["seconds_left"]) == ("2030-01-01T12:01:00Z", 60.0)
    free = decode_message(messages_for(ticket_event("ticket.released"))[0])["ticket"]
    assert (free["held_until"], free["seconds_left"]) == (None, None)


def test_seconds_left_is_never_negative() -> None:
    late = event(
        "ticket.held", ticket(status="held", order_id=ORDER, held_until=NOW - timedelta(seconds=5))
    )
    assert decode_message(messages_for(late)[0])["ticket"]["seconds_left"] == 0.0


@pytest.mark.parametrize("type", types_of("order"))
def test_an_order_event_goes_only_to_its_buyer(type: str) -> None:
    (message,) = messages_for(order_event(type))
    assert (message.channels, message.event, message.key) == (
        (f"private-user-{BUYER}",),
        type,
        None,
    )
    assert decode_message(message)["order"]["id"] == str(ORDER)


@pytest.mark.parametrize("type", types_of("payment"))
def test_a_payment_event_goes_only_to_its_buyer_and_without_stripe_ids(type: str) -> None:
    (message,) = messages_for(payment_event(type))
    assert (message.channels, message.event, message.key) == (
        (f"private-user-{BUYER}",),
        type,
        None,
    )
    assert "pi_secret" not in message.data


def test_a_changed_show_goes_to_its_visitors_and_to_holders_of_its_tickets() -> None:
    (message,) = messages_for(show_event("show.updated"))
    assert message.channels == (f"show-{SHOW}", f"changes-{SHOW}")
    assert message.key == str(SHOW)
    shown = decode_message(message)["show"]
    assert (shown["id"], shown["status"], shown["title"]) == (str(SHOW), "on_sale", "t")


@pytest.mark.parametrize(
    "published",
    [*(event(each, {}) for each in types_of("user")), show_event("show.created")],
)
def test_user_events_and_new_shows_have_no_messages(published: Event) -> None:
    assert messages_for(published) == []


def test_every_event_type_of_the_catalogue_is_converted() -> None:
    made = {
        "ticket": ticket_event,
        "order": order_event,
        "payment": payment_event,
        "show": show_event,
    }
    for name in TYPES:
        make = made.get(name.partition(".")[0], lambda name: event(name, {}))
        assert all(isinstance(message, Message) for message in messages_for(make(name)))


@pytest.mark.parametrize("noun", ["ticket", "order", "payment", "show"])
def test_an_unknown_type_and_malformed_data_raise(noun: str) -> None:
    with pytest.raises(UnknownEventType):
        messages_of(event(f"{noun}.eaten", ticket()))
    for name in types_of(noun):
        with pytest.raises(msgspec.ValidationError):
            messages_of(event(name, {"id": "nothing else"}))


def test_the_show_id_is_set_for_events_that_change_its_counts() -> None:
    events = [ticket_event("ticket.sold"), show_event("show.updated"), order_event("order.created")]
    assert [messages_of(event).show_id for event in events] == [SHOW, SHOW, None]
