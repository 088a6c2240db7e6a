"""Requests that are invalid at any route: body, session, idempotency key, ids, method."""

from typing import Any

from tests.bad_input.definitions import (
    BAD_KEY,
    DEEP,
    INVALID,
    NO_METHOD,
    NO_ORDER,
    NO_PAYMENT,
    NO_SHOW,
    NO_TICKET,
    NOT_FOUND,
    NOT_JSON,
    NOWHERE,
    UNAUTHORIZED,
    WRITES,
    BadRequest,
    Refusal,
)

# Every route that needs a session: a test compares them with the API.
PROTECTED: list[tuple[str, str]] = [
    *((method, path) for method, path, _ in WRITES.values() if "/users/" not in path),
    ("PUT", "/api/users/currentuser"),
    ("DELETE", "/api/tickets/{ticket}"),
    ("POST", "/api/tickets/{ticket}/hide"),
    ("POST", "/api/tickets/{ticket}/unhide"),
    ("POST", "/api/shows/{show}/cancel"),
    ("POST", "/api/shows/{show}/postpone"),
    ("DELETE", "/api/orders/{order}"),
    ("POST", "/api/orders/{order}/extend"),
    ("GET", "/api/orders"),
    ("GET", "/api/orders/{order}"),
    ("GET", f"/api/payments/{NOWHERE}"),
    ("GET", "/api/sales"),
    ("GET", "/api/sales/summary"),
    ("GET", "/api/sales/shows"),
    ("GET", "/api/tickets/counts"),
    ("GET", "/api/tickets?seller=me"),
    ("GET", "/api/shows?owner=me"),
    ("GET", "/api/shows?seller=me"),
    ("POST", "/api/push/auth"),
    ("POST", "/api/push/user-auth"),
    ("POST", "/api/users/signout?everywhere=true"),
]

# Every route with an id in its path, a body, and the problem of an unknown id.
WITH_ID: list[tuple[str, str, Any, Refusal]] = [
    ("GET", "/api/shows/{id}", None, NO_SHOW),
    ("GET", "/api/shows/{id}/sections", None, NO_SHOW),
    ("GET", "/api/tickets/{id}", None, NO_TICKET),
    ("GET", "/api/orders/{id}", None, NO_ORDER),
    ("GET", "/api/payments/{id}", None, NO_PAYMENT),
    ("PUT", "/api/shows/{id}", {}, NO_SHOW),
    ("PUT", "/api/tickets/{id}", {}, NO_TICKET),
    ("DELETE", "/api/tickets/{id}", {}, NO_TICKET),
    ("POST", "/api/tickets/{id}/hide", {}, NO_TICKET),
    ("POST", "/api/tickets/{id}/unhide", {}, NO_TICKET),
    ("POST", "/api/shows/{id}/cancel", {}, NO_SHOW),
    ("POST", "/api/shows/{id}/postpone", {}, NO_SHOW),
    ("DELETE", "/api/orders/{id}", {}, NO_ORDER),
    ("POST", "/api/orders/{id}/extend", {}, NO_ORDER),
    ("POST", "/api/orders/{id}/refund", {}, NO_ORDER),
    ("POST", "/api/shows/{id}/tickets", WRITES["tickets"][2], NO_SHOW),
]


def malformed() -> dict[str, BadRequest]:
    """Bodies that no route accepts."""
    bodies: dict[str, tuple[Any, Refusal]] = {
        "is not JSON": (b"price=1", NOT_JSON),
        "is empty": (b"", NOT_JSON),
        "is cut short": (b"{", NOT_JSON),
        "is not UTF-8": (b"\xff", NOT_JSON),
        "is an array": ([], INVALID),
        "is null": (b"null", INVALID),
        "is a text": ("x", INVALID),
        "is a number": (7, INVALID),
        "is deep": (DEEP, NOT_JSON),
        "is too large": (b'{"title": "' + b"x" * 300_000 + b'"}', (413, "body_too_large")),
    }
    return {
        f"{name}: the body {what}": BadRequest(method, path, body, refusal)
        for name, (method, path, _) in WRITES.items()
        for what, (body, refusal) in bodies.items()
    }


def unknown_fields() -> dict[str, BadRequest]:
    return {
        f"{name}: an unknown field": BadRequest(method, path, body | {"status": "sold"})
        for name, (method, path, body) in WRITES.items()
        if not name.startswith("sign")
    }


def no_session() -> dict[str, BadRequest]:
    return {
        f"no session: {method} {path}": BadRequest(method, path, {}, UNAUTHORIZED, signed_in=False)
        for method, path in PROTECTED
    }


def bad_keys() -> dict[str, BadRequest]:
    return {
        f"{name}: an Idempotency-Key {what}": BadRequest(
            method, path, body, BAD_KEY, {"Idempotency-Key": key}
        )
        for name, (method, path, body) in WRITES.items()
        if "/users/" not in path
        for what, key in {"of nothing": "", "too long": "x" * 256, "with a tab": "a\tb"}.items()
    }


def bad_ids() -> dict[str, BadRequest]:
    return {
        f"{method} {path.format(id=each)}": BadRequest(
            method, path.format(id=each), body, NOT_FOUND if "%2f" in each else refusal
        )
        for method, path, body, refusal in WITH_ID
        for each in (NOWHERE, "1", "%00", "..%2f", "0" * 31, "\u00e9", "null")
    }


def wrong_methods() -> dict[str, BadRequest]:
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
    return {f"PATCH {path}": BadRequest("PATCH", path, {}, NO_METHOD) for path in paths}


ANY_ROUTE: dict[str, BadRequest] = {
    **malformed(),
    **unknown_fields(),
    **no_session(),
    **bad_keys(),
    **bad_ids(),
    **wrong_methods(),
}
