"""The fields of a push message that the load test reads."""

from datetime import datetime
from uuid import UUID

import msgspec


class Ticket(msgspec.Struct, frozen=True):
    """`seconds_left` was computed at the change, by the same clock as `held_until`."""

    id: str
    show_id: UUID
    status: str
    version: int
    held_until: datetime | None = None
    seconds_left: float | None = None

    @property
    def changed_at(self) -> float | None:
        """The time of the change, by the server's clock, if the ticket is held."""
        if self.held_until is None or self.seconds_left is None:
            return None
        return self.held_until.timestamp() - self.seconds_left


class Sale(msgspec.Struct, frozen=True):
    order_id: str
    ticket: Ticket


class PushMessage(msgspec.Struct, frozen=True):
    """`epoch` and `seq` are its position in the channel; only the notifier's messages have one."""

    epoch: int | None = msgspec.field(default=None, name="_epoch")
    seq: int | None = msgspec.field(default=None, name="_seq")
    ticket: Ticket | None = None
    sale: Sale | None = None


decode = msgspec.json.Decoder(PushMessage).decode
