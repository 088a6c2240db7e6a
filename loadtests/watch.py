"""What the sockets of a run hear: each message's delay, what each page shows because of it, and which sales were told."""

import time
from datetime import datetime
from uuid import UUID

from loadtests.board import Board
from loadtests.clicks import Clicks
from loadtests.observed import Observed
from loadtests.pusher import Authorize, Evidence, Listener
from loadtests.told import Ticket, Told

PUSH = "push"
HOLD_TO_SCREEN = "hold to screen"
END_TO_SCREEN = "hold's end to screen"
PAY_TO_SELLER = "pay to seller"

Versions = dict[str, int]


class Watch:
    """All listeners of a run. The server's clock is the gateway's, as the listener with the shortest round trip knows it."""

    def __init__(self, push_url: str, board: Board, observed: Observed) -> None:
        self._url = push_url
        self._board = board
        self.evidence = Evidence()
        self._observed = observed
        self.holds = Clicks(lambda late: observed.pushed(HOLD_TO_SCREEN, late))
        self.pays = Clicks(lambda late: observed.pushed(PAY_TO_SELLER, late))
        self._ends: dict[tuple[str, int], float] = {}
        self._pages: dict[Listener, Versions] = {}
        self._sellers: dict[str, Listener] = {}
        self.sold: set[tuple[str, str]] = set()

    def show(self, show_id: UUID) -> Listener:
        """The page of a show, which has read what it shows and is live from now on."""
        page: Versions = {}

        def heard(event: str, channel: str, told: Told, at: float) -> None:
            if told.ticket is not None and channel != "shows":
                page[told.ticket.id] = told.ticket.version
                self._ticket(event, told.ticket, at)

        listener = Listener(self._url, ["shows", f"show-{show_id}"], heard, self.evidence)
        if listener.wait():
            # What was changed before the subscription was read, not heard.
            for ticket_id, version in self._board.versions(show_id).items():
                page.setdefault(ticket_id, version)
            self._pages[listener] = page
        return listener

    def sales(self, seller_id: str, authorize: Authorize) -> Listener:
        """The private channel of a seller."""

        def heard(event: str, _channel: str, told: Told, _at: float) -> None:
            if event == "sale.sold" and told.sale is not None:
                self.sold.add((told.sale.order_id, told.sale.ticket.id))
                self.pays.arrived(told.sale.order_id)

        listener = Listener(
            self._url, [f"private-user-{seller_id}"], heard, self.evidence, authorize
        )
        if listener.wait():
            self._sellers[seller_id] = listener
        return listener

    @property
    def clock_error_seconds(self) -> float:
        return min((listener.clock[1] for listener in self._listeners()), default=float("inf"))

    def set_clock(self) -> None:
        known = [listener.clock for listener in self._listeners()]
        self._board.clock_offset = min(known, key=lambda clock: clock[1])[0] if known else 0.0

    def behind(self, fresh: Versions) -> int:
        """Tickets that some page shows older than the API told them, of pages that were connected all the time."""
        return sum(
            page.get(ticket_id, version) < version
            for listener, page in self._pages.items()
            if listener.steady
            for ticket_id, version in fresh.items()
            if ticket_id in page
        )

    def untold(self, sales: dict[tuple[str, str], str]) -> int:
        """Sales (order, ticket) whose seller was connected all the time and yet never heard of them."""
        return sum(
            sale not in self.sold
            for sale, seller_id in sales.items()
            if (listener := self._sellers.get(seller_id)) is not None and listener.steady
        )

    def close(self) -> None:
        for listener in self._listeners():
            listener.close()

    def _listeners(self) -> list[Listener]:
        return [*self._pages, *self._sellers.values()]

    def _ticket(self, event: str, ticket: Ticket, at: float) -> None:
        before = self._board.tell(ticket)
        now = at + self._board.clock_offset
        if event in {"ticket.held", "ticket.extended"} and ticket.changed_at is not None:
            self._observed.pushed(PUSH, (now - ticket.changed_at) * 1000)
        if event == "ticket.held":
            self.holds.arrived(change_of(ticket.id, ticket.held_until))
        if event == "ticket.released":
            self._released(ticket, before.held_until if before else None, now)

    def _released(self, ticket: Ticket, held_until: float | None, now: float) -> None:
        """The first page to hear of it knows from the board when the hold should have ended; the others from the first."""
        change = (ticket.id, ticket.version)
        if held_until is not None:
            self._ends.setdefault(change, held_until)
        due = self._ends.get(change)
        # Before its time it was given up, which is no end that can be late.
        if due is not None and now >= due:
            self._observed.pushed(END_TO_SCREEN, (now - due) * 1000)


def change_of(ticket_id: str, held_until: datetime | None) -> tuple[str, float]:
    """What tells one hold of a ticket from the next."""
    return ticket_id, held_until.timestamp() if held_until else time.time()
