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
        "is deep": (DEEP, INVALID),
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
        f"no session: {method} {path}": BadRequest(method, path, {}, UNAUTHORIZED, signed_in=False)
        for method, path in wanted
    }


def bad_keys() -> dict[str, BadRequest]:
    return {
        f"{name}: an Idempotency-Key {what}": BadRequest(
            method, path, body, BAD_KEY, {"Idempotency-Key": key}
        )
        for name, (method, path, body) in WRITES.items()
        if not name.startswith("sign")
        for what, key in {"of nothing": "", "too long": "x" * 256, "with a tab": "a\tb"}.items()
    }


def bad_ids() -> dict[str, BadRequest]:
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
    more += [
        ("DELETE", "/api/tickets/{}", {}, NO_TICKET),
        ("DELETE", "/api/orders/{}", {}, NO_ORDER),
    ]
    more += [("POST", "/api/orders/{}/refund", {}, NO_ORDER)]
    more += [("POST", "/api/shows/{}/tickets", WRITES["tickets"][2], NO_SHOW)]
    every = [(method, path, None, refusal) for path, (method, refusal) in paths.items()] + more
    return {
        f"{method} {path.format(each)}": BadRequest(
            method, path.format(each), body, NOT_FOUND if "%2f" in each else refusal
        )
        for method, path, body, refusal in every
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
