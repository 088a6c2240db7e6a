"""The refusals of the database's rules about tickets: which fields of the request break them."""

from collections.abc import Sequence
from typing import NamedTuple

import asyncpg
import msgspec

from backend.kernel import money
from backend.kernel.decoding import decode_json
from backend.kernel.problems import FieldError
from backend.tickets.errors import PriceAboveRefunded, SeatTaken
from backend.tickets.model import TicketSpec

# The index that allows one ticket for each seat of a show.
ONE_PER_SEAT = "tickets_one_per_seat"
# The rule of `tickets.check_price_cap`.
PRICE_CAPPED = "price_at_most_the_refunded"
# The taken seats that a refusal names.
MAX_NAMED_SEATS = 20


class Seat(NamedTuple):
    section: str | None
    row: str | None
    seat: str | None


class PriceCap(msgspec.Struct, frozen=True):
    """The detail of the error that `tickets.refuse_price` raises. `seat` has section, row and seat
    as they are compared; each is None for the cap of a ticket.
    """

    maximum: int
    currency: str
    seat: tuple[str | None, str | None, str | None]

    def refuses(self, spec: TicketSpec) -> bool:
        parts = tuple((part or "").strip().lower() for part in (spec.section, spec.row, spec.seat))
        return parts == self.seat


def seat_taken(taken: Sequence[tuple[Seat | TicketSpec, str]]) -> SeatTaken:
    """The refusal of seats, each with the path of its ticket."""
    names = [_seat_name(seat) for seat, _ in taken]
    detail = f"{names[0]} is listed in this show already: choose another seat"
    if len(names) > 1:
        detail = f"{len(names)} of these seats are listed in this show already, first {names[0]}"
    errors = [
        FieldError(f"{path}seat", f"must be free: {name} is listed in this show already")
        for name, (_, path) in zip(names, taken, strict=True)
    ]
    return SeatTaken(detail, errors=errors[:MAX_NAMED_SEATS], taken=len(taken))


def price_refused(
    error: asyncpg.CheckViolationError, specs: Sequence[TicketSpec], paths: Sequence[str]
) -> PriceAboveRefunded:
    """The refusal of a capped price, with the path of its ticket. Raises other violations again."""
    if error.constraint_name != PRICE_CAPPED:
        raise error
    assert error.detail
    cap = decode_json(error.detail.encode(), PriceCap)
    pairs = zip(specs, paths, strict=True)
    field = next((path for spec, path in pairs if cap.refuses(spec)), "") + "price"
    message = f"must be at most {money.show(cap.maximum, cap.currency)}: you refunded its sale"
    return PriceAboveRefunded(
        f"{field} {message}",
        errors=[FieldError(field, message, maximum=cap.maximum)],
        currency=cap.currency,
    )


def _seat_name(seat: Seat | TicketSpec) -> str:
    parts = (seat.section, seat.row and f"row {seat.row}", seat.seat and f"seat {seat.seat}")
    return ", ".join(part for part in parts if part)
