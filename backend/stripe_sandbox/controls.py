"""Controls that Stripe does not have: the buyer's part of 3-D Secure, the passing of time in holds
and refunds, faults, and the ledger.

The buyer's pages need no key, as at Stripe. The other controls require the API key, since they
show and change all of the sandbox's data.
"""

from html import escape
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from backend.stripe_sandbox import intents, money, refunds
from backend.stripe_sandbox.errors import Declined, InvalidParams
from backend.stripe_sandbox.params import Params, parse
from backend.stripe_sandbox.queries import Book, Document, shown
from backend.stripe_sandbox.request_handling import check_key, origin_of, read_body, sandbox_of

_LEDGER_PAGE = 1_000
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>3-D Secure test page</title>
<meta name="viewport" content="width=device-width"><style>
html{{color-scheme:light dark}}
body{{font:15px/1.5 system-ui,sans-serif;
  max-width:26rem;margin:10vh auto;padding:0 1rem;text-align:center}}
h1{{font-size:1.25rem}}
button{{font:inherit;font-weight:600;padding:.7rem 1.4rem;
  margin:.5rem;border:0;border-radius:.6rem;color:#fff;background:#0a7d4f}}
button[value=fail]{{background:#b3261e}}</style><main><h1>3-D Secure test page</h1>{body}</main></html>"""
_FORM = """<p>A payment of <strong>{amount}</strong> asks for your approval. No money moves.</p>
<form method="post" action="/sandbox/payment_intents/{id}/authenticate"><input type="hidden" name="page" value="1">
<button name="outcome" value="succeed">Approve</button>
<button name="outcome" value="fail">Decline</button></form>"""


async def show_challenge(request: Request) -> Response:
    intent_id = request.path_params["id"]
    intent = await sandbox_of(request).ledger.run(
        lambda book: book.get("payment_intent", intent_id)
    )
    if intent["status"] != "requires_action":
        return _page(f"<p>Nothing to approve: this payment is {escape(intent['status'])}.</p>")
    amount = money.shown(intent["amount"], intent["currency"]).upper()
    return _page(_FORM.format(amount=escape(amount), id=escape(intent_id)))


async def authenticate(request: Request) -> Response:
    intent_id, given = request.path_params["id"], await _read_fields(request)
    succeed = _read_outcome(given)
    intent = await _change(request, lambda book: _authenticate(book, intent_id, succeed=succeed))
    if not given.get("page"):
        # This route requires no key, so the reply has neither client secret nor metadata.
        return JSONResponse(
            {name: intent[name] for name in ("id", "object", "status", "last_payment_error")}
        )
    if intent["_return_url"]:
        return RedirectResponse(_return_url(intent), status_code=303)
    return _page(
        f"<p>Done: this payment is {escape(intent['status'])}. You may close this page.</p>"
    )


async def expire(request: Request) -> Response:
    check_key(request)
    intent_id = request.path_params["id"]
    return JSONResponse(shown(await _change(request, lambda book: intents.expire(book, intent_id))))


async def settle_refund(request: Request) -> Response:
    check_key(request)
    refund_id, succeed = request.path_params["id"], _read_outcome(await _read_fields(request))
    return JSONResponse(
        shown(await _change(request, lambda book: refunds.settle(book, refund_id, succeed=succeed)))
    )


async def faults(request: Request) -> Response:
    check_key(request)
    knobs = sandbox_of(request).faults
    if request.method == "DELETE":
        knobs.clear()
    elif request.method == "POST":
        try:
            knobs.change(_read_object(await read_body(request)))
        except (msgspec.ValidationError, TypeError) as error:
            raise InvalidParams(f"Invalid faults: {error}") from error
    sandbox_of(request).webhook_sender.wake()
    return JSONResponse(msgspec.to_builtins(knobs.current))


async def read_ledger(request: Request) -> Response:
    check_key(request)
    params = Params(parse(request.url.query.encode()))
    limit = min(params.integer("limit", at_least=1) or 100, _LEDGER_PAGE)
    after = params.text("starting_after")
    params.finish()
    return JSONResponse(
        await sandbox_of(request).ledger.run(lambda book: _ledger(book, limit, after))
    )


async def healthz(request: Request) -> Response:
    await sandbox_of(request).ledger.run(lambda book: book.delivery_counts())
    return JSONResponse({"status": "ok"})


sandbox_routes = [
    Route("/healthz", healthz),
    Route("/sandbox/3ds/{id}", show_challenge),
    Route("/sandbox/payment_intents/{id}/authenticate", authenticate, methods=["POST"]),
    Route("/sandbox/payment_intents/{id}/expire", expire, methods=["POST"]),
    Route("/sandbox/refunds/{id}/settle", settle_refund, methods=["POST"]),
    Route("/sandbox/faults", faults, methods=["GET", "POST", "DELETE"]),
    Route("/sandbox/ledger", read_ledger),
]


async def _change(request: Request, work: Any) -> Document:
    sandbox = sandbox_of(request)
    document: Document = await sandbox.ledger.run(work, origin_of(request))
    sandbox.webhook_sender.wake()
    return document


def _authenticate(book: Book, id: str, *, succeed: bool) -> Document:
    try:
        return intents.authenticate(book, id, succeed=succeed)
    except Declined:
        return book.get("payment_intent", id)


def _ledger(book: Book, limit: int, after: str | None) -> Document:
    if after:
        book.get("payment_intent", after, param="starting_after")
    page, more = book.page("payment_intent", limit, after=after)
    return {
        "totals": _totals(book),
        "data": [_line(book, intent) for intent in page],
        "has_more": more,
    }


def _totals(book: Book) -> Document:
    by_status: dict[str, int] = {}
    by_currency: dict[str, dict[str, int]] = {}
    for currency, status, count, received, capturable in book.intent_totals():
        by_status[status] = by_status.get(status, 0) + count
        sums = by_currency.setdefault(
            currency, {"received": 0, "capturable": 0, "refunded": 0, "refund_pending": 0}
        )
        sums["received"] += received
        sums["capturable"] += capturable
    for currency, status, amount in book.refund_totals():
        if name := _refund_sums.get(status):
            by_currency[currency][name] += amount
    pending, abandoned = book.delivery_counts()
    return {
        "intents": sum(by_status.values()),
        "by_status": by_status,
        "by_currency": by_currency,
        "webhooks": {"pending": pending, "abandoned": abandoned},
    }


_refund_sums = {"succeeded": "refunded", "pending": "refund_pending"}


def _line(book: Book, intent: Document) -> Document:
    names = (
        "id",
        "status",
        "amount",
        "currency",
        "amount_received",
        "amount_capturable",
        "latest_charge",
        "created",
    )
    line = {name: intent[name] for name in (*names, "metadata")} | {
        "refunded": 0,
        "refund_pending": 0,
    }
    for _, status, amount in book.refund_totals(intent["id"]):
        if name := _refund_sums.get(status):
            line[name] += amount
    return line


async def _read_fields(request: Request) -> dict[str, Any]:
    body = await read_body(request)
    if not request.headers.get("content-type", "").startswith("application/json"):
        return parse(body)
    return _read_object(body)


def _read_object(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidParams("Invalid JSON: the body must be an object.") from error


def _read_outcome(given: dict[str, Any]) -> bool:
    # A tuple: a list as the outcome has no hash.
    if given.get("outcome") not in ("succeed", "fail"):
        raise InvalidParams("Invalid outcome: must be one of succeed or fail", param="outcome")
    return bool(given["outcome"] == "succeed")


def _return_url(intent: Document) -> str:
    parts = urlsplit(intent["_return_url"])
    failed = intent["status"] in {"requires_payment_method", "canceled"}
    query = [
        *parse_qsl(parts.query, keep_blank_values=True),
        ("payment_intent", intent["id"]),
        ("payment_intent_client_secret", intent["client_secret"]),
        ("redirect_status", "failed" if failed else "succeeded"),
    ]
    return urlunsplit(parts._replace(query=urlencode(query)))


def _page(body: str) -> HTMLResponse:
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'"
    headers = {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
    return HTMLResponse(_PAGE.format(body=body), headers=headers)
