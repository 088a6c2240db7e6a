"""Shows and tickets in requests and replies. Money is minor units; times are UTC."""

from datetime import date, datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from backend.kernel.money import Currency, Price
from backend.kernel.pagination import Limit

Title = Annotated[str, Meta(max_length=120)]
PlaceName = Annotated[str, Meta(max_length=60)]
Label = Annotated[str, Meta(max_length=40)]
When = Annotated[datetime, Meta(tz=True)]

Status = Literal["available", "held", "reserved", "sold", "withdrawn"]
ListingPolicy = Literal["open", "owner"]
# The owner's decision. A show that is on sale is over after its end.
ShowDecision = Literal["on_sale", "postponed", "cancelled"]
ShowStatus = Literal["on_sale", "postponed", "cancelled", "over"]

MAX_TICKETS_AT_ONCE = 500
MAX_CHANGED_AT_ONCE = 500
# The most tickets on a page.
MAX_PAGE_SIZE = 500


class NewShow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`timezone` is the IANA name of the venue's zone; `starts_at` needs an offset. `ends_at` is at
    most 14 days later. Tickets are sold until `sales_end_at`, else until the start. With the
    `listing_policy` `owner`, only the owner of the show lists tickets of it.
    """

    title: Title
    venue: Title
    city: PlaceName
    starts_at: When
    timezone: PlaceName
    category: Label = "other"
    listing_policy: ListingPolicy = "open"
    ends_at: When | None = None
    sales_end_at: When | None = None


class ShowChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A field that is left out keeps its value; null empties an optional field. A postponed show is
    on sale again once `starts_at` is given.
    """

    title: Title | UnsetType = UNSET
    venue: Title | UnsetType = UNSET
    city: PlaceName | UnsetType = UNSET
    starts_at: When | UnsetType = UNSET
    timezone: PlaceName | UnsetType = UNSET
    category: Label | UnsetType = UNSET
    listing_policy: ListingPolicy | UnsetType = UNSET
    ends_at: When | UnsetType | None = UNSET
    sales_end_at: When | UnsetType | None = UNSET


class FromPrice(msgspec.Struct, frozen=True):
    """The lowest price of a show's free tickets in one currency."""

    currency: str
    price: int


class Show(msgspec.Struct, frozen=True):
    """A show with live counts. `held` counts the tickets that are held or reserved. A hidden ticket
    counts only once it is reserved or sold.

    `local_start` is the start by the clocks at the venue, without an offset.

    No ticket is listed, held or paid for from `sales_end_at` on, which is `starts_at` unless the
    owner chose another time, nor while the show is `postponed` or `cancelled`. `status` is `over`
    once `ends_at` has passed, or `starts_at` without an `ends_at`. While a cancelled show has
    `sold` tickets, their money is being returned.

    Prices are compared within a currency: `from_prices` has up to five currencies, those with the
    most free tickets first. `from_price` is the price of the first, in `currency`. `next_free_at`
    is the earliest end of a hold. `version` grows with each change of the show or of any of its
    tickets; the ETag is the version of the show alone.
    """

    id: UUID
    owner_id: UUID
    title: str
    venue: str
    city: str
    starts_at: datetime
    local_start: datetime
    ends_at: datetime | None
    sales_end_at: datetime
    status: ShowStatus
    timezone: str
    category: str
    listing_policy: ListingPolicy
    available: int
    held: int
    sold: int
    from_price: int | None
    currency: str | None
    from_prices: list[FromPrice]
    next_free_at: datetime | None
    version: int
    created_at: datetime
    updated_at: datetime


class ShowRow(msgspec.Struct, frozen=True):
    """A show's row, which is also the data of its events. Without `sales_end_at`, sales end at the
    start. `status` does not show that a show is over.
    """

    id: UUID
    owner_id: UUID
    title: str
    venue: str
    city: str
    starts_at: datetime
    ends_at: datetime | None
    sales_end_at: datetime | None
    timezone: str
    category: str
    status: ShowDecision
    listing_policy: ListingPolicy
    version: int
    created_at: datetime
    updated_at: datetime


class ShowFilters(msgspec.Struct, frozen=True, rename={"starts_from": "from", "starts_to": "to"}):
    """`q` searches title, venue and city by the beginnings of words, without case, accents and
    punctuation. `city` is compared in the same way. `first_day` and `last_day` are the days on
    which the show starts, by the clocks at its venue.
    """

    q: Annotated[str, Meta(max_length=100)] = ""
    city: PlaceName | None = None
    category: Label | None = None
    starts_from: When | None = None
    starts_to: When | None = None
    first_day: date | None = None
    last_day: date | None = None


class ShowQuery(
    ShowFilters, frozen=True, rename={"starts_from": "from", "starts_to": "to"}, kw_only=True
):
    """The filters, and: `ids` has up to 100 ids, separated by commas. `owner` created the show,
    `seller` listed tickets for it; each is a user's id or `me`.

    Without `from`, `owner`, `seller` and `ids`, shows that are over are left out.

    A request examines at most 2,000 shows, or those of `ids` or `seller`. A page may therefore have
    fewer items than `limit`, or none, and still a `next_cursor`.
    """

    ids: Annotated[str, Meta(max_length=3_700)] | None = None
    owner: str | None = None
    seller: str | None = None
    sort: Literal["starts_at", "-starts_at"] = "starts_at"
    limit: Limit = 20
    cursor: str | None = None


class Suggestion(msgspec.Struct, frozen=True):
    """The nearest show that the same search finds when one filter is left out."""

    show_id: UUID
    title: str
    city: str
    starts_at: datetime
    timezone: str


class Suggestions(msgspec.Struct, frozen=True):
    """`date` is at another date, `city` in another city; null where that filter was not used or
    leaving it out finds nothing.
    """

    date: Suggestion | None
    city: Suggestion | None


