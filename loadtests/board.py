"""The market as a page shows it: every ticket's newest state, from one reading and from what the sockets tell since.

Each buyer's browser would have a socket of its own for this. 2,000 of them in one process would measure the generator,
so buyers look at one board, which the shoppers' sockets keep.
"""

import random
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from loadtests.told import Ticket


@dataclass
class Shown:
    id: str
    show_id: UUID
    status: str
    version: int
    # By the server's clock, in seconds since the epoch.
    held_until: float | None = None


class Board:
    def __init__(self) -> None:
        self._tickets: dict[str, Shown] = {}
        # Grouped by show, so that a look at one show walks over its tickets only.
        self._shows: dict[UUID, dict[str, Shown]] = {}
        self.clock_offset = 0.0

    @property
    def shows(self) -> list[UUID]:
        return list(self._shows)

    def put_on_sale(self, tickets: Iterable[dict[str, Any]]) -> None:
        """New tickets, as the API answers them."""
        for ticket in tickets:
            self._put(
                Shown(ticket["id"], UUID(ticket["show_id"]), ticket["status"], ticket["version"])
            )

    def tell(self, ticket: Ticket) -> Shown | None:
        """A ticket as a message tells it. Returns what it was before, when that is known and older."""
        known = self._tickets.get(ticket.id)
        if known is not None and known.version >= ticket.version:
            return None
        until = ticket.held_until.timestamp() if ticket.held_until else None
        self._put(Shown(ticket.id, ticket.show_id, ticket.status, ticket.version, until))
        return known

    def free(self, show_id: UUID) -> list[str]:
        """What a shopper would take for free: a hold past its time counts as ended."""
        now = time.time() + self.clock_offset
        return [
            ticket.id
            for ticket in self._shows[show_id].values()
            if ticket.status == "available"
            or (
                ticket.status == "held"
                and ticket.held_until is not None
                and ticket.held_until <= now
            )
        ]

    def pick(self, show_id: UUID, most: int) -> list[str]:
        free = self.free(show_id)
        return random.sample(free, min(len(free), most))

    def versions(self, show_id: UUID) -> dict[str, int]:
        return {ticket.id: ticket.version for ticket in self._shows.get(show_id, {}).values()}

    def count(self, *statuses: str) -> int:
        return sum(ticket.status in statuses for ticket in self._tickets.values())

    def sold_out(self) -> bool:
        return all(ticket.status in ("sold", "withdrawn") for ticket in self._tickets.values())

    def __len__(self) -> int:
        return len(self._tickets)

    def _put(self, ticket: Shown) -> None:
        self._tickets[ticket.id] = ticket
        self._shows.setdefault(ticket.show_id, {})[ticket.id] = ticket
