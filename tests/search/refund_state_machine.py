"""The state machine with refunds by seller, buyer, bank, or by hand in Stripe's dashboard."""

from collections.abc import Sequence
from functools import partial

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from tests.search import refunds
from tests.search.entities import MAX_TICKETS_PER_ORDER, PAID, Order, Ticket
from tests.search.refunds import DISPUTED, FAILS_LATER, WAITS
from tests.search.state_machine import BUYER, NEWEST, PRICES, SELDOM, ShopMachine, newest
from tests.system import Person

CARD = st.sampled_from(["pm_card_visa", *2 * [WAITS, FAILS_LATER], DISPUTED])
RELIST = st.booleans()
# Places of the order's lines; None for all that the person may refund.
LINES = st.none() | st.sets(st.integers(0, MAX_TICKETS_PER_ORDER - 1), min_size=1)
WHO = st.sampled_from(["seller", "seller", "buyer", "stranger"])
# Events that may happen before the refund request to Stripe, and the steps of each.
MEANWHILE = {
    "the reconciler does it": ["reconcile"],
    "the reconciler does it and another buys": ["reconcile", "rival"],
    "the reconciler does it and the bank refuses": ["reconcile", "bank refuses", "webhooks"],
    "the reconciler does it and the bank agrees": ["reconcile", "bank agrees", "webhooks"],
    "webhooks arrive": ["webhooks"],
    "its request is repeated": ["repeat"],
    "its buyer asks too": ["buyer"],
    "its seller asks again": ["seller"],
    "somebody gives it back by hand": ["by hand"],
}


