"""The part of Stripe's API that the sandbox implements: one line for each route."""

from collections.abc import Callable
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backend.stripe_sandbox import charges, intents, methods, refunds
from backend.stripe_sandbox.execution import Operation
from backend.stripe_sandbox.listing import read_page
from backend.stripe_sandbox.params import Params
from backend.stripe_sandbox.queries import Book, Document
from backend.stripe_sandbox.request_handling import answer

_ItemOperation: TypeAlias = Callable[[Book, Params, str], Document]


def _collection(method: str, path: str, operation: Operation) -> Route:
    async def endpoint(request: Request) -> Response:
        return await answer(request, operation)

    return Route(path, endpoint, methods=[method])


def _item(method: str, path: str, operation: _ItemOperation) -> Route:
    async def endpoint(request: Request) -> Response:
        subject = request.path_params["id"]
        return await answer(request, lambda book, params: operation(book, params, subject))

    return Route(path, endpoint, methods=[method])


def _list_events(book: Book, params: Params) -> Document:
    one, many = params.text("type"), params.texts("types")
    return read_page(book, params, "event", "/v1/events", labels=[one] if one else many)


def _retrieve(object: str) -> _ItemOperation:
    def operation(book: Book, params: Params, id: str) -> Document:
        params.finish()
        return book.get(object, id)

    return operation


api_routes = [
    _collection("POST", "/v1/payment_intents", intents.create),
    _collection("GET", "/v1/payment_intents", intents.listing),
    _item("GET", "/v1/payment_intents/{id}", intents.retrieve),
    _item("POST", "/v1/payment_intents/{id}", intents.update),
    _item("POST", "/v1/payment_intents/{id}/confirm", intents.confirm),
    _item("POST", "/v1/payment_intents/{id}/capture", intents.capture),
    _item("POST", "/v1/payment_intents/{id}/cancel", intents.cancel),
    _collection("GET", "/v1/charges", charges.listing),
    _item("GET", "/v1/charges/{id}", _retrieve("charge")),
    _collection("POST", "/v1/refunds", refunds.create),
    _collection("GET", "/v1/refunds", refunds.listing),
    _item("GET", "/v1/refunds/{id}", _retrieve("refund")),
    _collection("POST", "/v1/payment_methods", methods.create),
    _item("GET", "/v1/payment_methods/{id}", methods.retrieve),
    _item("GET", "/v1/disputes/{id}", _retrieve("dispute")),
    _collection("GET", "/v1/events", _list_events),
    _item("GET", "/v1/events/{id}", _retrieve("event")),
]
