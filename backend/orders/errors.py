"""The errors of placing and cancelling an order."""

from backend.kernel.problems import Conflict, Forbidden, Invalid, NotFound, TooMany


class OrderNotFound(NotFound):
    """No such order, or the order of another user: both get the same reply."""

    code = "order_not_found"


class TicketNotFound(NotFound):
    code = "ticket_not_found"


class TicketUnavailable(Conflict):
    """Another order has the ticket; `held_until` is the end of its hold, if it is only held."""

    code = "ticket_unavailable"


class PriceChanged(Conflict):
    """The order costs more than the buyer was shown: `total` instead of `shown_total`, in
    `currency`. `prices` has the tickets at their present prices.
    """

    code = "price_changed"


class ShowChanged(Conflict):
    """A show has another place or time than the buyer was shown. `shows` has the present ones by
    their ids.
    """

    code = "show_changed"


class SalesEnded(Conflict):
    """`sales_end_at` of the show has passed, or the show is postponed or cancelled."""

    code = "sales_ended"


class OwnTicket(Conflict):
    code = "own_ticket"


class TooManyOpenOrders(Conflict):
    code = "too_many_open_orders"


class TooManyTicketsOfShow(Conflict):
    code = "too_many_tickets_of_show"


class CoolingDown(TooMany):
    """The account, or its network, has held tickets unpaid for too long within an hour. `limited`
    names the one that must wait until `retry_at`.
    """

    code = "cooling_down"


class TicketGivenUp(TooMany):
    """The buyer gave this ticket up a moment ago: until `retry_at` it is for others."""

    code = "ticket_given_up"


class OrderNotCancellable(Conflict):
    code = "order_not_cancellable"


class ExtensionNotAllowed(Forbidden):
    """The account has not switched `needs_more_time` on."""

    code = "extension_not_allowed"


class AlreadyExtended(Conflict):
    code = "already_extended"


class OrderNotExtendable(Conflict):
    """A payment has begun, or the order has ended: `order_status`."""

    code = "order_not_extendable"


class MixedCurrency(Invalid):
    code = "mixed_currency"


class TotalTooSmall(Invalid):
    """Stripe does not charge so little: only tickets from before the lowest price add up to it."""

    code = "total_too_small"


class TotalTooLarge(Invalid):
    code = "total_too_large"


class TooManyTickets(Invalid):
    code = "too_many_tickets"
