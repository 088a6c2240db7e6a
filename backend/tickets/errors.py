"""Why a show or a ticket can't be had or changed."""

from backend.kernel.problems import Conflict, Forbidden, NotFound, PreconditionFailed


class ShowNotFound(NotFound):
    code = "show_not_found"


class TicketNotFound(NotFound):
    code = "ticket_not_found"


class NotYourShow(Forbidden):
    code = "not_your_show"


class NotYourTicket(Forbidden):
    code = "not_your_ticket"


class TicketTaken(Conflict):
    """Held, reserved or sold: the seller can't change what a buyer relies on."""

    code = "ticket_taken"


class TicketWithdrawn(Conflict):
    code = "ticket_withdrawn"


class VersionMismatch(PreconditionFailed):
    """It was changed since the version that If-Match names."""

    code = "version_mismatch"
