"""The errors of reading and changing shows and tickets."""

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
    """The ticket is held, reserved or sold, so its seller can no longer change it."""

    code = "ticket_taken"


class TicketWithdrawn(Conflict):
    code = "ticket_withdrawn"


class VersionMismatch(PreconditionFailed):
    """The row has another version than the one in If-Match."""

    code = "version_mismatch"
