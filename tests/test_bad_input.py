"""Bad requests over the whole API: each a 4xx problem with its code, never a 5xx, and nothing is written."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from backend.embedded.postgres import Postgres
from tests import factories, stores
from tests.replies import code
from tests.system import Person, System

Json = dict[str, Any]
Refusal = tuple[int, str]

INVALID = (422, "invalid_input")
NOT_JSON = (400, "not_json")
NUL = (422, "nul_character")
NO_TICKET = (404, "ticket_not_found")
NO_ORDER = (404, "order_not_found")
NO_SHOW = (404, "show_not_found")
NO_PAYMENT = (404, "payment_not_found")
NOT_FOUND = (404, "not_found")
UNAUTHORIZED = (401, "unauthorized")
NO_METHOD = (405, "method_not_allowed")
BAD_KEY = (422, "bad_idempotency_key")

NOWHERE = "00000000-0000-7000-8000-000000000000"
HUGE = 10**30
DEEP = b"[" * 100_000
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Bad(NamedTuple):
    """One bad request. `{show}`, `{ticket}`, `{order}` in its path and body are the ids of good ones."""

    method: str
    path: str
    body: Any = None
    refusal: Refusal = INVALID
    headers: dict[str, str] = {}  # noqa: RUF012 - never written to
    signed_in: bool = True


SHOW: Json = {
    "title": "Hamlet",
    "venue": "Hall",
    "city": "Delft",
    "starts_at": "2030-01-01T20:00:00Z",
    "timezone": "Europe/Amsterdam",
}
TICKET: Json = {"show_id": "{show}", "price": 100, "currency": "EUR"}
ORDER: Json = {"ticket_id": "{ticket}"}
PAYMENT: Json = {"order_id": "{order}", "payment_method": "pm_card_visa"}
ACCOUNT: Json = {"email": "ada@example.com", "password": "correct horse"}
WRITES: dict[str, tuple[str, str, Json]] = {
    "show": ("POST", "/api/shows", SHOW),
    "show change": ("PUT", "/api/shows/{show}", SHOW),
    "ticket": ("POST", "/api/tickets", TICKET),
    "ticket change": ("PUT", "/api/tickets/{ticket}", {"price": 100}),
    "tickets": ("POST", "/api/shows/{show}/tickets", {"tickets": [{"price": 100, "currency": "EUR"}]}),
    "order": ("POST", "/api/orders", ORDER),
    "payment": ("POST", "/api/payments", PAYMENT),
    "refund": ("POST", "/api/orders/{order}/refund", {"relist": False}),
    "sign up": ("POST", "/api/users/signup", ACCOUNT),
    "sign in": ("POST", "/api/users/signin", ACCOUNT),
}


def cursor(*key: Any) -> str:
    return (
        base64.urlsafe_b64encode(json.dumps(key[0] if len(key) == 1 else key).encode()).decode().rstrip("=")
    )


def spoiled(write: str, refusal: Refusal = INVALID, **fields: Any) -> Bad:
    method, path, body = WRITES[write]
    return Bad(method, path, body | fields, refusal)


def malformed() -> dict[str, Bad]:
    """What is no body of any route."""
    bodies: dict[str, tuple[Any, Refusal]] = {
        "is not JSON": (b"price=1", NOT_JSON),
        "is empty": (b"", NOT_JSON),
        "is cut short": (b"{", NOT_JSON),
        "is not UTF-8": (b"\xff", NOT_JSON),
        "is an array": ([], INVALID),
        "is null": (b"null", INVALID),
        "is a text": ("x", INVALID),
        "is a number": (7, INVALID),
        "is deep": (DEEP, INVALID),
        "is too large": (b'{"title": "' + b"x" * 300_000 + b'"}', (413, "body_too_large")),
    }
    return {
        f"{name}: the body {what}": Bad(method, path, body, refusal)
        for name, (method, path, _) in WRITES.items()
        for what, (body, refusal) in bodies.items()
    }


def unknown_fields() -> dict[str, Bad]:
    return {
        f"{name}: an unknown field": Bad(method, path, body | {"status": "sold"})
        for name, (method, path, body) in WRITES.items()
        if not name.startswith("sign")
    }


def no_session() -> dict[str, Bad]:
    wanted = [
        *((method, path) for method, path, _ in WRITES.values() if "/users/" not in path),
        ("DELETE", "/api/tickets/{ticket}"),
        ("DELETE", "/api/orders/{order}"),
        ("GET", "/api/orders"),
        ("GET", "/api/orders/{order}"),
        ("GET", f"/api/payments/{NOWHERE}"),
        ("GET", "/api/sales"),
        ("GET", "/api/sales/summary"),
        ("GET", "/api/tickets?seller=me"),
        ("GET", "/api/shows?owner=me"),
        ("GET", "/api/shows?seller=me"),
        ("POST", "/api/push/auth"),
        ("POST", "/api/push/user-auth"),
        ("POST", "/api/users/signout?everywhere=true"),
    ]
    return {
        f"no session: {method} {path}": Bad(method, path, {}, UNAUTHORIZED, signed_in=False)
        for method, path in wanted
    }


def bad_keys() -> dict[str, Bad]:
    return {
        f"{name}: an Idempotency-Key {what}": Bad(method, path, body, BAD_KEY, {"Idempotency-Key": key})
        for name, (method, path, body) in WRITES.items()
        if not name.startswith("sign")
        for what, key in {"of nothing": "", "too long": "x" * 256, "with a tab": "a\tb"}.items()
    }


def bad_ids() -> dict[str, Bad]:
    paths = {
        "/api/shows/{}": ("GET", NO_SHOW),
        "/api/tickets/{}": ("GET", NO_TICKET),
        "/api/orders/{}": ("GET", NO_ORDER),
        "/api/payments/{}": ("GET", NO_PAYMENT),
    }
    more: list[tuple[str, str, Any, Refusal]] = [
        ("PUT", "/api/shows/{}", {}, NO_SHOW),
        ("PUT", "/api/tickets/{}", {}, NO_TICKET),
    ]
    more += [("DELETE", "/api/tickets/{}", {}, NO_TICKET), ("DELETE", "/api/orders/{}", {}, NO_ORDER)]
    more += [("POST", "/api/orders/{}/refund", {}, NO_ORDER)]
    more += [("POST", "/api/shows/{}/tickets", WRITES["tickets"][2], NO_SHOW)]
    every = [(method, path, None, refusal) for path, (method, refusal) in paths.items()] + more
    return {
        f"{method} {path.format(each)}": Bad(
            method, path.format(each), body, NOT_FOUND if "%2f" in each else refusal
        )
        for method, path, body, refusal in every
        for each in (NOWHERE, "1", "%00", "..%2f", "0" * 31, "\u00e9", "null")
    }


def wrong_methods() -> dict[str, Bad]:
    paths = [
        "/api/shows",
        "/api/shows/{show}",
        "/api/tickets",
        "/api/orders/{order}",
        "/api/orders/{order}/refund",
        "/api/sales",
        "/api/payments",
        "/api/push/auth",
    ]
    paths += [
        "/api/payments/webhook",
        "/api/users/signup",
        "/api/users/currentuser",
        "/api/push/config",
        "/healthz",
    ]
    return {f"PATCH {path}": Bad("PATCH", path, {}, NO_METHOD) for path in paths}


FIELDS: dict[str, Bad] = {
    # Shows.
    "show: no title": spoiled("show", title=None),
    "show: an empty title": spoiled("show", title="  "),
    "show: a title of another type": spoiled("show", title=7),
    "show: a title too long": spoiled("show", title="x" * 121),
    "show: a title with NUL": spoiled("show", NUL, title="a\0b"),
    "show: a title with a bell": spoiled("show", title="a\u0007b"),
    "show: a title that turns the line": spoiled("show", title="a\u202eb"),
    "show: a title with a lone surrogate": Bad("POST", "/api/shows", b'{"title": "\\ud800"}', NOT_JSON),
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
    "show change: a date before year 1": spoiled("show change", starts_at="0001-01-01T00:00:00+00:01"),
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
    "show change: If-Match is a word": Bad("PUT", "/api/shows/{show}", {}, headers={"If-Match": '"abc"'}),
    "ticket change: If-Match is negative": Bad(
        "PUT", "/api/tickets/{ticket}", {}, headers={"If-Match": '"-1"'}
    ),
    "ticket change: If-Match is huge": Bad(
        "PUT", "/api/tickets/{ticket}", {}, headers={"If-Match": '"' + "9" * 40 + '"'}
    ),
    "ticket change: If-Match is empty": Bad("PUT", "/api/tickets/{ticket}", {}, headers={"If-Match": ""}),
    "ticket: If-Match names another version": Bad(
        "DELETE", "/api/tickets/{ticket}", None, (412, "version_mismatch"), {"If-Match": '"99"'}
    ),
    # Orders.
    "order: nothing": Bad("POST", "/api/orders", {}),
    "order: both": Bad("POST", "/api/orders", {"ticket_id": "{ticket}", "ticket_ids": ["{ticket}"]}),
    "order: null": spoiled("order", ticket_id=None),
    "order: no id": spoiled("order", ticket_id="1"),
    "order: a number": spoiled("order", ticket_id=1),
    "order: an unknown ticket": spoiled("order", NO_TICKET, ticket_id=NOWHERE),
    "order: no tickets": Bad("POST", "/api/orders", {"ticket_ids": []}),
    "order: a ticket twice": Bad(
        "POST", "/api/orders", {"ticket_ids": ["{ticket}"] * 2}, (422, "duplicate_ticket")
    ),
    "order: too many": Bad(
        "POST", "/api/orders", {"ticket_ids": [str(uuid4()) for _ in range(9)]}, (422, "too_many_tickets")
    ),
    "order: far too many": Bad("POST", "/api/orders", {"ticket_ids": [str(uuid4()) for _ in range(101)]}),
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
        "POST", "/api/push/auth", b"socket_id=x&channel_name=private-user-1", (422, "bad_socket_id"), FORM
    ),
    "push: a socket with NUL": Bad("POST", "/api/push/auth", b"socket_id=1.1%00&channel_name=x", NUL, FORM),
    "push: a bad channel": Bad(
        "POST", "/api/push/auth", b"socket_id=1.1&channel_name=a%20b", (422, "bad_channel_name"), FORM
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
        "POST", "/api/users/signup", b'{"email": "\\udfff@example.com", "password": "12345678"}', NOT_JSON
    ),
    "users: an unknown account": spoiled("sign in", (401, "bad_credentials")),
    "users: a form": Bad("POST", "/api/users/signin", b"email=a", NOT_JSON, FORM),
    "users: plain text": Bad("POST", "/api/users/signup", b"{}", NOT_JSON, {"Content-Type": "text/plain"}),
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

QUERIES: dict[str, list[str]] = {
    "/api/tickets": [
        "limit=0",
        "limit=-1",
        "limit=101",
        "limit=ten",
        f"limit={HUGE}",
        "sort=seller",
        "sort=price;drop",
        "status=lost",
        "show_id=1",
        "seller=you",
        "min_price=-1",
        "min_price=1.5",
        f"max_price={HUGE}",
        "currency=EURO",
        "q=%21%21",
        f"q={'x' * 101}",
        "cursor=nonsense",
        "cursor=%C3%A9",
        "cursor=!!",
        f"cursor={cursor('x', NOWHERE)}",
        f"cursor={cursor(NOWHERE)}",
        f"cursor={cursor(HUGE, NOWHERE)}&sort=price",
        f"cursor={cursor(2**63, NOWHERE)}&sort=price",
        f"cursor={cursor(1, NOWHERE)}",
        f"cursor={cursor(None, NOWHERE)}&sort=price",
        f"cursor={base64.urlsafe_b64encode(b'[' * 5000).decode()}",
    ],
    "/api/shows": [
        "limit=0",
        "sort=title",
        "ids=",
        "ids=1",
        f"ids={NOWHERE},",
        f"ids={','.join([NOWHERE] * 101)}",
        "owner=1",
        "seller=1",
        "q=%21",
        "from=yesterday",
        "from=2030-01-01",
        "from=2030-01-01T00:00:00",
        "from=0001-01-01T00:00:00%2B14:00",
        "to=9999-12-31T23:59:59-14:00",
        f"city={'x' * 61}",
        f"category={'x' * 41}",
        "cursor=nonsense",
        f"cursor={cursor('2030-01-01', NOWHERE)}",
        f"cursor={cursor('0001-01-01T00:00:00+14:00', NOWHERE)}",
    ],
    "/api/orders": [
        "limit=0",
        "limit=x",
        "status=lost",
        "cursor=nonsense",
        f"cursor={cursor(1)}",
        f"cursor={cursor('x')}",
    ],
    "/api/sales": [
        "limit=0",
        "limit=101",
        "status=completed",
        "cursor=nonsense",
        f"cursor={cursor(NOWHERE)}",
        f"cursor={cursor(1, NOWHERE)}",
        f"cursor={cursor(NOWHERE, NOWHERE, NOWHERE)}",
    ],
    "/api/sales/summary": [
        "days=0",
        "days=93",
        "days=all",
        f"days={HUGE}",
        "by=minute",
        "by=day;drop",
        "timezone=",
        "timezone=Europe/Atlantis",
        "timezone=../../etc/passwd",
        f"timezone={'x' * 61}",
    ],
}
NUL_QUERIES = [
    "/api/tickets?q=a%00",
    "/api/tickets?seller=%00",
    "/api/tickets?cursor=%00",
    "/api/shows?city=%00",
    "/api/orders?status=%00",
    "/api/sales/summary?timezone=%00",
]

BAD: dict[str, Bad] = {
    **FIELDS,
    **malformed(),
    **unknown_fields(),
    **no_session(),
    **bad_keys(),
    **bad_ids(),
    **wrong_methods(),
    **{
        f"{path}?{query[:60]}": Bad("GET", f"{path}?{query}")
        for path, many in QUERIES.items()
        for query in many
    },
    **{path: Bad("GET", path, None, NUL) for path in NUL_QUERIES},
}


class House(NamedTuple):
    """A system with a show and a ticket of mine, and a stranger's order."""

    system: System
    me: Person
    owner: Any
    ids: dict[str, str]
    tally: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(
    postgres: Postgres, redis_socket: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    """One for all the requests here: none of them may change it."""
    async with stores.fresh_system(postgres, redis_socket, tmp_path_factory.mktemp("bad-input")) as system:
        await system.start("api")
        me, stranger = system.person("me"), system.person("stranger")
        show = await factories.show(me)
        mine = await factories.ticket(me, show["id"])
        foreign = await factories.ticket(stranger, show["id"])
        order = await factories.order(system.person("buyer"), foreign["id"])
        owner = await system.connect()
        tables = await owner.fetch(
            "select oid::regclass::text as name from pg_class where relkind = 'r' and relnamespace::regnamespace::text"
            " in ('auth', 'tickets', 'orders', 'payments', 'push', 'events')"
        )
        count = "select " + ", ".join(
            f"(select count(*) || '/' || coalesce(max(xmin::text::bigint), 0) from {table['name']})"
            for table in tables
        )
        yield House(
            system, me, owner, {"show": show["id"], "ticket": mine["id"], "order": order["id"]}, count
        )


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", BAD)
async def test_a_bad_request_is_refused_and_changes_nothing(case: str, house: House) -> None:
    bad = BAD[case]
    before = await house.owner.fetchrow(house.tally)
    reply = await send(house, bad)
    assert code(reply) == bad.refusal, reply.text
    assert reply.headers["x-request-id"]
    assert "Traceback" not in reply.text
    assert await house.owner.fetchrow(house.tally) == before


async def send(house: House, bad: Bad) -> httpx.Response:
    content = bad.body if isinstance(bad.body, bytes) else None
    if bad.body is not None and content is None:
        content = json.dumps(bad.body).encode()
    for name, made in house.ids.items():
        content = content and content.replace(f"{{{name}}}".encode(), made.encode())
    path = bad.path.format(**house.ids) if "%" not in bad.path else bad.path
    headers = {"Content-Type": "application/json"} | bad.headers
    client = house.me.http if bad.signed_in else house.system.anonymous()
    return await client.request(
        bad.method,
        path,
        content=content,
        headers=[(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
    )
