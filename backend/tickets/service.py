"""The operations on shows and tickets. Each is one unit of work on the caller's connection."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from msgspec import UNSET

from backend.events import outbox
from backend.kernel.database import Connection
from backend.kernel.pagination import Page, decode_cursor, encode_cursor, page_of
from backend.kernel.principal import Principal
from backend.kernel.problems import Unauthorized, invalid
from backend.kernel.text import clean, clean_optional
from backend.kernel.time_zones import check_zone
from backend.tickets import queries, show_queries, ticket_queries
from backend.tickets.errors import (
    CurrencyRequired,
    ListingClosed,
    NotYourShow,
    NotYourTicket,
    SalesEnded,
    ShowCancelled,
    ShowNotFound,
    TicketNotFound,
    TicketTaken,
    TicketWithdrawn,
    TooManyListed,
    VersionMismatch,
)
from backend.tickets.model import (
    Facets,
    NewShow,
    Section,
    SectionQuery,
    Show,
    ShowChange,
    ShowDecision,
    ShowFilters,
    ShowQuery,
    ShowRow,
    Shows,
    Ticket,
    TicketChange,
    TicketQuery,
    TicketSpec,
)
from backend.tickets.refusals import ONE_PER_SEAT, Seat, price_refused, seat_taken
from backend.tickets.rules import check_amounts, known_currency
from backend.tickets.show_queries import Scope, ShowKey
from backend.tickets.ticket_queries import TicketKey


async def create_show(connection: Connection, owner: Principal, new: NewShow) -> Show:
    """Create a show with its sales still to end. Raises Invalid."""
    wanted = _clean_show(new)
    _check_sales_end(wanted, await queries.now(connection), "in the future")
    row = await queries.insert_show(connection, owner.user_id, wanted)
    await _append_show(connection, "show.created", row)
    return await show(connection, row.id)


async def change_show(
    connection: Connection,
    owner: Principal,
    show_id: UUID,
    change: ShowChange,
    expected: int | None,
) -> Show:
    """Change a show, only in the version `expected` if given. A new start puts a postponed show on
    sale again. Raises ShowNotFound, NotYourShow, ShowCancelled, VersionMismatch, Invalid.
    """
    row = await queries.lock_show(connection, show_id)
    if row is None:
        raise ShowNotFound
    if row.owner_id != owner.user_id:
        raise NotYourShow
    _check_version(expected, row.version)
    if row.status == "cancelled":
        raise ShowCancelled("the show is cancelled, which is final")
    given = {
        name: value for name, value in msgspec.structs.asdict(change).items() if value is not UNSET
    }
    wanted = _clean_show(
        NewShow(**{name: given.get(name, getattr(row, name)) for name in NewShow.__struct_fields__})
    )
    is_rescheduled = row.status == "postponed" and "starts_at" in given
    if is_rescheduled:
        _check_sales_end(wanted, await queries.now(connection), "in the future")
    elif (wanted.starts_at, wanted.sales_end_at) != (row.starts_at, row.sales_end_at):
        _check_sales_end(wanted, row.created_at, "after the time when the show was added")
    status: ShowDecision = "on_sale" if is_rescheduled else row.status
    changed = await queries.update_show(
        connection, msgspec.structs.replace(row, **msgspec.structs.asdict(wanted), status=status)
    )
    await _append_show(connection, "show.updated", changed)
    return await show(connection, show_id)


async def show(connection: Connection, show_id: UUID) -> Show:
    """Raises ShowNotFound."""
    found = await queries.shows(connection, [show_id])
    if show_id not in found:
        raise ShowNotFound
    return found[show_id]


async def show_version(connection: Connection, show_id: UUID) -> int:
    """The version of the show without those of its tickets. Raises ShowNotFound."""
    version = await queries.show_version(connection, show_id)
    if version is None:
        raise ShowNotFound
    return version


async def list_shows(connection: Connection, query: ShowQuery, viewer: Principal | None) -> Shows:
    """A page of shows; `viewer` is the user `me`. Raises Invalid, and Unauthorized for `me` without
    a user.
    """
    _check_filters(query)
    after = decode_cursor(query.cursor, ShowKey)
    scope = Scope(
        _ids(query.ids) if query.ids is not None else None,
        _user(query.owner, viewer, "owner"),
        _user(query.seller, viewer, "seller"),
    )
    alike = False
    shows, examined = await show_queries.list_shows(connection, query, scope, after, loose=False)
    if not shows and examined is None and query.q.strip():
        shows, examined = await show_queries.list_shows(connection, query, scope, after, loose=True)
        alike = bool(shows)
    suggestions = None
    if not shows and examined is None and after is None and scope == Scope():
        suggestions = await show_queries.suggest(connection, query)
    if examined is not None:
        return Shows(shows, encode_cursor(examined), alike, suggestions)
    page = page_of(shows, query.limit, lambda row: ShowKey(row.starts_at, row.id))
    return Shows(page.items, page.next_cursor, alike, suggestions)


async def facets(connection: Connection, filters: ShowFilters) -> Facets:
    """Raises Invalid."""
    _check_filters(filters)
    found = await show_queries.facets(connection, filters, loose=False)
    if filters.q.strip() and not found.cities and not found.categories:
        return await show_queries.facets(connection, filters, loose=True)
    return found


async def sections(connection: Connection, show_id: UUID, query: SectionQuery) -> Page[Section]:
    """A page of a show's sections, by name. Raises ShowNotFound, Invalid."""
    after = decode_cursor(query.cursor, str)
    await show_version(connection, show_id)
    found = await queries.sections(connection, show_id, after, query.limit + 1)
    return page_of(found, query.limit, lambda section: section.section)