class RefundingShopMachine(ShopMachine):
    @initialize(prices=PRICES, sold_with=st.none() | CARD, relist=st.none() | RELIST)
    def open(self, prices: list[int], sold_with: str | None, relist: bool | None) -> None:
        """Some examples start with a sale, and some of these with its refund."""
        super().open(prices)
        if sold_with is not None:
            self._buy(self.modelled.buyers[0], self.modelled.model.tickets[:2], sold_with)
            if relist is not None:
                (order,) = self.modelled.orders
                self._run(
                    self.modelled.payment_actions.refund(
                        self.modelled.sellers[0], order, relist=relist
                    )
                )

    @precondition(lambda self: self._free())
    @rule(buyer=BUYER, tickets=st.sets(NEWEST, min_size=1, max_size=2), card=CARD)
    def buy(self, buyer: int, tickets: set[int], card: str) -> None:
        """An undisturbed sale, which can be refunded."""
        person, free = self.modelled.buyers[buyer], self._free()
        chosen = list(dict.fromkeys(newest(free, ticket) for ticket in sorted(tickets)))
        self._buy(person, chosen, card)

    @precondition(lambda self: self.modelled.orders)
    @rule(order=NEWEST, who=WHO, relist=RELIST, lines=LINES, unpaid=SELDOM)
    def refund(
        self, order: int, who: str, relist: bool, lines: set[int] | None, unpaid: bool
    ) -> None:
        chosen = newest(
            self.modelled.orders if unpaid else self._paid() or self.modelled.orders, order
        )
        self._run(
            self.modelled.payment_actions.refund(
                self._asking(chosen, who), chosen, relist=relist, tickets=_tickets(chosen, lines)
            )
        )

    @precondition(lambda self: self._refundable())
    @rule(order=NEWEST, relist=RELIST, lines=LINES, fault=st.sampled_from(["before", "after"]))
    def refund_over_a_bad_line(
        self, order: int, relist: bool, lines: set[int] | None, fault: str
    ) -> None:
        chosen = newest(self._refundable(), order)
        self._run(
            self.modelled.payment_actions.refund(
                self._asking(chosen, "seller"),
                chosen,
                relist=relist,
                tickets=_tickets(chosen, lines),
                fault=fault,
            )
        )

    @precondition(lambda self: self._refundable())
    @rule(
        order=NEWEST,
        relist=RELIST,
        lines=LINES,
        meanwhile=st.lists(st.sampled_from(sorted(MEANWHILE)), min_size=1, max_size=2),
    )
    def refund_slowly(
        self, order: int, relist: bool, lines: set[int] | None, meanwhile: list[str]
    ) -> None:
        chosen = newest(self._refundable(), order)
        seller, tickets = self._asking(chosen, "seller"), _tickets(chosen, lines)
        happens = partial(self._happens_to_refund, chosen, seller, relist, tickets, meanwhile)
        self._run(
            self.modelled.payment_actions.refund(
                seller, chosen, relist=relist, tickets=tickets, meanwhile=happens
            )
        )

    @precondition(lambda self: self._at_the_bank(succeed=True))
    @rule(order=NEWEST)
    def bank_agrees(self, order: int) -> None:
        self._run(
            self.modelled.payment_actions.settle_refund(
                newest(self._at_the_bank(succeed=True), order), succeed=True
            )
        )

    @precondition(lambda self: self._at_the_bank(succeed=False))
    @rule(order=NEWEST)
    def bank_refuses(self, order: int) -> None:
        chosen = newest(self._at_the_bank(succeed=False), order)
        self._run(self.modelled.payment_actions.settle_refund(chosen, succeed=False))

    @precondition(lambda self: self._returnable())
    @rule(order=NEWEST)
    def refund_by_hand(self, order: int) -> None:
        self._run(self.modelled.payment_actions.refund_by_hand(newest(self._returnable(), order)))

    @precondition(lambda self: self._refundable())
    @rule(order=NEWEST)
    def refund_window_ends(self, order: int) -> None:
        self._run(self.modelled.clock.refund_window_ends(newest(self._refundable(), order)))

    @precondition(lambda self: self.modelled.model.refunding())
    @rule()
    def reconcile_refunds(self) -> None:
        self._run(self.modelled.messages.reconcile_refunds())

    def _buy(self, buyer: Person, tickets: Sequence[Ticket], card: str) -> None:
        for order in self._run(self.modelled.market_actions.place(buyer, tickets)):
            self._run(self.modelled.payment_actions.pay(buyer, order, card))

    async def _happens_to_refund(
        self,
        order: Order,
        seller: Person,
        relist: bool,
        tickets: Sequence[Ticket] | None,
        meanwhile: list[str],
        key: str,
    ) -> None:
        for what in meanwhile:
            for event in MEANWHILE[what]:
                await self._happen_to_refund(order, event)
                if event == "repeat":
                    await self.modelled.payment_actions.refund_in_flight(
                        seller, order, relist=relist, tickets=tickets, key=key
                    )

    async def _happen_to_refund(self, order: Order, event: str) -> None:
        modelled = self.modelled
        rival = next(person for person in modelled.buyers if person.name != order.buyer)
        match event:
            case "reconcile":
                await modelled.messages.reconcile_refunds()
            case "rival":
                await modelled.market_actions.place(
                    rival, list(order.prices)[:MAX_TICKETS_PER_ORDER]
                )
            case "webhooks":
                await modelled.messages.deliver_webhooks([0, 1, 0])
                await modelled.messages.run_all_jobs()
            case "buyer" | "seller":
                await modelled.payment_actions.refund(
                    self._asking(order, event), order, relist=False
                )
            case "by hand" if order in self._returnable():
                await modelled.payment_actions.refund_by_hand(order)
            case "bank agrees" if order in self._at_the_bank(succeed=True):
                await modelled.payment_actions.settle_refund(order, succeed=True)
            case "bank refuses" if order in self._at_the_bank(succeed=False):
                await modelled.payment_actions.settle_refund(order, succeed=False)

    def _asking(self, order: Order, who: str) -> Person:
        sellers = {ticket.seller for ticket in order.prices}
        names = {"seller": sellers, "buyer": {order.buyer}}
        names["stranger"] = (
            {person.name for person in self.modelled.people} - sellers - {order.buyer}
        )
        return next(person for person in self.modelled.people if person.name in names[who])

    def _free(self) -> list[Ticket]:
        return [ticket for ticket in self.modelled.model.tickets if ticket.is_free]

    def _paid(self) -> list[Order]:
        return [order for order in self.modelled.orders if order.status in PAID]

    def _refundable(self) -> list[Order]:
        return [
            order for order in self.modelled.orders if order.status == "completed" or order.is_owed
        ]

    def _at_the_bank(self, *, succeed: bool) -> list[Order]:
        return [
            order for order in self.modelled.orders if refunds.settleable(order, succeed=succeed)
        ]

    def _returnable(self) -> list[Order]:
        """Orders that could be refunded by hand at Stripe."""
        return [
            order
            for order in self.modelled.orders
            if order.intent == "succeeded" and order.card != DISPUTED and order.unreturned
        ]


def _tickets(order: Order, places: set[int] | None) -> list[Ticket] | None:
    """The tickets at these places of the order, or None for all that the person may refund."""
    if places is None:
        return None
    tickets = list(order.prices)
    return list(dict.fromkeys(tickets[place % len(tickets)] for place in sorted(places)))
