"""The routes of shows and tickets."""

from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backend.events.resources import Resources
from backend.kernel import database, idempotency, principal
from backend.kernel.database import Connection
from backend.kernel.idempotency import KeyTable
from backend.kernel.openapi import describe
from backend.kernel.pagination import Page
from backend.kernel.web import if_match, path_id, read_json, read_query, reply
from backend.tickets import service
from backend.tickets.errors import ShowNotFound, TicketNotFound
from backend.tickets.model import (
    Facets,
    NewShow,
    NewTicket,
    NewTickets,
    Show,
    ShowChange,
    ShowQuery,
    Ticket,
    TicketChange,
    TicketQuery,
    Tickets,
)

KEYS = KeyTable("tickets")
FACETS_CACHE = "public, max-age=60"


@describe(tag="shows", query=ShowQuery, public=True, ok=Page[Show])
async def list_shows(request: Request) -> Response:
    """Shows by date, with live counts."""
    query = read_query(request, ShowQuery)
    async with database.connection(_state(request).pool) as connection:
        return reply(await service.list_shows(connection, query, principal.current(request)))


@describe(tag="shows", public=True, ok=Facets)
async def facets(request: Request) -> Response:
    """The cities and categories of upcoming shows, up to a minute old."""
    async with database.connection(_state(request).pool) as connection:
        return reply(await service.facets(connection), headers={"Cache-Control": FACETS_CACHE})


@describe(tag="shows", body=NewShow, created=Show)
async def create_show(request: Request) -> Response:
    """Create a show; it is yours to change."""
    owner = principal.require(request)
    new = await read_json(request, NewShow)

    async def create(connection: Connection) -> Response:
        show = await service.create_show(connection, owner, new)
        return reply(show, 201, {"Location": f"/api/shows/{show.id}"})

    return await _write(request, owner.user_id, create)


@describe(tag="shows", public=True, ok=Show, problems=(404,))
async def show(request: Request) -> Response:
    """One show. The ETag is the version of the show itself, for If-Match."""
    show_id = path_id(request, ShowNotFound)
    async with database.connection(_state(request).pool) as connection:
        return await _show_reply(connection, show_id)


@describe(tag="shows", body=ShowChange, ok=Show, problems=(403, 404, 412))
async def change_show(request: Request) -> Response:
    """Change a show of yours. With If-Match, only the version that it names."""
    owner = principal.require(request)
    show_id = path_id(request, ShowNotFound)
    change = await read_json(request, ShowChange)

    async def write(connection: Connection) -> Response:
        await service.change_show(connection, owner, show_id, change, if_match(request))
        return await _show_reply(connection, show_id)

    return await _write(request, owner.user_id, write)


@describe(tag="tickets", body=NewTickets, created=Tickets, problems=(404,))
async def create_tickets(request: Request) -> Response:
    """List many tickets of a show for sale, all or none."""
    seller = principal.require(request)
    show_id = path_id(request, ShowNotFound)
    new = await read_json(request, NewTickets)

    async def create(connection: Connection) -> Response:
        listed = await service.list_for_sale(connection, seller, show_id, new.tickets)
        return reply(Tickets(listed), 201)

    return await _write(request, seller.user_id, create)


@describe(tag="tickets", query=TicketQuery, public=True, ok=Page[Ticket])
async def list_tickets(request: Request) -> Response:
    """Tickets, searched, filtered and sorted."""
    query = read_query(request, TicketQuery)
    async with database.connection(_state(request).pool) as connection:
        return reply(await service.list_tickets(connection, query, principal.current(request)))


@describe(tag="tickets", body=NewTicket, created=Ticket, problems=(404,))
async def create_ticket(request: Request) -> Response:
    """List a ticket for sale."""
    seller = principal.require(request)
    new = await read_json(request, NewTicket)

    async def create(connection: Connection) -> Response:
        [ticket] = await service.list_for_sale(connection, seller, new.show_id, [new])
        return reply(
            ticket, 201, {"Location": f"/api/tickets/{ticket.id}", "ETag": f'"{ticket.version}"'}
        )

    return await _write(request, seller.user_id, create)


@describe(tag="tickets", public=True, ok=Ticket, problems=(404,))
async def ticket(request: Request) -> Response:
    """One ticket; the ETag is its version."""
    ticket_id = path_id(request, TicketNotFound)
    async with database.connection(_state(request).pool) as connection:
        found = await service.ticket(connection, ticket_id)
    return reply(found, headers={"ETag": f'"{found.version}"'})


@describe(tag="tickets", body=TicketChange, ok=Ticket, problems=(403, 404, 409, 412))
async def change_ticket(request: Request) -> Response:
    """Change an available ticket of yours. With If-Match, only the version that it names."""
    seller = principal.require(request)
    ticket_id = path_id(request, TicketNotFound)
    change = await read_json(request, TicketChange)

    async def write(connection: Connection) -> Response:
        changed = await service.change_ticket(
            connection, seller, ticket_id, change, if_match(request)
        )
        return reply(changed, headers={"ETag": f'"{changed.version}"'})

    return await _write(request, seller.user_id, write)


@describe(tag="tickets", no_content=None, problems=(403, 404, 409, 412))
async def withdraw_ticket(request: Request) -> Response:
    """Withdraw an available ticket of yours. With If-Match, only the version that it names."""
    seller = principal.require(request)
    ticket_id = path_id(request, TicketNotFound)

    async def write(connection: Connection) -> Response:
        await service.withdraw(connection, seller, ticket_id, if_match(request))
        return Response(status_code=204)

    return await _write(request, seller.user_id, write)


async def _show_reply(connection: Connection, show_id: UUID) -> Response:
    found = await service.show(connection, show_id)
    return reply(found, headers={"ETag": f'"{await service.show_version(connection, show_id)}"'})


async def _write(request: Request, user_id: UUID, handler: idempotency.Handler) -> Response:
    state = _state(request)
    response = await idempotency.once(request, state.pool, KEYS, user_id, handler)
    state.wake_relay()
    return response


def _state(request: Request) -> Resources:
    state: Resources = request.state.tickets
    return state


routes = [
    Route("/api/shows", list_shows, methods=["GET"]),
    Route("/api/shows", create_show, methods=["POST"]),
    # Before /api/shows/{id}: the first route that matches gets the request.
    Route("/api/shows/facets", facets, methods=["GET"]),
    Route("/api/shows/{id}", show, methods=["GET"]),
    Route("/api/shows/{id}", change_show, methods=["PUT"]),
    Route("/api/shows/{id}/tickets", create_tickets, methods=["POST"]),
    Route("/api/tickets", list_tickets, methods=["GET"]),
    Route("/api/tickets", create_ticket, methods=["POST"]),
    Route("/api/tickets/{id}", ticket, methods=["GET"]),
    Route("/api/tickets/{id}", change_ticket, methods=["PUT"]),
    Route("/api/tickets/{id}", withdraw_ticket, methods=["DELETE"]),
]