async def list_for_sale(
    connection: Connection,
    seller: Principal,
    show_id: UUID,
    specs: Sequence[TicketSpec],
    *,
    max_listed: int,
) -> list[Ticket]:
    """List tickets of a show for sale, all or none. `max_listed` bounds the tickets of a seller who
    does not own the show. Raises ShowNotFound, ListingClosed, SalesEnded, TooManyListed, SeatTaken,
    PriceAboveRefunded, Invalid.
    """
    paths = [f"tickets[{index}]." if len(specs) > 1 else "" for index in range(len(specs))]
    cleaned = [_clean_ticket(spec, path) for spec, path in zip(specs, paths, strict=True)]
    await _check_listing(connection, seller, show_id, len(cleaned), max_listed)
    # Auth stores the handle with the account, so the token's is used only if auth knows no account.
    await queries.add_seller(connection, seller.user_id, seller.handle)
    try:
        inserted = await queries.insert_tickets(
            connection, show_id, seller.user_id, seller.handle, cleaned
        )
    except asyncpg.CheckViolationError as error:
        raise price_refused(error, cleaned, paths) from error
    listed = [ticket for ticket in inserted if ticket is not None]
    if len(listed) < len(cleaned):
        places = zip(cleaned, paths, inserted, strict=True)
        raise seat_taken([(spec, path) for spec, path, ticket in places if ticket is None])
    await queries.append_events(connection, "ticket.listed", [ticket.id for ticket in listed])
    return listed


async def ticket(connection: Connection, ticket_id: UUID) -> Ticket:
    """Raises TicketNotFound."""
    found = await queries.ticket(connection, ticket_id)
    if found is None:
        raise TicketNotFound
    return found


async def list_tickets(
    connection: Connection, query: TicketQuery, viewer: Principal | None
) -> Page[Ticket]:
    """A page of tickets; `viewer` is the user `me`. Raises Invalid, and Unauthorized for `me`
    without a user.
    """
    _check_words(query.q)
    after = decode_cursor(query.cursor, TicketKey)
    _check_cursor(query, after)
    if query.section is not None and query.show_id is None:
        raise invalid("section", "needs a show_id")
    if query.sort == "open_first" and (query.section is None or query.seller or query.hidden):
        raise invalid("sort", "needs a section, and neither seller nor hidden")
    if (query.min_price, query.max_price) != (None, None) and query.currency is None:
        raise CurrencyRequired
    viewed = await _viewed(connection, query, viewer)
    tickets, examined = await ticket_queries.list_tickets(connection, query, viewed, after)
    if examined is not None:
        return Page(tickets, encode_cursor(examined))
    return page_of(tickets, query.limit, lambda row: ticket_queries.ticket_key(query, row))


