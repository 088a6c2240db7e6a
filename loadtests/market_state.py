"""The newest state of every ticket, as a page has it: read once, then updated by push messages.

Each real browser has its own socket. 2,000 sockets in one process would measure the generator, so
all buyers share one state, which the shoppers' sockets update.
"""

import random
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from loadtests.push_message import Ticket


@dataclass
class TicketState:
    id: str
    show_id: UUID
    status: str
    version: int
    # In seconds since the epoch, by the server's clock.
    held_until: float | None = None


class MarketState:
    def __init__(self) -> None:
        self._tickets: dict[str, TicketState] = {}
        # Grouped by show, so that reading one show iterates over its tickets only.
        self._shows: dict[UUID, dict[str, TicketState]] = {}
        self.clock_offset = 0.0

    @property
    def shows(self) -> list[UUID]:
        return list(self._shows)

    def add(self, tickets: Iterable[dict[str, Any]]) -> None:
        """Add new tickets from a response of the API."""
        for ticket in tickets:
            self._put(
                TicketState(
                    ticket["id"], UUID(ticket["show_id"]), ticket["status"], ticket["version"]
                )
            )

    def apply(self, ticket: Ticket) -> TicketState | None:
        """Apply a message's ticket. Returns the older state; None for a stale or an unknown one."""
        known = self._tickets.get(ticket.id)
        if known is not None and known.version >= ticket.version:
            return None
        until = ticket.held_until.timestamp() if ticket.held_until else None
        self._put(TicketState(ticket.id, ticket.show_id, ticket.status, ticket.version, until))
        return known

    def free(self, show_id: UUID) -> list[str]:
        """The ids of the tickets that a page shows as free: an expired hold counts as ended."""
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

    def sample_free(self, show_id: UUID, most: int) -> list[str]:
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

    def _put(self, ticket: TicketState) -> None:
        self._tickets[ticket.id] = ticket
        self._shows.setdefault(ticket.show_id, {})[ticket.id] = ticket
