"""What the shop has, in plain Python: tickets, orders, payments, refunds.

A version grows by one with each change, so that a change made twice shows as much as one not made.
"""

from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

FEE_PERCENT = 5
# Small, so that a search gets there.
MAX_TICKETS_PER_ORDER = 3
MAX_OPEN_ORDERS = 2

UNPAID = frozenset({"pending", "awaiting_payment"})
ENDED = frozenset({"cancelled", "expired"})
PAID = frozenset({"completed", "refund_pending", "refunded"})
OPEN_ATTEMPT = frozenset({"started", "requires_action", "authorised"})
OPEN_REFUND = frozenset({"requested", "pending"})
# Money that Stripe has sent, or will.
GIVEN = frozenset({"pending", "succeeded"})


class Refusal(NamedTuple):
    """What a refusal is told apart by."""

    status: int
    code: str


NO_ORDER = Refusal(404, "order_not_found")
EXPIRED = Refusal(409, "order_expired")
IN_PROGRESS = Refusal(409, "payment_in_progress")


@dataclass(eq=False)
class Ticket:
    """`order` has it while it is held, reserved or sold."""

    id: str
    show_id: str
    seller: str
    price: int
    currency: str
    status: str = "available"
    order: "Order | None" = field(default=None, repr=False)
    version: int = 1

    @property
    def is_free(self) -> bool:
        return self.status == "available" or self._is_overdue

    @property
    def shown_status(self) -> str:
        return "available" if self._is_overdue else self.status

    def move(self, status: str, order: "Order | None") -> None:
        self.status, self.order = status, order
        self.version += 1

    @property
    def _is_overdue(self) -> bool:
        return self.status == "held" and self.order is not None and self.order.lapsed


@dataclass(eq=False)
class Attempt:
    status: str = "started"


class Answer(NamedTuple):
    """Stripe's to a request for a refund: what it made, if it did, or why not."""

    returned: "Return | None"
    status: str


@dataclass(eq=False)
class Return:
    """A refund as Stripe has it, of all the money. `asked_by`: ours, or none when it was made by hand."""

    asked_by: "Refund | None"
    status: str


@dataclass(eq=False)
class Refund:
    """A refund as the shop has it. `at_stripe`: the one that the shop knows of there."""

    relist: bool
    status: str = "requested"
    at_stripe: Return | None = None
    answer: Answer | None = None

    def move(self, status: str, at_stripe: Return | None) -> None:
        self.status = status
        self.at_stripe = at_stripe or self.at_stripe


@dataclass(eq=False)
class Order:
    """`lapsed`: its time is up. `intent` is the status of its PaymentIntent at Stripe, `card` what it was confirmed with.

    `refunds` are the shop's, `returns` Stripe's. `ends` counts how often it ended unpaid with a payment begun: a late payment may still win an order that expired.
    """

    id: str
    buyer: str
    prices: dict[Ticket, int]
    currency: str
    status: str = "pending"
    lapsed: bool = False
    version: int = 1
    winner: Attempt | None = None
    attempts: list[Attempt] = field(default_factory=list)
    intent: str | None = None
    card: str | None = None
    refunds: list[Refund] = field(default_factory=list)
    returns: list[Return] = field(default_factory=list)
    is_in_refund_window: bool = True
    ends: int = 0

    @property
    def subtotal(self) -> int:
        return sum(self.prices.values())

    @property
    def fee(self) -> int:
        exact = Decimal(self.subtotal * FEE_PERCENT) / 100
        return int(exact.quantize(Decimal(1), ROUND_HALF_UP))

    @property
    def total(self) -> int:
        return self.subtotal + self.fee

    @property
    def shown_status(self) -> str:
        return "expired" if self.is_overdue else self.status

    @property
    def is_overdue(self) -> bool:
        return self.lapsed and self.status in UNPAID

    @property
    def is_open(self) -> bool:
        return self.status in UNPAID and not self.lapsed

    @property
    def attempt(self) -> Attempt | None:
        """The one that the intent is about: the open one, else the newest."""
        still_open = [attempt for attempt in self.attempts if attempt.status in OPEN_ATTEMPT]
        return next(reversed(still_open or self.attempts), None)

    @property
    def received(self) -> int:
        """What Stripe has taken for it."""
        return self.total if self.intent == "succeeded" else 0

    @property
    def capturable(self) -> int:
        return self.total if self.intent == "requires_capture" else 0

    @property
    def is_captured(self) -> bool:
        return any(attempt.status in {"captured", "refunded"} for attempt in self.attempts)

    @property
    def returned_by(self) -> Return | None:
        """What took the money back, or is about to: at most one, of all of it."""
        return next((each for each in self.returns if each.status in GIVEN), None)

    def returned(self, status: str) -> int:
        return self.total * sum(each.status == status for each in self.returns)

    @property
    def open_refund(self) -> Refund | None:
        return next((refund for refund in self.refunds if refund.status in OPEN_REFUND), None)

    @property
    def is_owed(self) -> bool:
        """Refunded, and then the bank sent the money back to the shop."""
        return self.status == "refunded" and self.refunds[-1].status == "failed"

    @property
    def is_returned_unnoticed(self) -> bool:
        """The money went back, and no refund of the shop's knows of it."""
        unasked = not self.refunds or self.refunds[-1].status == "failed"
        return self.is_captured and unasked and self.returned_by is not None

    @property
    def is_failed_unnoticed(self) -> bool:
        """The bank sent the money back to the shop, which thinks that it is with the buyer."""
        succeeded = bool(self.refunds) and self.refunds[-1].status == "succeeded"
        return succeeded and self.returned_by is None

    def move(self, status: str) -> None:
        self.status = status
        self.version += 1
        self.ends += status in ENDED and bool(self.attempts)

    def tickets_in(self, status: str) -> list[Ticket]:
        return [
            ticket for ticket in self.prices if ticket.order is self and ticket.status == status
        ]


class Counts(NamedTuple):
    """A show's, as a page of many shows tells them."""

    available: int
    held: int
    sold: int
    from_price: int | None
    version: int


def where(reasons: dict[Refusal, bool]) -> set[Refusal]:
    return {refusal for refusal, holds in reasons.items() if holds}