def _check_cursor(query: TicketQuery, after: TicketKey | None) -> None:
    if after is None:
        return
    by_price, open_first = query.sort.endswith("price"), query.sort == "open_first"
    has_price = {after.currency is not None, after.price is not None}
    if has_price != {by_price} or (after.closed is not None) != open_first:
        raise invalid("cursor", "belongs to another sort order: start without a cursor")


async def _viewed(
    connection: Connection, query: TicketQuery, viewer: Principal | None
) -> ticket_queries.Viewed:
    """Hidden tickets are for their seller and the owner of their show."""
    seller_id = _user(query.seller, viewer, "seller")
    if not query.hidden:
        is_own = viewer is not None and seller_id == viewer.user_id
        return ticket_queries.Viewed("true" if is_own else "not t.hidden", seller_id)
    if viewer is None:
        raise Unauthorized("hidden tickets need a user: sign in first")
    if query.show_id is None:
        raise invalid("hidden", "needs a show_id")
    is_owner = await queries.show_owner(connection, query.show_id) == viewer.user_id
    return ticket_queries.Viewed("t.hidden", seller_id if is_owner else viewer.user_id)


async def change_ticket(
    connection: Connection,
    seller: Principal,
    ticket_id: UUID,
    change: TicketChange,
    expected: int | None,
) -> Ticket:
    """Change a free ticket, only in the version `expected` if given. Raises TicketNotFound,
    NotYourTicket, TicketTaken, TicketWithdrawn, SeatTaken, PriceAboveRefunded, VersionMismatch,
    Invalid.
    """
    row = await _lock_own_free_ticket(connection, seller, ticket_id, expected)
    columns = _columns(change)
    if columns.keys() & {"price", "face_value", "currency"}:
        check_amounts(
            columns.get("price", row.price),
            columns.get("face_value", row.face_value),
            columns.get("currency", row.currency),
        )
    try:
        is_changed = await queries.update_ticket(connection, ticket_id, columns)
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name != ONE_PER_SEAT:
            raise
        seat = Seat(*(columns.get(name, getattr(row, name)) for name in Seat._fields))
        raise seat_taken([(seat, "")]) from error
    except asyncpg.CheckViolationError as error:
        raise price_refused(error, [], []) from error
    if not is_changed:
        raise TicketTaken("a buyer has just taken the ticket")
    await queries.append_events(connection, "ticket.updated", [ticket_id])
    return await ticket(connection, ticket_id)


async def withdraw(
    connection: Connection,
    seller: Principal,
    ticket_id: UUID,
    expected: int | None,
) -> None:
    """Withdraw a free ticket, only in the version `expected` if given. Raises TicketNotFound,
    NotYourTicket, TicketTaken, TicketWithdrawn, VersionMismatch.
    """
    await _lock_own_free_ticket(connection, seller, ticket_id, expected)
    if not await queries.withdraw_ticket(connection, ticket_id, seller.user_id):
        raise TicketTaken("a buyer has just taken the ticket")


async def set_hidden(
    connection: Connection, owner: Principal, ticket_id: UUID, *, hidden: bool
) -> Ticket:
    """Hide a ticket of the owner's show, or list it again; nothing changes if it is so already.

    An order that has the ticket keeps it. Raises TicketNotFound, NotYourShow, TicketWithdrawn.
    """
    row = await queries.lock_ticket(connection, ticket_id)
    if row is None:
        raise TicketNotFound
    if row.show_owner_id != owner.user_id:
        raise NotYourShow
    if row.status == "withdrawn":
        raise TicketWithdrawn
    if row.hidden != hidden:
        await queries.set_hidden(connection, ticket_id, hidden=hidden)
        event = "ticket.hidden" if hidden else "ticket.unhidden"
        await queries.append_events(connection, event, [ticket_id])
    return await ticket(connection, ticket_id)


