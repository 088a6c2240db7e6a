"""The sockets of a run: each message's latency, the state of each page, the sales received."""

import time
from datetime import datetime
from uuid import UUID

from loadtests.latency import ActionLatency
from loadtests.market_state import MarketState
from loadtests.measurements import Measurements
from loadtests.push_message import PushMessage, Ticket
from loadtests.pusher import Authorize, Deliveries, Listener

PUSH = "push"
HOLD_TO_SCREEN = "hold to screen"
END_TO_SCREEN = "hold's end to screen"
PAY_TO_SELLER = "pay to seller"

Versions = dict[str, int]


class PushMonitor:
    """All listeners of a run.

    The server's clock is the gateway's, estimated by the listener with the shortest round trip.
    """

    def __init__(self, push_url: str, market: MarketState, measurements: Measurements) -> None:
        self._url = push_url
        self._market = market
        self.deliveries = Deliveries()
        self._measurements = measurements
        self.holds = ActionLatency(lambda late: measurements.pushed(HOLD_TO_SCREEN, late))
        self.pays = ActionLatency(lambda late: measurements.pushed(PAY_TO_SELLER, late))
        self._ends: dict[tuple[str, int], float] = {}
        self._pages: dict[Listener, Versions] = {}
        self._sellers: dict[str, Listener] = {}
        self.sold: set[tuple[str, str]] = set()

    def show(self, show_id: UUID) -> Listener:
        """Open the page of a show: subscribe, and start from the state that is known."""
        page: Versions = {}

        def on_message(event: str, channel: str, message: PushMessage, at: float) -> None:
            if message.ticket is not None and channel != "shows":
                page[message.ticket.id] = message.ticket.version
                self._ticket(event, message.ticket, at)

        listener = Listener(self._url, ["shows", f"show-{show_id}"], on_message, self.deliveries)
        if listener.wait():
            # Changes before the subscription come from the state, not from messages.
            for ticket_id, version in self._market.versions(show_id).items():
                page.setdefault(ticket_id, version)
            self._pages[listener] = page
        return listener

    def sales(self, seller_id: str, authorize: Authorize) -> Listener:
        """Subscribe to the private channel of a seller."""

        def on_message(event: str, _channel: str, message: PushMessage, _at: float) -> None:
            if event == "sale.sold" and message.sale is not None:
                self.sold.add((message.sale.order_id, message.sale.ticket.id))
                self.pays.arrived(message.sale.order_id)

        listener = Listener(
            self._url, [f"private-user-{seller_id}"], on_message, self.deliveries, authorize
        )
        if listener.wait():
            self._sellers[seller_id] = listener
        return listener

    @property
    def clock_error_seconds(self) -> float:
        return min((listener.clock[1] for listener in self._listeners()), default=float("inf"))

    def set_clock(self) -> None:
        known = [listener.clock for listener in self._listeners()]
        self._market.clock_offset = min(known, key=lambda clock: clock[1])[0] if known else 0.0

    def behind(self, fresh: Versions) -> int:
        """Count stale tickets on pages that were never disconnected."""
        return sum(
            page.get(ticket_id, version) < version
            for listener, page in self._pages.items()
            if listener.steady
            for ticket_id, version in fresh.items()
            if ticket_id in page
        )

    def missing_sales(self, sales: dict[tuple[str, str], str]) -> int:
        """Count sales without a message, of sellers that were never disconnected."""
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
        before = self._market.apply(ticket)
        now = at + self._market.clock_offset
        if event in {"ticket.held", "ticket.extended"} and ticket.changed_at is not None:
            self._measurements.pushed(PUSH, (now - ticket.changed_at) * 1000)
        if event == "ticket.held":
            self.holds.arrived(change_of(ticket.id, ticket.held_until))
        if event == "ticket.released":
            self._released(ticket, before.held_until if before else None, now)

    def _released(self, ticket: Ticket, held_until: float | None, now: float) -> None:
        """Measure the lateness of a release.

        The first page finds the hold's end in the market state, the others in `_ends`.
        """
        change = (ticket.id, ticket.version)
        if held_until is not None:
            self._ends.setdefault(change, held_until)
        due = self._ends.get(change)
        # Released before its end, the hold was cancelled, which has no lateness.
        if due is not None and now >= due:
            self._measurements.pushed(END_TO_SCREEN, (now - due) * 1000)


def change_of(ticket_id: str, held_until: datetime | None) -> tuple[str, float]:
    """Return a key that distinguishes one hold of a ticket from the next."""
    return ticket_id, held_until.timestamp() if held_until else time.time()