class Shows(msgspec.Struct, frozen=True):
    """A page of shows; `next_cursor` is null on the last page. `alike` is true when no show has
    the words of `q`, and these have words of which one letter differs. Without items, the first
    page of a search has `suggestions`.
    """

    items: list[Show]
    next_cursor: str | None
    alike: bool
    suggestions: Suggestions | None


class Facet(msgspec.Struct, frozen=True):
    """A city or category, and the number of its shows."""

    name: str
    shows: int


class Facets(msgspec.Struct, frozen=True):
    """The cities and categories of upcoming shows, the most frequent first. Each list counts the
    shows that the other filters find, up to the next 10,000; so does `last_starts_at` without the
    dates.
    """

    cities: list[Facet]
    categories: list[Facet]
    last_starts_at: datetime | None


class TicketSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One ticket of a show, in the request that lists it."""

    price: Price
    currency: Currency
    title: Title | None = None
    section: Label | None = None
    row: Label | None = None
    seat: Label | None = None
    face_value: Price | None = None


class NewTicket(TicketSpec, frozen=True, forbid_unknown_fields=True, kw_only=True):
    show_id: UUID


class NewTickets(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tickets: Annotated[list[TicketSpec], Meta(min_length=1, max_length=MAX_TICKETS_AT_ONCE)]


class TicketChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A field that is left out keeps its value; null empties an optional field."""

    price: Price | UnsetType = UNSET
    currency: Currency | UnsetType = UNSET
    title: Title | UnsetType | None = UNSET
    section: Label | UnsetType | None = UNSET
    row: Label | UnsetType | None = UNSET
    seat: Label | UnsetType | None = UNSET
    face_value: Price | UnsetType | None = UNSET


class TicketsChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Either `withdraw`, or a `price` for the tickets that are priced in `currency`."""

    ticket_ids: Annotated[list[UUID], Meta(min_length=1, max_length=MAX_CHANGED_AT_ONCE)]
    price: Price | None = None
    currency: Currency | None = None
    withdraw: bool = False


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """`status` is effective: a ticket with an ended hold is available. `seconds_left` counts from
    the time of this reply. A `hidden` ticket is listed for nobody but its seller and the owner of
    its show, and cannot be held.
    """

    id: UUID
    show_id: UUID
    seller_id: UUID
    seller_handle: str
    title: str | None
    section: str | None
    row: str | None
    seat: str | None
    price: int
    face_value: int | None
    currency: str
    status: Status
    held_until: datetime | None
    seconds_left: float | None
    hidden: bool
    version: int
    created_at: datetime
    updated_at: datetime


class Tickets(msgspec.Struct, frozen=True):
    items: list[Ticket]


class TicketError(msgspec.Struct, frozen=True):
    """Why one of many tickets stayed as it was: `code` is that of the error of a single change, or
    `other_currency`.
    """

    code: str
    detail: str


class ChangedTicket(msgspec.Struct, frozen=True):
    """One of many tickets after a change. `error` is null when it is as the seller wanted it;
    `ticket` is null unless it is the seller's own.
    """

    id: UUID
    ticket: Ticket | None
    error: TicketError | None


class ChangedTickets(msgspec.Struct, frozen=True):
    items: list[ChangedTicket]


class ShowTicketCounts(msgspec.Struct, frozen=True):
    """How many tickets of a show one seller has listed, those that are withdrawn apart. A hidden
    ticket is not free.
    """

    show_id: UUID
    listed: int
    free: int
    held: int
    sold: int


class OwnTicketCounts(msgspec.Struct, frozen=True):
    """Your tickets by show. `is_complete` is false for a seller of 50,000 tickets or more: only the
    newest 50,000 are counted.
    """

    items: list[ShowTicketCounts]
    is_complete: bool


class SectionQuery(msgspec.Struct, frozen=True):
    limit: Limit = 100
    cursor: str | None = None


class Section(msgspec.Struct, frozen=True):
    """The counts of the tickets with one section, which is empty for tickets without one. `held`
    counts the tickets that are held or reserved, also those whose hold ended up to a second ago.
    `from_prices` is as in Show.
    """

    section: str
    available: int
    held: int
    sold: int
    from_prices: list[FromPrice]


class TicketQuery(msgspec.Struct, frozen=True):
    """`q` searches the title, section, row and seat by the beginnings of words, without case; it
    also finds the tickets of the next 100 shows that it finds. `seller` is a user's id, or `me`.
    Withdrawn tickets are listed only with that `status`. Hidden tickets are listed only for their
    seller, with `seller`, and with `hidden` for their seller and the owner of their show. Without
    `show_id` and `seller`, tickets of shows that are over are left out.

    Prices are compared within a currency: `min_price` and `max_price` need `currency`, and the
    sorts by price list one currency after the other.

    `section` is compared with case; it is empty for tickets without one. `open` leaves out those
    that are sold. The sort `open_first` lists the tickets of a show's section, first those that are
    not sold, each part from the oldest on; it needs `show_id` and `section`.

    A request examines at most 2,000 tickets. A page may therefore have fewer items than `limit`, or
    none, and still a `next_cursor`.
    """

    q: Annotated[str, Meta(max_length=100)] = ""
    show_id: UUID | None = None
    seller: str | None = None
    hidden: bool = False
    status: Status | None = None
    min_price: Annotated[int, Meta(ge=0, le=2**53)] | None = None
    max_price: Annotated[int, Meta(ge=0, le=2**53)] | None = None
    currency: Currency | None = None
    section: Label | None = None
    open: bool = False
    sort: Literal["newest", "oldest", "price", "-price", "open_first"] = "newest"
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE_SIZE)] = 20
    cursor: str | None = None
