"""Invalid fields, headers and forms, by service."""

from uuid import uuid4

from tests.bad_input.definitions import (
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
    BadRequest,
    altered,
)

FIELDS: dict[str, BadRequest] = {
    # Shows.
    "show: no title": altered("show", title=None),
    "show: an empty title": altered("show", title="  "),
    "show: a title of another type": altered("show", title=7),
    "show: a title too long": altered("show", title="x" * 121),
    "show: a title with NUL": altered("show", NUL, title="a\0b"),
    "show: a title with a bell": altered("show", title="a\u0007b"),
    "show: a title that turns the line": altered("show", title="a\u202eb"),
    "show: a title with a lone surrogate": BadRequest(
        "POST", "/api/shows", b'{"title": "\\ud800"}', NOT_JSON
    ),
    "show: an empty city": altered("show", city=""),
    "show: a long category": altered("show", category="x" * 41),
    "show: an empty category": altered("show", category=" "),
    "show: no date": altered("show", starts_at=None),
    "show: a date without offset": altered("show", starts_at="2030-01-01T20:00:00"),
    "show: a day alone": altered("show", starts_at="2030-01-01"),
    "show: a date that is none": altered("show", starts_at="2030-02-30T20:00:00Z"),
    "show: a date as a number": altered("show", starts_at=1_900_000_000),
    "show: a date before year 1": altered("show", starts_at="0001-01-01T00:00:00+14:00"),
    "show: a date after year 9999": altered("show", starts_at="9999-12-31T23:59:59-14:00"),
    "show: a time zone that is none": altered("show", timezone="Europe/Atlantis"),
    "show: a time zone as a path": altered("show", timezone="../../etc/passwd"),
    "show: an empty time zone": altered("show", timezone=""),
    "show: a time zone in another case": altered("show", timezone="europe/amsterdam"),
    "show change: a date without offset": altered("show change", starts_at="2030-01-01T20:00:00"),
    "show change: a date before year 1": altered(
        "show change", starts_at="0001-01-01T00:00:00+00:01"
    ),
    "show change: an empty title": altered("show change", title=""),
    "show change: a null title": altered("show change", title=None),
    "show change: an unknown policy": altered("show change", listing_policy="friends"),
    "show change: an owner": altered("show change", owner_id=NOWHERE),
    # Tickets.
    "ticket: no price": BadRequest(
        "POST", "/api/tickets", {"show_id": "{show}", "currency": "EUR"}
    ),
    "ticket: a price of nothing": altered("ticket", price=0),
    "ticket: a price below the minimum": altered("ticket", price=49),
    "ticket: a negative price": altered("ticket", price=-100),
    "ticket: a huge price": altered("ticket", price=HUGE),
    "ticket: a price past eight digits": altered("ticket", price=100_000_000),
    "ticket: a price in parts": altered("ticket", price=10.5),
    "ticket: a price as a text": altered("ticket", price="100"),
    "ticket: a price as a boolean": altered("ticket", price=True),
    "ticket: a price of null": altered("ticket", price=None),
    "ticket: a price with an exponent": BadRequest(
        "POST", "/api/tickets", b'{"price": 1e2, "currency": "EUR", "show_id": "x"}'
    ),
    "ticket: a price that is no number": BadRequest(
        "POST", "/api/tickets", b'{"price": NaN}', NOT_JSON
    ),
    "ticket: a face value of nothing": altered("ticket", face_value=0),
    "ticket: an unknown currency": altered("ticket", currency="XXX"),
    "ticket: a currency too long": altered("ticket", currency="EURO"),
    "ticket: a currency with a line break": altered("ticket", currency="EUR\n"),
    "ticket: a currency as a number": altered("ticket", currency=978),
    "ticket: a currency in Greek letters": altered("ticket", currency="\u0395UR"),
    "ticket: an empty currency": altered("ticket", currency=""),
    "ticket: an unknown show": altered("ticket", NO_SHOW, show_id=NOWHERE),
    "ticket: a show that is no id": altered("ticket", show_id="1"),
    "ticket: a show of null": altered("ticket", show_id=None),
    "ticket: a seat with NUL": altered("ticket", NUL, seat="a\0"),
    "ticket: a seat too long": altered("ticket", seat="x" * 41),
    "ticket: a title with a control character": altered("ticket", title="a\u001bb"),
    "ticket: a seller": altered("ticket", seller_id=NOWHERE),
    "ticket: a field named with NUL": BadRequest("POST", "/api/tickets", {"a\0": 1}),
    "ticket change: a price of nothing": altered("ticket change", price=0),
    "ticket change: a price below the minimum": altered("ticket change", price=49),
    "ticket change: a price of null": altered("ticket change", price=None),
    "ticket change: an unknown currency": altered("ticket change", currency="ABC"),
    "ticket change: another show": altered("ticket change", show_id=NOWHERE),
    "tickets: none": altered("tickets", tickets=[]),
    "tickets: too many": altered("tickets", tickets=[{"price": 1, "currency": "EUR"}] * 501),
    "tickets: no list": altered("tickets", tickets={"price": 1, "currency": "EUR"}),
    "tickets: one bad": altered("tickets", tickets=[{"price": 1, "currency": "EUR"}, {"price": 1}]),
    "tickets: a list of lists": altered("tickets", tickets=[[[[[[]]]]]]),
    "ticket changes: none": altered("ticket changes", ticket_ids=[]),
    "ticket changes: too many": altered("ticket changes", ticket_ids=[NOWHERE] * 501),
    "ticket changes: a ticket twice": altered("ticket changes", ticket_ids=["{ticket}"] * 2),
    "ticket changes: no id": altered("ticket changes", ticket_ids=["1"]),
    "ticket changes: a price of null": altered("ticket changes", price=None),
    "ticket changes: a price below the minimum": altered("ticket changes", price=49),
    "ticket changes: a price and a withdrawal": altered("ticket changes", withdraw=True),
    "ticket changes: no currency": altered("ticket changes", currency=None),
    "ticket changes: an unknown currency": altered("ticket changes", currency="XXX"),
    "ticket changes: a seat": altered("ticket changes", seat="1"),
    # If-Match.
    "show change: If-Match is a word": BadRequest(
        "PUT", "/api/shows/{show}", {}, headers={"If-Match": '"abc"'}
    ),
    "ticket change: If-Match is negative": BadRequest(
        "PUT", "/api/tickets/{ticket}", {}, headers={"If-Match": '"-1"'}
    ),
    "ticket change: If-Match is huge": BadRequest(
        "PUT", "/api/tickets/{ticket}", {}, headers={"If-Match": '"' + "9" * 40 + '"'}
    ),
    "ticket change: If-Match is empty": BadRequest(
        "PUT", "/api/tickets/{ticket}", {}, headers={"If-Match": ""}
    ),
    "ticket: If-Match names another version": BadRequest(
        "DELETE", "/api/tickets/{ticket}", None, (412, "version_mismatch"), {"If-Match": '"99"'}
    ),
    # Orders.
    "order: nothing": BadRequest("POST", "/api/orders", {}),
    "order: both": BadRequest(
        "POST", "/api/orders", {"ticket_id": "{ticket}", "ticket_ids": ["{ticket}"]}
    ),
    "order: null": altered("order", ticket_id=None),
    "order: no id": altered("order", ticket_id="1"),
    "order: a number": altered("order", ticket_id=1),
    "order: an unknown ticket": altered("order", NO_TICKET, ticket_id=NOWHERE),
    "order: no tickets": BadRequest("POST", "/api/orders", {"ticket_ids": []}),
    "order: a ticket twice": BadRequest(
        "POST", "/api/orders", {"ticket_ids": ["{ticket}"] * 2}, (422, "duplicate_ticket")
    ),
    "order: too many": BadRequest(
        "POST",
        "/api/orders",
        {"ticket_ids": [str(uuid4()) for _ in range(9)]},
        (422, "too_many_tickets"),
    ),
    "order: far too many": BadRequest(
        "POST", "/api/orders", {"ticket_ids": [str(uuid4()) for _ in range(101)]}
    ),
    "order: a negative total": BadRequest(
        "POST", "/api/orders", {"ticket_id": "{ticket}", "shown_total": -1}
    ),
    "order: a shown show without its place": altered("order", shown_shows={NOWHERE: {}}),
    "order: a shown time without a zone": altered(
        "order",
        shown_shows={
            NOWHERE: {"venue": "", "city": "", "starts_at": "2030-01-01T20:00", "timezone": ""}
        },
    ),
    "payment: a shown show of no id": altered("payment", shown_shows={"x": None}),
    "order: a nested list": BadRequest("POST", "/api/orders", {"ticket_ids": [["{ticket}"]]}),
    "order: a deep list": BadRequest("POST", "/api/orders", b'{"ticket_ids": ' + DEEP, NOT_JSON),
    "order: my own ticket": BadRequest("POST", "/api/orders", ORDER, (409, "own_ticket")),
    "order: a price": altered("order", price=1),
    "order: another's": BadRequest("GET", "/api/orders/{order}", None, NO_ORDER),
    "order: cancelling another's": BadRequest("DELETE", "/api/orders/{order}", None, NO_ORDER),
    # Payments.
    "payment: another's order": BadRequest("POST", "/api/payments", PAYMENT, NO_ORDER),
    "payment: an unknown order": altered("payment", NO_ORDER, order_id=NOWHERE),
    "payment: no order": altered("payment", order_id=None),
    "payment: an order that is no id": altered("payment", order_id="1"),
    "payment: no method": altered("payment", payment_method=""),
    "payment: a method with a path": altered("payment", payment_method="../v1/refunds"),
    "payment: a method too long": altered("payment", payment_method="x" * 256),
    "payment: an amount": altered("payment", amount=1),
    "refund: another's order": BadRequest("POST", "/api/orders/{order}/refund", {}, NO_ORDER),
    "refund: another's order, relisted": altered("refund", NO_ORDER, relist=True),
    "refund: relist is a number": altered("refund", relist=1),
    "refund: relist is a text": altered("refund", relist="yes"),
    "refund: relist of null": altered("refund", relist=None),
    "refund: an amount": altered("refund", amount=1),
    "refund: single tickets": altered("refund", tickets=["{ticket}"]),
    "refund: no lines": altered("refund", lines=[]),
    "refund: lines that are no ids": altered("refund", lines=["nothing"]),
    "refund: lines as a text": altered("refund", lines="{ticket}"),
    "refund: too many lines": altered("refund", lines=101 * ["{ticket}"]),
    "refund: a reason with NUL": altered("refund", NUL, reason="a\0"),
    "refund: a reason that is too long": altered("refund", reason=201 * "x"),
    "webhook: no signature": BadRequest(
        "POST", "/api/payments/webhook", {}, (400, "bad_signature"), signed_in=False
    ),
    "webhook: a made-up signature": BadRequest(
        "POST",
        "/api/payments/webhook",
        {},
        (400, "bad_signature"),
        {"Stripe-Signature": "t=1,v1=00"},
        signed_in=False,
    ),
    "webhook: a signature of nonsense": BadRequest(
        "POST",
        "/api/payments/webhook",
        b"\xff",
        (400, "bad_signature"),
        {"Stripe-Signature": "t=x,v1=\u00e9,,"},
    ),
    # Push.
    "push: nothing": BadRequest("POST", "/api/push/auth", b"", headers=FORM),
    "push: JSON": BadRequest(
        "POST",
        "/api/push/auth",
        {"socket_id": "1.1", "channel_name": "shows"},
        (400, "not_a_form"),
    ),
    "push: a bad socket": BadRequest(
        "POST",
        "/api/push/auth",
        b"socket_id=x&channel_name=private-user-1",
        (422, "bad_socket_id"),
        FORM,
    ),
    "push: a socket with NUL": BadRequest(
        "POST", "/api/push/auth", b"socket_id=1.1%00&channel_name=x", NUL, FORM
    ),
    "push: a bad channel": BadRequest(
        "POST",
        "/api/push/auth",
        b"socket_id=1.1&channel_name=a%20b",
        (422, "bad_channel_name"),
        FORM,
    ),
    "push: a long channel": BadRequest(
        "POST", "/api/push/auth", b"socket_id=1.1&channel_name=" + b"x" * 300, headers=FORM
    ),
    "push: another's channel": BadRequest(
        "POST",
        "/api/push/auth",
        f"socket_id=1.1&channel_name=private-user-{NOWHERE}".encode(),
        (403, "channel_forbidden"),
        FORM,
    ),
    "push: a presence of nothing": BadRequest(
        "POST",
        "/api/push/auth",
        b"socket_id=1.1&channel_name=presence-show-1",
        (403, "channel_forbidden"),
        FORM,
    ),
    "push: signing in a bad socket": BadRequest(
        "POST", "/api/push/user-auth", b"socket_id=1", (422, "bad_socket_id"), FORM
    ),
    "push: signing in nothing": BadRequest("POST", "/api/push/user-auth", b"", headers=FORM),
    # Users.
    "users: no email": BadRequest("POST", "/api/users/signup", {"password": "correct horse"}),
    "users: a bad email": altered("sign up", email="ada"),
    "users: a short password": altered("sign up", password="short"),
    "users: a password with NUL": altered("sign up", NUL, password="1234567\0"),
    "users: an email with a lone surrogate": BadRequest(
        "POST",
        "/api/users/signup",
        b'{"email": "\\udfff@example.com", "password": "12345678"}',
        NOT_JSON,
    ),
    "users: an unknown account": altered("sign in", (401, "bad_credentials")),
    "users: a form": BadRequest("POST", "/api/users/signin", b"email=a", NOT_JSON, FORM),
    "users: plain text": BadRequest(
        "POST", "/api/users/signup", b"{}", NOT_JSON, {"Content-Type": "text/plain"}
    ),
    "users: no refresh token": BadRequest(
        "POST", "/api/users/refresh", None, (401, "session_ended")
    ),
    "users: a made-up refresh token": BadRequest(
        "POST", "/api/users/refresh", None, (401, "session_ended"), {"Cookie": "gittix_refresh=x"}
    ),
    "users: signing out perhaps": BadRequest("POST", "/api/users/signout?everywhere=perhaps"),
    "users: a made-up session": BadRequest(
        "GET", "/api/orders", None, UNAUTHORIZED, {"Authorization": "Bearer a.b.c"}, signed_in=False
    ),
    "users: another scheme": BadRequest(
        "GET", "/api/orders", None, UNAUTHORIZED, {"Authorization": "Basic YTpi"}, signed_in=False
    ),
    # Nowhere.
    "an unknown path": BadRequest("GET", "/api/nothing", None, NOT_FOUND),
    "a path too deep": BadRequest("GET", "/api/tickets/{ticket}/price", None, NOT_FOUND),
    "a slash too many": BadRequest("POST", "/api//orders", {}, NOT_FOUND),
    "a slash at the end": BadRequest("POST", "/api/orders/", ORDER, NOT_FOUND),
}
