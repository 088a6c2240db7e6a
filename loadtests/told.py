"""What a push message tells, as far as the load test looks at it."""

from datetime import datetime
from uuid import UUID

import msgspec


class Ticket(msgspec.Struct, frozen=True):
    """`seconds_left` was counted when the change was made, by the clock that `held_until` is of."""

    id: str
    show_id: UUID
    status: str
    version: int
    held_until: datetime | None = None
    seconds_left: float | None = None

    @property
    def changed_at(self) -> float | None:
        """When the change was made, by the server's clock, in seconds since the epoch: known while the ticket is held."""
        if self.held_until is None or self.seconds_left is None:
            return None
        return self.held_until.timestamp() - self.seconds_left


class Sale(msgspec.Struct, frozen=True):
    order_id: str
    ticket: Ticket


class Told(msgspec.Struct, frozen=True):
    """`epoch` and `seq` are the message's place in its channel; what has none came from no notifier."""

    epoch: int | None = msgspec.field(default=None, name="_epoch")
    seq: int | None = msgspec.field(default=None, name="_seq")
    ticket: Ticket | None = None
    sale: Sale | None = None


decode = msgspec.json.Decoder(Told).decode
