"""The routes of shows and tickets."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backend.events.resources import Resources
from backend.kernel import database, idempotency, principal
from backend.kernel.database import Connection
from backend.kernel.idempotency import KeyTable
from backend.kernel.openapi import describe
from backend.kernel.pagination import Page
from backend.kernel.principal import Principal
from backend.kernel.settings import Settings
from backend.kernel.shared_reads import SharedReads
from backend.kernel.web import if_match, path_id, read_json, read_query, reply
from backend.tickets import bulk, seller_queries, service, show_status
from backend.tickets.errors import SearchTooSlow, ShowNotFound, TicketNotFound
from backend.tickets.model import (
    ChangedTickets,
    Facets,
    NewShow,
    NewTicket,
    NewTickets,
    OwnTicketCounts,
    Section,
    SectionQuery,
    Show,
    ShowChange,
    ShowFilters,
    ShowQuery,
    Shows,
    Ticket,
    TicketChange,
    TicketQuery,
    Tickets,
    TicketsChange,
)

KEYS = KeyTable("tickets")
FACETS_CACHE = "public, max-age=60"


class Content(NamedTuple):
    """The body of a reply, and its headers beside those of every reply."""

    body: bytes
    headers: Mapping[str, str]


class TicketsState(NamedTuple):
    settings: Settings
    resources: Resources
    reads: SharedReads[Content]


@describe(tag="shows", query=ShowQuery, public=True, ok=Shows)
async def list_shows(request: Request) -> Response:
    """Shows by date, with live counts."""
    query = read_query(request, ShowQuery)
    viewer = principal.current(request) if query.owner or query.seller else None

    async def read(connection: Connection) -> Content:
        return _content(await service.list_shows(connection, query, viewer))

    return await _shared(request, read, viewer)


@describe(tag="shows", query=ShowFilters, public=True, ok=Facets)
async def facets(request: Request) -> Response:
    """The cities and categories of upcoming shows, up to a minute old. Each is counted under the
    other filters.
    """
    filters = read_query(request, ShowFilters)

    async def read(connection: Connection) -> Content:
        return _content(await service.facets(connection, filters), {"Cache-Control": FACETS_CACHE})

    return await _shared(request, read)


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

    async def read(connection: Connection) -> Content:
        return await _show_content(connection, show_id)

    return await _shared(request, read)


@describe(tag="shows", body=ShowChange, ok=Show, problems=(403, 404, 409, 412))
async def change_show(request: Request) -> Response:
    """Change a show of yours. With If-Match, only the version that it names."""
    owner = principal.require(request)
    show_id = path_id(request, ShowNotFound)
    change = await read_json(request, ShowChange)

    async def write(connection: Connection) -> Response:
        await service.change_show(connection, owner, show_id, change, if_match(request))
        return _reply(await _show_content(connection, show_id))

    return await _write(request, owner.user_id, write)


@describe(tag="shows", query=SectionQuery, public=True, ok=Page[Section], problems=(404,))
async def list_sections(request: Request) -> Response:
    """The sections of a show, by name, with live counts."""
    show_id = path_id(request, ShowNotFound)
    query = read_query(request, SectionQuery)

    async def read(connection: Connection) -> Content:
        return _content(await service.sections(connection, show_id, query))

    return await _shared(request, read)


@describe(tag="shows", body=None, ok=Show, problems=(403, 404, 409))
async def cancel_show(request: Request) -> Response:
    """Cancel a show of yours for good. Its tickets are withdrawn, and everybody who has bought one
    gets the money back; while that lasts, the show has `sold` tickets.
    """
    return await _decide(request, show_status.cancel)


@describe(tag="shows", body=None, ok=Show, problems=(403, 404, 409))
async def postpone_show(request: Request) -> Response:
    """Take a show of yours off sale until you change its `starts_at`. Whoever has bought a ticket
    may return it meanwhile.
    """
    return await _decide(request, show_status.postpone)


async def _decide(
    request: Request, decide: Callable[[Connection, Principal, UUID], Awaitable[None]]
) -> Response:
    owner = principal.require(request)
    show_id = path_id(request, ShowNotFound)

    async def write(connection: Connection) -> Response:
        await decide(connection, owner, show_id)
        return _reply(await _show_content(connection, show_id))

    return await _write(request, owner.user_id, write)


@describe(tag="tickets", body=NewTickets, created=Tickets, problems=(403, 404, 409))
async def create_tickets(request: Request) -> Response:
    """List many tickets of a show for sale, all or none."""
    seller = principal.require(request)
    show_id = path_id(request, ShowNotFound)
    new = await read_json(request, NewTickets)
    max_listed = _state(request).settings.max_listed_per_show

    async def create(connection: Connection) -> Response:
        listed = await service.list_for_sale(
            connection, seller, show_id, new.tickets, max_listed=max_listed
        )
        return reply(Tickets(listed), 201)

    return await _write(request, seller.user_id, create)


@describe(tag="tickets", query=TicketQuery, public=True, ok=Page[Ticket])
async def list_tickets(request: Request) -> Response:
    """Tickets, searched, filtered and sorted."""
    query = read_query(request, TicketQuery)
    viewer = principal.current(request) if query.seller or query.hidden else None

    async def read(connection: Connection) -> Content:
        return _content(await service.list_tickets(connection, query, viewer))

    return await _shared(request, read, viewer)


@describe(tag="tickets", body=NewTicket, created=Ticket, problems=(403, 404, 409))
async def create_ticket(request: Request) -> Response:
    """List a ticket for sale."""
    seller = principal.require(request)
    new = await read_json(request, NewTicket)
    max_listed = _state(request).settings.max_listed_per_show

    async def create(connection: Connection) -> Response:
        [ticket] = await service.list_for_sale(
            connection, seller, new.show_id, [new], max_listed=max_listed
        )
        return reply(
            ticket, 201, {"Location": f"/api/tickets/{ticket.id}", "ETag": f'"{ticket.version}"'}
        )

    return await _write(request, seller.user_id, create)


@describe(tag="tickets", ok=OwnTicketCounts)
async def own_counts(request: Request) -> Response:
    """How many tickets you have listed, by show."""
    seller = principal.require(request)

    async def read(connection: Connection) -> Content:
        return _content(await seller_queries.count_by_show(connection, seller.user_id))

    return await _shared(request, read, seller)


@describe(tag="tickets", body=TicketsChange, ok=ChangedTickets)
async def change_tickets(request: Request) -> Response:
    """Set the price of many available tickets of yours, or withdraw them. Each ticket has its own
    outcome: one that a buyer has taken meanwhile stops no other.
    """
    seller = principal.require(request)
    change = await read_json(request, TicketsChange)

    async def write(connection: Connection) -> Response:
        return reply(ChangedTickets(await bulk.change_tickets(connection, seller, change)))

    return await _write(request, seller.user_id, write)


@describe(tag="tickets", public=True, ok=Ticket, problems=(404,))
async def ticket(request: Request) -> Response:
    """One ticket; the ETag is its version."""
    ticket_id = path_id(request, TicketNotFound)

    async def read(connection: Connection) -> Content:
        found = await service.ticket(connection, ticket_id)
        return _content(found, {"ETag": f'"{found.version}"'})

    return await _shared(request, read)


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


@describe(tag="tickets", body=None, ok=Ticket, problems=(403, 404, 409))
async def hide_ticket(request: Request) -> Response:
    """Hide a ticket of your show: it is not listed, and no buyer can hold it. An order that has it
    keeps it.
    """
    return await _set_hidden(request, hidden=True)


@describe(tag="tickets", body=None, ok=Ticket, problems=(403, 404, 409))
async def unhide_ticket(request: Request) -> Response:
    """List a hidden ticket of your show again."""
    return await _set_hidden(request, hidden=False)


async def _set_hidden(request: Request, *, hidden: bool) -> Response:
    owner = principal.require(request)
    ticket_id = path_id(request, TicketNotFound)

    async def write(connection: Connection) -> Response:
        changed = await service.set_hidden(connection, owner, ticket_id, hidden=hidden)
        return reply(changed, headers={"ETag": f'"{changed.version}"'})

    return await _write(request, owner.user_id, write)


async def _show_content(connection: Connection, show_id: UUID) -> Content:
    found = await service.show(connection, show_id)
    return _content(found, {"ETag": f'"{await service.show_version(connection, show_id)}"'})


async def _shared(
    request: Request,
    read: Callable[[Connection], Awaitable[Content]],
    viewer: Principal | None = None,
) -> Response:
    """The reply with what `read` returns, which requests for the same URL share. If the content
    depends on the user, `viewer` is the user. Raises SearchTooSlow.
    """
    state = _state(request)

    async def connected() -> Content:
        try:
            async with database.connection(state.resources.pool) as connection:
                return await read(connection)
        except asyncpg.QueryCanceledError as error:
            raise SearchTooSlow(
                "the search takes too long; narrow it, or try again later",
                headers={"Retry-After": "5"},
            ) from error

    key = (request.url.path, request.url.query, viewer and viewer.user_id)
    return _reply(await state.reads.get(key, connected))


def _content(body: Any, headers: Mapping[str, str] | None = None) -> Content:
    return Content(msgspec.json.encode(body), headers or {})


def _reply(content: Content) -> Response:
    return Response(content.body, headers=content.headers, media_type="application/json")


async def _write(request: Request, user_id: UUID, handler: idempotency.Handler) -> Response:
    resources = _state(request).resources
    response = await idempotency.once(request, resources.pool, KEYS, user_id, handler)
    resources.wake_relay()
    return response


def _state(request: Request) -> TicketsState:
    state: TicketsState = request.state.tickets
    return state


routes = [
    Route("/api/shows", list_shows, methods=["GET"]),
    Route("/api/shows", create_show, methods=["POST"]),
    # Before /api/shows/{id}: the first route that matches gets the request.
    Route("/api/shows/facets", facets, methods=["GET"]),
    Route("/api/shows/{id}", show, methods=["GET"]),
    Route("/api/shows/{id}", change_show, methods=["PUT"]),
    Route("/api/shows/{id}/sections", list_sections, methods=["GET"]),
    Route("/api/shows/{id}/cancel", cancel_show, methods=["POST"]),
    Route("/api/shows/{id}/postpone", postpone_show, methods=["POST"]),
    Route("/api/shows/{id}/tickets", create_tickets, methods=["POST"]),
    Route("/api/tickets", list_tickets, methods=["GET"]),
    Route("/api/tickets", create_ticket, methods=["POST"]),
    # Before /api/tickets/{id}.
    Route("/api/tickets/counts", own_counts, methods=["GET"]),
    Route("/api/tickets/changes", change_tickets, methods=["POST"]),
    Route("/api/tickets/{id}", ticket, methods=["GET"]),
    Route("/api/tickets/{id}", change_ticket, methods=["PUT"]),
    Route("/api/tickets/{id}", withdraw_ticket, methods=["DELETE"]),
    Route("/api/tickets/{id}/hide", hide_ticket, methods=["POST"]),
    Route("/api/tickets/{id}/unhide", unhide_ticket, methods=["POST"]),
]
