"""Why an order can't be placed or cancelled."""

from backend.kernel.problems import Conflict, Invalid, NotFound, TooMany


class OrderNotFound(NotFound):
    """No such order, or somebody else's: the two answer alike."""

    code = "order_not_found"


class TicketNotFound(NotFound):
    code = "ticket_not_found"


class TicketUnavailable(Conflict):
    """Somebody else has it; `held_until` tells when it may be free, if it is only held."""

    code = "ticket_unavailable"


class OwnTicket(Conflict):
    code = "own_ticket"


class TooManyOpenOrders(Conflict):
    code = "too_many_open_orders"


class TooManyTicketsOfShow(Conflict):
    code = "too_many_tickets_of_show"


class CoolingDown(TooMany):
    """Several holds of this buyer ended unpaid lately."""

    code = "cooling_down"


class OrderNotCancellable(Conflict):
    code = "order_not_cancellable"


class MixedCurrency(Invalid):
    code = "mixed_currency"


class TooManyTickets(Invalid):
    code = "too_many_tickets"