async def _check_listing(
    connection: Connection, seller: Principal, show_id: UUID, count: int, max_listed: int
) -> None:
    outcome, listed = await queries.check_listing(
        connection, show_id, seller.user_id, count, max_listed
    )
    match outcome:
        case "show_not_found":
            raise ShowNotFound
        case "listing_closed":
            raise ListingClosed("only the owner of this show lists tickets of it")
        case "sales_ended":
            raise SalesEnded("tickets of this show are not on sale any more")
        case "too_many_listed":
            raise TooManyListed(
                f"you may list {max_listed} tickets in a show of somebody else, and have {listed}",
                max_listed=max_listed,
                listed=listed,
            )


async def _lock_own_free_ticket(
    connection: Connection, seller: Principal, ticket_id: UUID, expected: int | None
) -> queries.TicketRow:
    row = await queries.lock_ticket(connection, ticket_id)
    if row is None:
        raise TicketNotFound
    if row.seller_id != seller.user_id:
        raise NotYourTicket
    if row.status == "withdrawn":
        raise TicketWithdrawn
    if row.status != "available":
        raise TicketTaken(f"the ticket is {row.status}", ticket_status=row.status)
    _check_version(expected, row.version)
    return row


async def _append_show(connection: Connection, type: str, row: ShowRow) -> None:
    await outbox.append(connection, type, row.id, row.version, row)


def _check_version(expected: int | None, version: int) -> None:
    if expected is not None and expected != version:
        raise VersionMismatch(f"the version is {version} now: read it again", version=version)


def _check_words(text: str) -> None:
    if text.strip() and not ticket_queries.words_query(text):
        raise invalid("q", "must contain a letter or a digit to search for")


def _check_filters(filters: ShowFilters) -> None:
    _check_words(filters.q)
    for field in ("first_day", "last_day"):
        day: date | None = getattr(filters, field)
        if day and not 1900 <= day.year <= 9900:
            raise invalid(field, "must be a day between 1900 and 9900")


def _user(given: str | None, viewer: Principal | None, field: str) -> UUID | None:
    if given is None:
        return None
    if given == "me":
        if viewer is None:
            raise Unauthorized(f"{field}=me needs a user: sign in first")
        return viewer.user_id
    try:
        return UUID(given)
    except ValueError as error:
        raise invalid(field, "must be the id of a user, or me") from error


def _ids(text: str) -> list[UUID]:
    try:
        return [UUID(word) for word in text.split(",")]
    except ValueError as error:
        raise invalid("ids", "must be ids with commas between them") from error


def _clean_show(show: NewShow) -> NewShow:
    last = show.ends_at or show.starts_at
    if show.ends_at and not show.starts_at < last <= show.starts_at + queries.LONGEST_SHOW:
        days = queries.LONGEST_SHOW.days
        raise invalid("ends_at", f"must be after the start, and at most {days} days later")
    if show.sales_end_at and show.sales_end_at > last:
        raise invalid("sales_end_at", "must not be after the show")
    return NewShow(
        title=clean("title", show.title),
        venue=clean("venue", show.venue),
        city=clean("city", show.city),
        starts_at=show.starts_at,
        timezone=check_zone("timezone", show.timezone),
        category=clean("category", show.category).lower(),
        listing_policy=show.listing_policy,
        ends_at=show.ends_at,
        # Then the sales end with the start, also after the show is moved.
        sales_end_at=None if show.sales_end_at == show.starts_at else show.sales_end_at,
    )


def _check_sales_end(show: NewShow, earliest: datetime, when: str) -> None:
    field = "sales_end_at" if show.sales_end_at else "starts_at"
    if getattr(show, field) <= earliest:
        raise invalid(field, f"must be {when}")


def _clean_ticket(spec: TicketSpec, path: str = "") -> TicketSpec:
    currency = known_currency(spec.currency, path)
    check_amounts(spec.price, spec.face_value, currency, path)
    return TicketSpec(
        price=spec.price,
        currency=currency,
        face_value=spec.face_value,
        **{
            name: clean_optional(path + name, getattr(spec, name))
            for name in ("title", "section", "row", "seat")
        },
    )


def _columns(change: TicketChange) -> dict[str, Any]:
    columns = {
        name: value for name, value in msgspec.structs.asdict(change).items() if value is not UNSET
    }
    for name in columns.keys() & {"title", "section", "row", "seat"}:
        columns[name] = clean_optional(name, columns[name])
    if "currency" in columns:
        columns["currency"] = known_currency(columns["currency"])
    return columns
