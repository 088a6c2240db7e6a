"""The errors of reading and changing shows and tickets."""

from backend.kernel.problems import (
    Conflict,
    FieldError,
    Forbidden,
    Invalid,
    NotFound,
    PreconditionFailed,
    Unavailable,
)


class ShowNotFound(NotFound):
    code = "show_not_found"


class TicketNotFound(NotFound):
    code = "ticket_not_found"


class ShowCancelled(Conflict):
    """The show is cancelled, which is final."""

    code = "show_cancelled"


class ShowOver(Conflict):
    """The show was over too long ago to be cancelled, or is over and cannot be postponed."""

    code = "show_over"


class NotYourShow(Forbidden):
    code = "not_your_show"


class NotYourTicket(Forbidden):
    code = "not_your_ticket"


class TicketTaken(Conflict):
    """The ticket is held, reserved or sold, so its seller can no longer change it."""

    code = "ticket_taken"


class OtherCurrency(Conflict):
    """Of many tickets that get one price, this one is priced in another currency."""

    code = "other_currency"


class TicketWithdrawn(Conflict):
    code = "ticket_withdrawn"


class ListingClosed(Forbidden):
    """Only the owner of the show lists tickets of it."""

    code = "listing_closed"


class SalesEnded(Conflict):
    """`sales_end_at` of the show has passed, or the show is postponed or cancelled."""

    code = "sales_ended"


class TooManyListed(Conflict):
    """The user has as many tickets in a stranger's show as `MAX_LISTED_PER_SHOW` allows."""

    code = "too_many_listed"


class SeatTaken(Conflict):
    """Another ticket of the show has the seat. `errors` names the field of each taken seat."""

    code = "seat_taken"


class PriceAboveRefunded(Invalid):
    """The seller refunded a sale of this ticket, or of this seat, and may list it again at most at
    the price of that sale, in its currency.
    """

    code = "price_above_refunded"


class CurrencyRequired(Invalid):
    """Prices are compared within a currency, and the request names none."""

    code = "currency_required"

    def __init__(self) -> None:
        message = "must be given with min_price or max_price"
        super().__init__(f"currency {message}", errors=[FieldError("currency", message)])


class SearchTooSlow(Unavailable):
    """Postgres cancelled a public read after `READ_TIMEOUT`."""

    code = "search_too_slow"


class VersionMismatch(PreconditionFailed):
    """The row has another version than the one in If-Match."""

    code = "version_mismatch"
