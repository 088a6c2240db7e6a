"""The entities of the model in plain Python: tickets, orders, payments, refunds.

Each change increments a version, so that a repeated change shows in a comparison as a missing one
does.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

FEE_PERCENT = 5
# Small, so that a search reaches them.
MAX_TICKETS_PER_ORDER = 3
MAX_OPEN_ORDERS = 2

UNPAID = frozenset({"pending", "awaiting_payment"})
ENDED = frozenset({"cancelled", "expired"})
PAID = frozenset({"completed", "refund_pending", "refunded"})
OPEN_ATTEMPT = frozenset({"started", "requires_action", "authorised"})
OPEN_REFUND = frozenset({"requested", "pending"})
# Statuses of money that Stripe has returned or will return.
GIVEN = frozenset({"pending", "succeeded"})


class Refusal(NamedTuple):
    """The status and code that identify a refusal."""

    status: int
    code: str


NO_ORDER = Refusal(404, "order_not_found")
EXPIRED = Refusal(409, "order_expired")
IN_PROGRESS = Refusal(409, "payment_in_progress")


@dataclass(eq=False)
class Ticket:
    """`order` is set while the ticket is held, reserved or sold. `price_cap` is the price of a sale
    that the seller refunded.
    """

    id: str
    show_id: str
    seller: str
    price: int
    currency: str
    status: str = "available"
    order: "Order | None" = field(default=None, repr=False)
    version: int = 1
    price_cap: int | None = None

    def refuses(self, price: int, currency: str) -> bool:
        if self.price_cap is None:
            return False
        return price > self.price_cap or currency != self.currency

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
        return self.status == "held" and self.order is not None and self.order.hold_ended


@dataclass(eq=False)
class Attempt:
    status: str = "started"


class Answer(NamedTuple):
    """Stripe's reply to a refund request: the refund, or the reason why there is none."""

    returned: "Return | None"
    status: str


@dataclass(eq=False)
class Return:
    """A refund at Stripe. `asked_by` is the shop's refund, or None for one made by hand."""

    asked_by: "Refund | None"
    amount: int
    status: str


@dataclass(eq=False)
class Refund:
    """A refund of lines in the shop. `at_stripe` is the refund at Stripe that the shop knows."""

    relist: bool
    tickets: list[Ticket]
    amount: int
    by_seller: bool
    status: str = "requested"
    at_stripe: Return | None = None
    answer: Answer | None = None

    def move(self, status: str, at_stripe: Return | None) -> None:
        self.status = status
        self.at_stripe = at_stripe or self.at_stripe


