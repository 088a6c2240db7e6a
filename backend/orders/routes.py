"""The routes of orders."""

from collections.abc import Iterable
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backend.events.resources import Resources
from backend.kernel import database, idempotency, principal
from backend.kernel.client_address import Network, client_ip
from backend.kernel.database import Connection
from backend.kernel.idempotency import KeyTable, Reply
from backend.kernel.openapi import describe
from backend.kernel.pagination import Page
from backend.kernel.problems import PROBLEM_TYPE
from backend.kernel.settings import Settings
from backend.kernel.web import path_id, read_json, read_query, reply
from backend.orders import service
from backend.orders.errors import MixedCurrency, OrderNotFound, TicketNotFound
from backend.orders.model import (
    NewOrder,
    Order,
    OrderQuery,
    Sale,
    SaleQuery,
    SalesByShow,
    SalesSummary,
    SummaryQuery,
)

# `orders.place` claims and stores keys in this table too, inside its statement.
KEYS = KeyTable("orders")


class OrdersState(NamedTuple):
    settings: Settings
    resources: Resources
    proxies: Iterable[Network]


@describe(tag="orders", body=NewOrder, created=Order, problems=(404, 409, 429))
async def place(request: Request) -> Response:
    """Hold one ticket, or a cart of them, for 60 seconds: all or none."""
    buyer = principal.require(request)
    new = await read_json(request, NewOrder)
    keyed = await idempotency.keyed(request, buyer.user_id)
    state = _state(request)
    address = client_ip(request, state.proxies)
    async with database.connection(state.resources.pool) as connection:
        try:
            placed = await service.place(
                connection, state.settings, buyer.user_id, new, keyed, address
            )
        except (TicketNotFound, MixedCurrency) as refusal:
            if keyed is not None:
                await KEYS.store(connection, keyed, Reply.of(refusal.response()))
            raise
    state.resources.wake_relay()
    headers = idempotency.replay_headers() if placed.outcome == "replayed" else {}
    if placed.outcome == "replayed" and placed.status != service.PLACED_STATUS:
        return Response(placed.body, placed.status or 500, headers, media_type=PROBLEM_TYPE)
    return reply(service.placed_order(placed), service.PLACED_STATUS, headers)


@describe(tag="orders", query=OrderQuery, ok=Page[Order])
async def list_orders(request: Request) -> Response:
    """Your orders, newest first."""
    buyer = principal.require(request)
    query = read_query(request, OrderQuery)
    async with database.transaction(_state(request).resources.pool) as connection:
        return reply(await service.list_orders(connection, buyer.user_id, query))


@describe(tag="orders", ok=Order, problems=(404,))
async def order(request: Request) -> Response:
    """One of your orders, by its id or its number, such as `GT-7K3M9Q2A`."""
    buyer = principal.require(request)
    key = request.path_params["id"]
    async with database.connection(_state(request).resources.pool) as connection:
        return reply(await service.order(connection, key, buyer.user_id))


@describe(tag="orders", no_content=None, problems=(404, 409))
async def cancel(request: Request) -> Response:
    """Cancel an unpaid order of yours; its tickets are free at once."""
    buyer = principal.require(request)
    order_id = path_id(request, OrderNotFound)
    resources = _state(request).resources

    async def cancel_order(connection: Connection) -> Response:
        await service.cancel(connection, order_id, buyer.user_id)
        return Response(status_code=204)

    response = await idempotency.once(request, resources.pool, KEYS, buyer.user_id, cancel_order)
    resources.wake_relay()
    return response


@describe(tag="orders", body=None, ok=Order, problems=(403, 404, 409, 429))
async def extend(request: Request) -> Response:
    """Extend the hold of an unpaid order of yours by its own length, 60 seconds, once.

    For accounts that have switched `needs_more_time` on, until the hold ends or its payment
    begins. The extension counts as unpaid time.
    """
    buyer = principal.require(request)
    order_id = path_id(request, OrderNotFound)
    resources = _state(request).resources

    async def extend_order(connection: Connection) -> Response:
        return reply(await service.extend(connection, order_id, buyer.user_id))

    response = await idempotency.once(request, resources.pool, KEYS, buyer.user_id, extend_order)
    resources.wake_relay()
    return response


@describe(tag="sales", query=SaleQuery, ok=Page[Sale])
async def list_sales(request: Request) -> Response:
    """Your tickets on the orders of others, newest first, with the status of each sale."""
    seller = principal.require(request)
    query = read_query(request, SaleQuery)
    state = _state(request)
    async with database.transaction(state.resources.pool) as connection:
        return reply(await service.list_sales(connection, state.settings, seller.user_id, query))


@describe(tag="sales", query=SummaryQuery, ok=SalesSummary)
async def sales_summary(request: Request) -> Response:
    """Your sales by day or hour: the number in each status, and the revenue by currency."""
    seller = principal.require(request)
    query = read_query(request, SummaryQuery)
    async with database.connection(_state(request).resources.pool) as connection:
        return reply(await service.summary(connection, seller.user_id, query))


@describe(tag="sales", query=SummaryQuery, ok=SalesByShow)
async def sales_by_show(request: Request) -> Response:
    """Your sales and refunds by show."""
    seller = principal.require(request)
    query = read_query(request, SummaryQuery)
    async with database.connection(_state(request).resources.pool) as connection:
        return reply(await service.sales_by_show(connection, seller.user_id, query))


def _state(request: Request) -> OrdersState:
    state: OrdersState = request.state.orders
    return state


routes = [
    Route("/api/orders", place, methods=["POST"]),
    Route("/api/orders", list_orders, methods=["GET"]),
    Route("/api/orders/{id}", order, methods=["GET"]),
    Route("/api/orders/{id}", cancel, methods=["DELETE"]),
    Route("/api/orders/{id}/extend", extend, methods=["POST"]),
    Route("/api/sales", list_sales, methods=["GET"]),
    Route("/api/sales/summary", sales_summary, methods=["GET"]),
    Route("/api/sales/shows", sales_by_show, methods=["GET"]),
]
