"""The shop's rules in plain Python, without database, network, clock or concurrency.

For each request, `against_…` returns every reason to refuse it. The reply must be a success when
there is none, else one of them. The method beside it applies the effect of a success.
"""

from collections.abc import Iterable, Sequence

from tests.search import refunds
from tests.search.entities import (
    EXPIRED,
    IN_PROGRESS,
    MAX_OPEN_ORDERS,
    MAX_TICKETS_PER_ORDER,
    NO_ORDER,
    OPEN_ATTEMPT,
    PAID,
    UNPAID,
    Attempt,
    Counts,
    Order,
    Refund,
    Refusal,
    Ticket,
    where,
)


class Model:
    def __init__(self) -> None:
        self.tickets: list[Ticket] = []
        self.orders: list[Order] = []

    # Sellers.

    def list_ticket(self, ticket: Ticket) -> None:
        self.tickets.append(ticket)

    def against_change(self, seller: str, ticket: Ticket, if_match: int | None) -> set[Refusal]:
        """The reasons to refuse an edit or a withdrawal."""
        return where(
            {
                Refusal(403, "not_your_ticket"): ticket.seller != seller,
                Refusal(409, "ticket_withdrawn"): ticket.status == "withdrawn",
                Refusal(409, "ticket_taken"): not ticket.is_free and ticket.status != "withdrawn",
                Refusal(412, "version_mismatch"): if_match not in {None, ticket.version},
            }
        )

    def edit(self, ticket: Ticket, *, price: int, currency: str) -> None:
        """An overdue hold stays on the ticket: it names the order that a takeover has to expire."""
        ticket.price, ticket.currency = price, currency
        ticket.version += 1

    def withdraw(self, ticket: Ticket) -> None:
        ticket.move("withdrawn", None)

    # Buyers.

    def against_order(self, buyer: str, tickets: Sequence[Ticket]) -> set[Refusal]:
        return where(
            {
                Refusal(422, "duplicate_ticket"): len(set(tickets)) < len(tickets),
                Refusal(422, "too_many_tickets"): len(tickets) > MAX_TICKETS_PER_ORDER,
                Refusal(409, "own_ticket"): any(ticket.seller == buyer for ticket in tickets),
                Refusal(409, "ticket_unavailable"): not all(ticket.is_free for ticket in tickets),
                Refusal(422, "mixed_currency"): len({ticket.currency for ticket in tickets}) > 1,
                Refusal(409, "too_many_open_orders"): self._open_orders(buyer) >= MAX_OPEN_ORDERS,
            }
        )

    def place(self, order_id: str, buyer: str, tickets: Sequence[Ticket]) -> Order:
        order = Order(
            order_id,
            buyer,
            {ticket: ticket.price for ticket in tickets},
            currency=tickets[0].currency,
        )
        displaced = {ticket.order for ticket in tickets if ticket.order is not None}
        for ticket in tickets:
            ticket.move("held", order)
        for other in displaced:
            self._close(other, "expired")
        self.orders.append(order)
        return order

    def against_cancel(self, buyer: str, order: Order) -> set[Refusal]:
        if order.buyer != buyer:
            return {NO_ORDER}
        return where({Refusal(409, "order_not_cancellable"): not order.is_open})

    def cancel(self, order: Order) -> None:
        self._close(order, "cancelled")

    # Time.

    def make_overdue(self, order: Order) -> None:
        order.hold_ended = True

    def expire_due(self) -> None:
        for order in self.orders:
            if order.is_overdue:
                self._close(order, "expired")

    # Money. A payment goes through `begin`, `confirm`, `settle`, `capture` and `finish`, or ends in
    # `void`. Other requests may come between any two of them.

    def against_payment(self, buyer: str, order: Order) -> set[Refusal]:
        if order.buyer != buyer:
            return {NO_ORDER}
        return where(
            {
                Refusal(409, "order_already_paid"): order.status in PAID,
                Refusal(409, "order_cancelled"): order.status == "cancelled",
                EXPIRED: order.shown_status == "expired",
                IN_PROGRESS: order.status == "confirmed"
                or (
                    order.status in UNPAID
                    and order.attempt is not None
                    and order.attempt.status in OPEN_ATTEMPT
                ),
            }
        )

    def begin(self, order: Order) -> Attempt:
        """Begin an attempt, which extends the hold once."""
        if order.status == "pending":
            for ticket in order.tickets_in("held"):
                ticket.version += 1
        order.move("awaiting_payment")
        attempt = Attempt()
        order.attempts.append(attempt)
        return attempt

    def settle(self, order: Order, attempt: Attempt) -> bool:
        """Whether this authorised payment wins the order: each ticket is still free or held by the
        order, at its old price.
        """
        attempt.status = "authorised"
        if order.winner is attempt:
            return True
        if order.status not in {"awaiting_payment", "expired"}:
            return False
        if not all(_is_due_to(order, ticket) for ticket in order.prices):
            return False
        for ticket in order.prices:
            ticket.move("reserved", order)
        order.winner = attempt
        order.move("confirmed")
        return True

    def finish(self, order: Order, attempt: Attempt) -> None:
        attempt.status = "captured"
        if order.status == "confirmed":
            for ticket in order.tickets_in("reserved"):
                ticket.move("sold", order)
            order.move("completed")

    def void(self, order: Order, attempt: Attempt) -> None:
        """Cancel an order that a payment had won, and release its tickets."""
        order.intent = "canceled"
        if order.status == "confirmed" and order.winner is attempt:
            for ticket in order.tickets_in("reserved"):
                ticket.move("available", None)
            order.move("cancelled")
        if attempt.status in OPEN_ATTEMPT:
            attempt.status = "voided"

    def resume(self, order: Order, *, abandoned: bool = False) -> None:
        """Read the intent and continue from its status. `abandoned`: no process handles it."""
        attempt = order.attempt
        if attempt is None or attempt.status not in OPEN_ATTEMPT:
            return
        match order.intent:
            case "requires_capture" | "succeeded":
                if self.settle(order, attempt):
                    order.intent = "succeeded"
                    self.finish(order, attempt)
                else:
                    assert order.intent == "requires_capture", "captured before the order was won"
                    self.void(order, attempt)
            case "canceled":
                self.void(order, attempt)
            case "requires_action" if attempt.status == "started":
                attempt.status = "requires_action"
            case "requires_action" if abandoned:
                self.void(order, attempt)
            case "requires_payment_method" if attempt.status == "requires_action" or abandoned:
                attempt.status = "failed"

    def handle_webhook(self, order: Order, *, of_refund: bool) -> None:
        """Handle a webhook of the order's intent: its content is read again from Stripe."""
        if not order.is_captured:
            self.resume(order)
        else:
            for refund in order.live_refunds:
                refunds.resume(order, refund)
        if of_refund:
            refunds.adopt(order)

    def abandon(self, order: Order) -> None:
        """Cancel the intent of an order that ended unpaid, unless a payment is in progress."""
        attempt = order.attempt
        if attempt is not None and order.intent and attempt.status in {"requires_action", "failed"}:
            self.void(order, attempt)

    # Reads.

    def counts(self, show_id: str) -> Counts:
        tickets = [ticket for ticket in self.tickets if ticket.show_id == show_id]
        shown = [ticket.shown_status for ticket in tickets]
        free: dict[str, list[int]] = {}
        for ticket in tickets:
            if ticket.is_free:
                free.setdefault(ticket.currency, []).append(ticket.price)
        # The most frequent currency; of equals, the first by its code.
        prices = min(free.items(), key=lambda item: (-len(item[1]), item[0]))[1] if free else []
        return Counts(
            available=shown.count("available"),
            held=shown.count("held") + shown.count("reserved"),
            sold=shown.count("sold"),
            from_price=min(prices, default=None),
            version=1 + sum(ticket.version for ticket in tickets),
        )

    def order(self, order_id: str) -> Order:
        return next(order for order in self.orders if order.id == order_id)

    def unresolved(self) -> list[Order]:
        """Orders with an unfinished payment."""
        return [
            order
            for order in self.orders
            if order.attempt is not None and order.attempt.status in OPEN_ATTEMPT
        ]

    def refunding(self) -> list[tuple[Order, Refund]]:
        return [(order, refund) for order in self.orders for refund in order.open_refunds]

    def _open_orders(self, buyer: str) -> int:
        return sum(order.buyer == buyer and order.is_open for order in self.orders)

    def _close(self, order: Order, status: str) -> None:
        for ticket in order.tickets_in("held"):
            ticket.move("available", None)
        order.move(status)


def _is_due_to(order: Order, ticket: Ticket) -> bool:
    has_it = ticket.status == "available" or (ticket.status == "held" and ticket.order is order)
    return has_it and ticket.price == order.prices[ticket] and ticket.currency == order.currency


def winners_first(orders: Iterable[Order], winners: set[str]) -> list[Order]:
    """Sort winners first: two late payments for one ticket may settle in either order."""
    return sorted(orders, key=lambda order: order.id not in winners)