@dataclass(eq=False)
class Order:
    """`hold_ended` means that its hold has run out. `intent` is the status of its PaymentIntent,
    `card` the payment method of the last confirmation.

    `lines` has the status of each line, and `refunded_by` the refund that a line names. `refunds`
    are the shop's, `returns` Stripe's. `ends` counts how often the order ended unpaid
    after a payment had begun, because a late payment may still win an expired order.
    """

    id: str
    buyer: str
    prices: dict[Ticket, int]
    currency: str
    status: str = "pending"
    hold_ended: bool = False
    version: int = 1
    winner: Attempt | None = None
    attempts: list[Attempt] = field(default_factory=list)
    intent: str | None = None
    card: str | None = None
    refunds: list[Refund] = field(default_factory=list)
    returns: list[Return] = field(default_factory=list)
    is_in_refund_window: bool = True
    ends: int = 0
    lines: dict[Ticket, str] = field(init=False)
    refunded_by: dict[Ticket, Refund | None] = field(init=False)

    def __post_init__(self) -> None:
        self.lines = dict.fromkeys(self.prices, "sold")
        self.refunded_by = dict.fromkeys(self.prices)

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
        return self.hold_ended and self.status in UNPAID

    @property
    def is_open(self) -> bool:
        return self.status in UNPAID and not self.hold_ended

    @property
    def attempt(self) -> Attempt | None:
        """The attempt that the intent belongs to: the open one, else the newest."""
        still_open = [attempt for attempt in self.attempts if attempt.status in OPEN_ATTEMPT]
        return next(reversed(still_open or self.attempts), None)

    @property
    def received(self) -> int:
        """The amount that Stripe has captured."""
        return self.total if self.intent == "succeeded" else 0

    @property
    def capturable(self) -> int:
        return self.total if self.intent == "requires_capture" else 0

    @property
    def is_captured(self) -> bool:
        return any(attempt.status in {"captured", "refunded"} for attempt in self.attempts)

    @property
    def unreturned(self) -> int:
        """The captured money that Stripe has not returned and will not return."""
        return self.received - sum(each.amount for each in self.returns if each.status in GIVEN)

    def returned(self, status: str) -> int:
        return sum(each.amount for each in self.returns if each.status == status)

    @property
    def adoptable(self) -> int:
        """The money returned by hand that no refund of the shop stands for."""
        by_hand = {each for each in self.returns if each.asked_by is None and each.status in GIVEN}
        adopted = sum(one.amount for one in self.live_refunds if one.at_stripe in by_hand)
        return sum(each.amount for each in by_hand) - adopted

    @property
    def live_refunds(self) -> list[Refund]:
        return [refund for refund in self.refunds if refund.status != "failed"]

    @property
    def open_refunds(self) -> list[Refund]:
        return [refund for refund in self.refunds if refund.status in OPEN_REFUND]

    def lines_in(self, status: str, tickets: Iterable[Ticket] | None = None) -> list[Ticket]:
        """The tickets whose lines have this status, of these or of all; "owed" is refunded without
        a refund.
        """
        found = []
        for ticket in self.prices if tickets is None else tickets:
            is_owed = self.lines[ticket] == "refunded" and self.refunded_by[ticket] is None
            if status == ("owed" if is_owed else self.lines[ticket]):
                found.append(ticket)
        return found

    @property
    def is_owed(self) -> bool:
        """Whether the bank sent the money of a refunded line back to the shop."""
        return bool(self.lines_in("owed"))

    @property
    def is_returned_unnoticed(self) -> bool:
        """Whether all money was returned and the shop's refunds do not stand for all of it."""
        ours = sum(refund.amount for refund in self.live_refunds)
        return self.is_captured and self.unreturned == 0 and ours < self.total

    @property
    def is_failed_unnoticed(self) -> bool:
        """Whether a return failed at the bank and the shop's refund still counts as succeeded."""
        return any(
            refund.status == "succeeded"
            and refund.at_stripe
            and refund.at_stripe.status == "failed"
            for refund in self.refunds
        )

    def cost(self, tickets: Iterable[Ticket]) -> int:
        """The amount of a refund of these lines: the cumulated fee is rounded at each line."""
        until = before = costs = 0
        for ticket in sorted(self.prices, key=lambda each: each.id):
            before, until = until, until + self.prices[ticket]
            if ticket in tickets:
                costs += self._amount(until) - self._amount(before)
        return costs

    def _amount(self, price: int) -> int:
        exact = Decimal(self.total * price) / self.subtotal
        return int(exact.quantize(Decimal(1), ROUND_HALF_UP))

    def follow_lines(self) -> None:
        statuses = set(self.lines.values())
        self.move(
            "completed"
            if "sold" in statuses
            else "refund_pending"
            if "refund_pending" in statuses
            else "refunded"
        )

    def move(self, status: str) -> None:
        self.status = status
        self.version += 1
        self.ends += status in ENDED and bool(self.attempts)

    def tickets_in(self, status: str) -> list[Ticket]:
        return [
            ticket for ticket in self.prices if ticket.order is self and ticket.status == status
        ]


class Counts(NamedTuple):
    """The ticket counts of a show in the list of shows."""

    available: int
    held: int
    sold: int
    from_price: int | None
    version: int


def where(reasons: dict[Refusal, bool]) -> set[Refusal]:
    return {refusal for refusal, holds in reasons.items() if holds}
