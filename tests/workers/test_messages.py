"""From events to push messages: who hears what, and what a stranger never learns."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from backend.events.catalogue import TYPES, Envelope, Event
from backend.push.push_log import Message
from workers.messages import UnknownEvent, told_of

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
TICKET, SHOW, SELLER, BUYER, ORDER, PAYMENT = (uuid4() for _ in range(6))


def types_of(noun: str) -> list[str]:
    return sorted(name for name in TYPES if name.startswith(f"{noun}."))


TICKET_EVENTS = types_of("ticket")
SALES = {f"ticket.{what}": f"sale.{what}" for what in ("held", "extended", "released", "sold")}


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
        "seller_name": "Sam",
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
        "failure_code": None,
        "decline_code": None,
        "failure_message": None,
        "version": 4,
    }
    # The row has more than its event's readers know.
    return event(type, payment | {"intent_id": "pi_secret", "created_at": NOW})


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
    return told_of(event).messages


def data_of(message: Message) -> Any:
    return msgspec.json.decode(message.data)


@pytest.mark.parametrize("type", TICKET_EVENTS)
def test_a_tickets_event_goes_to_its_show_and_to_its_own_channel_as_state(type: str) -> None:
    message, *_ = messages_for(ticket_event(type))
    assert message.channels == (f"show-{SHOW}", f"ticket-{TICKET}")
    assert (message.event, message.key, message.version) == (type, str(TICKET), 3)
    shown = data_of(message)["ticket"]
    assert (shown["id"], shown["price"], shown["created_at"]) == (
        str(TICKET),
        4500,
        "2030-01-01T12:00:00Z",
    )


def test_what_a_stranger_is_told_of_a_ticket() -> None:
    public, sale = messages_for(ticket_event("ticket.held"))
    shown = data_of(public)["ticket"]
    assert list(shown) == [*(name for name in ticket() if name != "order_id"), "seconds_left"]
    assert data_of(sale)["sale"]["ticket"] == shown


@pytest.mark.parametrize("type", TICKET_EVENTS)
def test_a_public_message_never_tells_whose_order_it_is(type: str) -> None:
    for message in messages_for(ticket_event(type)):
        if all(channel.startswith("private-") for channel in message.channels):
            continue
        assert str(ORDER) not in message.data
        assert str(BUYER) not in message.data
        assert "order" not in message.data


@pytest.mark.parametrize("type", TICKET_EVENTS)
def test_the_seller_hears_of_holds_releases_and_sales(type: str) -> None:
    private = [message for message in messages_for(ticket_event(type)) if message.key is None]
    if type not in SALES:
        assert private == []
        return
    (message,) = private
    assert (message.channels, message.event) == ((f"private-user-{SELLER}",), SALES[type])
    sale = data_of(message)["sale"]
    assert (sale["order_id"], sale["amount"], sale["currency"]) == (str(ORDER), 4500, "EUR")
    assert str(BUYER) not in message.data


@pytest.mark.parametrize(
    ("type", "status"), [("ticket.released", "available"), ("ticket.withdrawn", "withdrawn")]
)
def test_the_seller_hears_of_a_refund_whatever_became_of_the_ticket(type: str, status: str) -> None:
    refunded = event(type, ticket(status=status, previous_order_id=ORDER, refunded=True))
    public, sale = messages_for(refunded)
    assert (public.event, data_of(public)["ticket"]["status"]) == (type, status)
    assert "refunded" not in data_of(public)["ticket"]
    assert (sale.channels, sale.event, sale.key) == (
        (f"private-user-{SELLER}",),
        "sale.refunded",
        None,
    )
    told = data_of(sale)["sale"]
    assert (told["order_id"], told["amount"], told["ticket"]["id"]) == (
        str(ORDER),
        4500,
        str(TICKET),
    )
    assert str(BUYER) not in sale.data


def test_a_holds_end_and_what_is_left_of_it_travel_with_the_ticket() -> None:
    held = data_of(messages_for(ticket_event("ticket.held"))[0])["ticket"]
    assert (held["held_until"], held["seconds_left"]) == ("2030-01-01T12:01:00Z", 60.0)
    free = data_of(messages_for(ticket_event("ticket.released"))[0])["ticket"]
    assert (free["held_until"], free["seconds_left"]) == (None, None)


def test_a_hold_that_is_told_late_has_nothing_left_and_never_less() -> None:
    late = event(
        "ticket.held", ticket(status="held", order_id=ORDER, held_until=NOW - timedelta(seconds=5))
    )
    assert data_of(messages_for(late)[0])["ticket"]["seconds_left"] == 0.0


@pytest.mark.parametrize("type", types_of("order"))
def test_an_orders_event_goes_to_its_buyer_alone(type: str) -> None:
    (message,) = messages_for(order_event(type))
    assert (message.channels, message.event, message.key) == (
        (f"private-user-{BUYER}",),
        type,
        None,
    )
    assert data_of(message)["order"]["id"] == str(ORDER)


@pytest.mark.parametrize("type", types_of("payment"))
def test_a_payments_event_goes_to_its_buyer_alone_without_stripes_ids(type: str) -> None:
    (message,) = messages_for(payment_event(type))
    assert (message.channels, message.event, message.key) == (
        (f"private-user-{BUYER}",),
        type,
        None,
    )
    assert "pi_secret" not in message.data


@pytest.mark.parametrize("told", [event("user.registered", {}), *map(show_event, types_of("show"))])
def test_users_and_shows_are_told_to_nobody(told: Event) -> None:
    assert messages_for(told) == []


def test_every_type_of_the_catalogue_has_an_answer() -> None:
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
def test_an_unknown_type_and_unfit_data_are_refused(noun: str) -> None:
    with pytest.raises(UnknownEvent):
        told_of(event(f"{noun}.eaten", ticket()))
    for name in types_of(noun):
        with pytest.raises(msgspec.ValidationError):
            told_of(event(name, {"id": "nothing else"}))


def test_the_show_whose_counts_changed() -> None:
    told = [ticket_event("ticket.sold"), show_event("show.updated"), order_event("order.created")]
    assert [told_of(event).show_id for event in told] == [SHOW, SHOW, None]
