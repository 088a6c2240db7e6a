"""Invalid fields, headers and forms, by service."""

from uuid import uuid4

from tests.bad_input.bad import (
    DEEP,
    FORM,
    HUGE,
    NO_ORDER,
    NO_SHOW,
    NO_TICKET,
    NOT_FOUND,
    NOT_JSON,
    NOWHERE,
    NUL,
    ORDER,
    PAYMENT,
    UNAUTHORIZED,
    Bad,
    spoiled,
)

FIELDS: dict[str, Bad] = {
    # Shows.
    "show: no title": spoiled("show", title=None),
    "show: an empty title": spoiled("show", title="  "),
    "show: a title of another type": spoiled("show", title=7),
    "show: a title too long": spoiled("show", title="x" * 121),
    "show: a title with NUL": spoiled("show", NUL, title="a\0b"),
    "show: a title with a bell": spoiled("show", title="a\u0007b"),
    "show: a title that turns the line": spoiled("show", title="a\u202eb"),
    "show: a title with a lone surrogate": Bad(
        "POST", "/api/shows", b'{"title": "\\ud800"}', NOT_JSON
    ),
    "show: an empty city": spoiled("show", city=""),
    "show: a long category": spoiled("show", category="x" * 41),
    "show: an empty category": spoiled("show", category=" "),
    "show: no date": spoiled("show", starts_at=None),
    "show: a date without offset": spoiled("show", starts_at="2030-01-01T20:00:00"),
    "show: a day alone": spoiled("show", starts_at="2030-01-01"),
    "show: a date that is none": spoiled("show", starts_at="2030-02-30T20:00:00Z"),
    "show: a date as a number": spoiled("show", starts_at=1_900_000_000),
    "show: a date before year 1": spoiled("show", starts_at="0001-01-01T00:00:00+14:00"),
    "show: a date after year 9999": spoiled("show", starts_at="9999-12-31T23:59:59-14:00"),
    "show: a time zone that is none": spoiled("show", timezone="Europe/Atlantis"),
    "show: a time zone as a path": spoiled("show", timezone="../../etc/passwd"),
    "show: an empty time zone": spoiled("show", timezone=""),
    "show: a time zone in another case": spoiled("show", timezone="europe/amsterdam"),
    "show change: a date without offset": spoiled("show change", starts_at="2030-01-01T20:00:00"),
    "show change: a date before year 1": spoiled(
        "show change", starts_at="0001-01-01T00:00:00+00:01"
    ),
    "show change: an empty title": spoiled("show change", title=""),
    "show change: a null title": spoiled("show change", title=None),
    "show change: an owner": spoiled("show change", owner_id=NOWHERE),
    # Tickets.
    "ticket: no price": Bad("POST", "/api/tickets", {"show_id": "{show}", "currency": "EUR"}),
    "ticket: a price of nothing": spoiled("ticket", price=0),
    "ticket: a negative price": spoiled("ticket", price=-100),
    "ticket: a huge price": spoiled("ticket", price=HUGE),
    "ticket: a price past eight digits": spoiled("ticket", price=100_000_000),
    "ticket: a price in parts": spoiled("ticket", price=10.5),
    "ticket: a price as a text": spoiled("ticket", price="100"),
    "ticket: a price as a boolean": spoiled("ticket", price=True),
    "ticket: a price of null": spoiled("ticket", price=None),
    "ticket: a price with an exponent": Bad(
        "POST", "/api/tickets", b'{"price": 1e2, "currency": "EUR", "show_id": "x"}'
    ),
    "ticket: a price that is no number": Bad("POST", "/api/tickets", b'{"price": NaN}', NOT_JSON),
    "ticket: a face value of nothing": spoiled("ticket", face_value=0),
    "ticket: an unknown currency": spoiled("ticket", currency="XXX"),
    "ticket: a currency too long": spoiled("ticket", currency="EURO"),
    "ticket: a currency with a line break": spoiled("ticket", currency="EUR\n"),
    "ticket: a currency as a number": spoiled("ticket", currency=978),
    "ticket: a currency in other letters": spoiled("ticket", currency="\u0395UR"),
    "ticket: an empty currency": spoiled("ticket", currency=""),
    "ticket: an unknown show": spoiled("ticket", NO_SHOW, show_id=NOWHERE),
    "ticket: a show that is no id": spoiled("ticket", show_id="1"),
    "ticket: a show of null": spoiled("ticket", show_id=None),
    "ticket: a seat with NUL": spoiled("ticket", NUL, seat="a\0"),
    "ticket: a seat too long": spoiled("ticket", seat="x" * 41),
    "ticket: a title with a control character": spoiled("ticket", title="a\u001bb"),
    "ticket: a seller": spoiled("ticket", seller_id=NOWHERE),
    "ticket: a field named with NUL": Bad("POST", "/api/tickets", {"a\0": 1}),
    "ticket change: a price of nothing": spoiled("ticket change", price=0),
    "ticket change: a price of null": spoiled("ticket change", price=None),
    "ticket change: an unknown currency": spoiled("ticket change", currency="ABC"),
    "ticket change: another show": spoiled("ticket change", show_id=NOWHERE),
    "tickets: none": spoiled("tickets", tickets=[]),
    "tickets: too many": spoiled("tickets", tickets=[{"price": 1, "currency": "EUR"}] * 501),
    "tickets: no list": spoiled("tickets", tickets={"price": 1, "currency": "EUR"}),
    "tickets: one bad": spoiled("tickets", tickets=[{"price": 1, "currency": "EUR"}, {"price": 1}]),
    "tickets: a list of lists": spoiled("tickets", tickets=[[[[[[]]]]]]),
    # If-Match.
    "show change: If-Match is a word": Bad(
        "PUT", "/api/shows/{show}", {}, headers={"If-Match": '"abc"'}
    ),
    "ticket change: If-Match is negative": Bad(
        "PUT", "/api/tickets/{ticket}", {}, headers={"If-Match": '"-1"'}
    ),
    "ticket change: If-Match is huge": Bad(
        "PUT", "/api/tickets/{ticket}", {}, headers={"If-Match": '"' + "9" * 40 + '"'}
    ),
    "ticket change: If-Match is empty": Bad(
        "PUT", "/api/tickets/{ticket}", {}, headers={"If-Match": ""}
    ),
    "ticket: If-Match names another version": Bad(
        "DELETE", "/api/tickets/{ticket}", None, (412, "version_mismatch"), {"If-Match": '"99"'}
    ),
    # Orders.
    "order: nothing": Bad("POST", "/api/orders", {}),
    "order: both": Bad(
        "POST", "/api/orders", {"ticket_id": "{ticket}", "ticket_ids": ["{ticket}"]}
    ),
    "order: null": spoiled("order", ticket_id=None),
    "order: no id": spoiled("order", ticket_id="1"),
    "order: a number": spoiled("order", ticket_id=1),
    "order: an unknown ticket": spoiled("order", NO_TICKET, ticket_id=NOWHERE),
    "order: no tickets": Bad("POST", "/api/orders", {"ticket_ids": []}),
    "order: a ticket twice": Bad(
        "POST", "/api/orders", {"ticket_ids": ["{ticket}"] * 2}, (422, "duplicate_ticket")
    ),
    "order: too many": Bad(
        "POST",
        "/api/orders",
        {"ticket_ids": [str(uuid4()) for _ in range(9)]},
        (422, "too_many_tickets"),
    ),
    "order: far too many": Bad(
        "POST", "/api/orders", {"ticket_ids": [str(uuid4()) for _ in range(101)]}
    ),
    "order: a nested list": Bad("POST", "/api/orders", {"ticket_ids": [["{ticket}"]]}),
    "order: a deep list": Bad("POST", "/api/orders", b'{"ticket_ids": ' + DEEP),
    "order: my own ticket": Bad("POST", "/api/orders", ORDER, (409, "own_ticket")),
    "order: a price": spoiled("order", price=1),
    "order: another's": Bad("GET", "/api/orders/{order}", None, NO_ORDER),
    "order: cancelling another's": Bad("DELETE", "/api/orders/{order}", None, NO_ORDER),
    # Payments.
    "payment: another's order": Bad("POST", "/api/payments", PAYMENT, NO_ORDER),
    "payment: an unknown order": spoiled("payment", NO_ORDER, order_id=NOWHERE),
    "payment: no order": spoiled("payment", order_id=None),
    "payment: an order that is no id": spoiled("payment", order_id="1"),
    "payment: no method": spoiled("payment", payment_method=""),
    "payment: a method with a path": spoiled("payment", payment_method="../v1/refunds"),
    "payment: a method too long": spoiled("payment", payment_method="x" * 256),
    "payment: an amount": spoiled("payment", amount=1),
    "refund: another's order": Bad("POST", "/api/orders/{order}/refund", {}, NO_ORDER),
    "refund: another's order, relisted": spoiled("refund", NO_ORDER, relist=True),
    "refund: relist is a number": spoiled("refund", relist=1),
    "refund: relist is a text": spoiled("refund", relist="yes"),
    "refund: relist of null": spoiled("refund", relist=None),
    "refund: an amount": spoiled("refund", amount=1),
    "refund: single tickets": spoiled("refund", tickets=["{ticket}"]),
    "webhook: no signature": Bad(
        "POST", "/api/payments/webhook", {}, (400, "bad_signature"), signed_in=False
    ),
    "webhook: a made-up signature": Bad(
        "POST",
        "/api/payments/webhook",
        {},
        (400, "bad_signature"),
        {"Stripe-Signature": "t=1,v1=00"},
        signed_in=False,
    ),
    "webhook: a signature of nonsense": Bad(
        "POST",
        "/api/payments/webhook",
        b"\xff",
        (400, "bad_signature"),
        {"Stripe-Signature": "t=x,v1=\u00e9,,"},
    ),
    # Push.
    "push: nothing": Bad("POST", "/api/push/auth", b"", headers=FORM),
    "push: JSON": Bad("POST", "/api/push/auth", {"socket_id": "1.1", "channel_name": "shows"}),
    "push: a bad socket": Bad(
        "POST",
        "/api/push/auth",
        b"socket_id=x&channel_name=private-user-1",
        (422, "bad_socket_id"),
        FORM,
    ),
    "push: a socket with NUL": Bad(
        "POST", "/api/push/auth", b"socket_id=1.1%00&channel_name=x", NUL, FORM
    ),
    "push: a bad channel": Bad(
        "POST",
        "/api/push/auth",
        b"socket_id=1.1&channel_name=a%20b",
        (422, "bad_channel_name"),
        FORM,
    ),
    "push: a long channel": Bad(
        "POST", "/api/push/auth", b"socket_id=1.1&channel_name=" + b"x" * 300, headers=FORM
    ),
    "push: another's channel": Bad(
        "POST",
        "/api/push/auth",
        f"socket_id=1.1&channel_name=private-user-{NOWHERE}".encode(),
        (403, "channel_forbidden"),
        FORM,
    ),
    "push: a presence of nothing": Bad(
        "POST",
        "/api/push/auth",
        b"socket_id=1.1&channel_name=presence-show-1",
        (403, "channel_forbidden"),
        FORM,
    ),
    "push: signing in a bad socket": Bad(
        "POST", "/api/push/user-auth", b"socket_id=1", (422, "bad_socket_id"), FORM
    ),
    "push: signing in nothing": Bad("POST", "/api/push/user-auth", b"", headers=FORM),
    # Users.
    "users: no email": Bad("POST", "/api/users/signup", {"password": "correct horse"}),
    "users: a bad email": spoiled("sign up", email="ada"),
    "users: a short password": spoiled("sign up", password="short"),
    "users: a password with NUL": spoiled("sign up", NUL, password="1234567\0"),
    "users: an email with a lone surrogate": Bad(
        "POST",
        "/api/users/signup",
        b'{"email": "\\udfff@example.com", "password": "12345678"}',
        NOT_JSON,
    ),
    "users: an unknown account": spoiled("sign in", (401, "bad_credentials")),
    "users: a form": Bad("POST", "/api/users/signin", b"email=a", NOT_JSON, FORM),
    "users: plain text": Bad(
        "POST", "/api/users/signup", b"{}", NOT_JSON, {"Content-Type": "text/plain"}
    ),
    "users: no refresh token": Bad("POST", "/api/users/refresh", None, (401, "session_ended")),
    "users: a made-up refresh token": Bad(
        "POST", "/api/users/refresh", None, (401, "session_ended"), {"Cookie": "gittix_refresh=x"}
    ),
    "users: signing out perhaps": Bad("POST", "/api/users/signout?everywhere=perhaps"),
    "users: a made-up session": Bad(
        "GET", "/api/orders", None, UNAUTHORIZED, {"Authorization": "Bearer a.b.c"}, signed_in=False
    ),
    "users: another scheme": Bad(
        "GET", "/api/orders", None, UNAUTHORIZED, {"Authorization": "Basic YTpi"}, signed_in=False
    ),
    # Nowhere.
    "an unknown path": Bad("GET", "/api/nothing", None, NOT_FOUND),
    "a path too deep": Bad("GET", "/api/tickets/{ticket}/price", None, NOT_FOUND),
    "a slash too many": Bad("POST", "/api//orders", {}, NOT_FOUND),
    "a slash at the end": Bad("POST", "/api/orders/", ORDER, NOT_FOUND),
}
