"""The definition of a bad request, the valid requests that are altered, and the API's errors."""

from typing import Any, NamedTuple

Json = dict[str, Any]
Refusal = tuple[int, str]

INVALID = (422, "invalid_input")
NOT_JSON = (400, "not_json")
NUL = (422, "nul_character")
NO_CURRENCY = (422, "currency_required")
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


class BadRequest(NamedTuple):
    """One bad request. `{show}`, `{ticket}`, `{order}` in its path and body are valid ids."""

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
    "tickets": (
        "POST",
        "/api/shows/{show}/tickets",
        {"tickets": [{"price": 100, "currency": "EUR"}]},
    ),
    "ticket changes": (
        "POST",
        "/api/tickets/changes",
        {"ticket_ids": ["{ticket}"], "price": 100, "currency": "EUR"},
    ),
    "order": ("POST", "/api/orders", ORDER),
    "payment": ("POST", "/api/payments", PAYMENT),
    "refund": ("POST", "/api/orders/{order}/refund", {"relist": False}),
    "handle": ("PUT", "/api/users/currentuser", {"handle": "quiet-otter"}),
    "sign up": ("POST", "/api/users/signup", ACCOUNT),
    "sign in": ("POST", "/api/users/signin", ACCOUNT),
}


def altered(write: str, refusal: Refusal = INVALID, **fields: Any) -> BadRequest:
    method, path, body = WRITES[write]
    return BadRequest(method, path, body | fields, refusal)
