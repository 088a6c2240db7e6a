"""The state machine: Hypothesis generates requests, passing time and messages in any order.

Hypothesis is synchronous and the system is not: the machine runs in a thread of its own, and each
rule runs to its end in the event loop of the system.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.search.entities import ENDED, MAX_TICKETS_PER_ORDER, PAID, Order, Ticket
from tests.search.modelled_system import BUYERS, SELLERS, ModelledSystem
from tests.search.paying import CALLS, REFUSED_METHODS, Fault
from tests.search.refunds import DISPUTED, FAILS_LATER, WAITS
from tests.search.requests import Sent
from tests.search.running_system import RunningSystem
from tests.system import Person

T = TypeVar("T")

STEP_SECONDS = 30
# Few of each, so that a search meets the same ones again. 0 is the newest.
NEWEST = st.integers(0, 4)
SELLER = st.integers(0, SELLERS - 1)
BUYER = st.integers(0, BUYERS - 1)
# The fees of these prices have fractions of a minor unit, halves included.
PRICE = st.sampled_from([4510, 1999, 110, 130, 100])
PRICES = st.lists(PRICE, min_size=2, max_size=4)
CURRENCY = st.sampled_from(["EUR", "EUR", "EUR", "JPY"])
METHOD = st.sampled_from(
    [
        *2 * ["pm_card_visa", "pm_card_authenticationRequired"],
        *REFUSED_METHODS,
        WAITS,
        FAILS_LATER,
        DISPUTED,
    ]
)
BEHIND = st.sampled_from([None, 0, 1])
SELDOM = st.integers(0, 5).map(lambda number: number == 5)
AGAIN = st.booleans()
# Events that may happen during a call to Stripe, and the steps of each.
MEANWHILE = {
    "its time is up": ["overdue"],
    "it expires": ["overdue", "expire"],
    "another takes it over": ["overdue", "rival"],
    "it expires and its jobs run": ["overdue", "expire", "jobs"],
    "another would like it": ["rival"],
    "its seller edits it at last": ["overdue", "edit"],
    "its seller withdraws it at last": ["overdue", "withdraw"],
    "its seller tries to edit it": ["edit"],
    "its buyer cancels": ["cancel"],
    "its buyer pays again": ["pay"],
    "webhooks arrive": ["webhooks", "jobs"],
    "its authorisation expires": ["authorisation expires", "webhooks", "jobs"],
}
FAULT = st.builds(Fault, st.sampled_from(sorted(CALLS)), st.sampled_from(["before", "after"]))


class ShopMachine(RuleBasedStateMachine):
    """Each rule applies one action to the system and to the model; then both must be equal."""

    def __init__(self, running: RunningSystem, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._running = running
        self._loop = loop
        self._failed = False
        self.modelled = self._run(_made(running))

    @initialize(prices=PRICES)
    def open(self, prices: list[int]) -> None:
        self._run(self.modelled.messages.open())
        show_id = self._run(self.modelled.market_actions.create_show(self.modelled.sellers[0]))
        self._run(
            self.modelled.market_actions.list_tickets(
                self.modelled.sellers[0], show_id, prices, "EUR"
            )
        )

    # Sellers.

    @precondition(lambda self: len(self.modelled.market_actions.shows) < 2)
    @rule(seller=SELLER)
    def create_show(self, seller: int) -> None:
        self._run(self.modelled.market_actions.create_show(self.modelled.sellers[seller]))

    @precondition(lambda self: len(self.modelled.model.tickets) < 10)
    @rule(
        seller=SELLER,
        show=NEWEST,
        prices=st.lists(PRICE, min_size=1, max_size=3),
        currency=CURRENCY,
    )
    def list_tickets(self, seller: int, show: int, prices: list[int], currency: str) -> None:
        show_id = newest(self.modelled.market_actions.shows, show)
        self._run(
            self.modelled.market_actions.list_tickets(
                self.modelled.sellers[seller], show_id, prices, currency
            )
        )

    @rule(ticket=NEWEST, price=PRICE, currency=CURRENCY, behind=BEHIND, by_another=SELDOM)
    def edit(
        self, ticket: int, price: int, currency: str, behind: int | None, by_another: bool
    ) -> None:
        chosen = self._ticket(ticket)
        self._run(
            self.modelled.market_actions.edit(
                self._seller(chosen, by_another), chosen, price, currency, behind
            )
        )

    @precondition(lambda self: len(self._on_sale()) > 2)
    @rule(ticket=NEWEST, behind=BEHIND, by_another=SELDOM)
    def withdraw(self, ticket: int, behind: int | None, by_another: bool) -> None:
        chosen = self._ticket(ticket)
        self._run(
            self.modelled.market_actions.withdraw(self._seller(chosen, by_another), chosen, behind)
        )

    # Buyers.

    @rule(buyer=BUYER, tickets=st.lists(NEWEST, min_size=1, max_size=MAX_TICKETS_PER_ORDER + 1))
    def order(self, buyer: int, tickets: list[int]) -> None:
        chosen = [self._ticket(ticket) for ticket in tickets]
        self._run(self.modelled.market_actions.place(self.modelled.buyers[buyer], chosen))

    @rule(seller=SELLER, ticket=NEWEST)
    def order_as_a_seller(self, seller: int, ticket: int) -> None:
        self._run(
            self.modelled.market_actions.place(
                self.modelled.sellers[seller], [self._ticket(ticket)]
            )
        )

    @precondition(lambda self: self._overdue())
    @rule(order=NEWEST, buyer=BUYER)
    def take_over(self, order: int, buyer: int) -> None:
        """A buyer orders the tickets of an overdue order."""
        tickets = list(newest(self._overdue(), order).prices)
        self._run(self.modelled.market_actions.place(self.modelled.buyers[buyer], tickets))

    @precondition(lambda self: self.modelled.orders)
    @rule(order=NEWEST, by_another=SELDOM)
    def cancel(self, order: int, by_another: bool) -> None:
        chosen = self._order(order)
        self._run(self.modelled.market_actions.cancel(self._buyer(chosen, by_another), chosen))

    @precondition(lambda self: self.modelled.orders)
    @rule(order=NEWEST, method=METHOD, by_another=SELDOM)
    def pay(self, order: int, method: str, by_another: bool) -> None:
        chosen = self._order(order)
        self._run(
            self.modelled.payment_actions.pay(self._buyer(chosen, by_another), chosen, method)
        )

    @precondition(lambda self: self.modelled.orders)
    @rule(order=NEWEST, method=METHOD, fault=FAULT)
    def pay_over_a_bad_line(self, order: int, method: str, fault: Fault) -> None:
        chosen = self._order(order)
        self._run(
            self.modelled.payment_actions.pay(self._buyer(chosen), chosen, method, fault=fault)
        )

    @precondition(lambda self: self.modelled.orders)
    @rule(
        order=NEWEST,
        method=METHOD,
        before=st.sampled_from(["confirm", "capture"]),
        meanwhile=st.lists(st.sampled_from(sorted(MEANWHILE)), min_size=1, max_size=2),
        fault=st.none() | FAULT,
    )  # fmt: skip
    def pay_slowly(
        self, order: int, method: str, before: str, meanwhile: list[str], fault: Fault | None
    ) -> None:
        """Other events happen before a call to Stripe, which may then give no reply."""
        chosen = self._order(order)
        happens = partial(self._happens, chosen, meanwhile)
        self._run(
            self.modelled.payment_actions.pay(
                self._buyer(chosen), chosen, method, pause=before, meanwhile=happens, fault=fault
            )
        )

    @precondition(lambda self: self._with_intent("requires_action"))
    @rule(order=NEWEST, succeed=st.sampled_from([True, True, False]))
    def authenticate(self, order: int, succeed: bool) -> None:
        self._run(
            self.modelled.payment_actions.authenticate(
                newest(self._with_intent("requires_action"), order), succeed=succeed
            )
        )

    # Time.

    @precondition(lambda self: self._open_orders())
    @rule(order=NEWEST)
    def hold_ends(self, order: int) -> None:
        self._run(self.modelled.clock.make_overdue(newest(self._open_orders(), order)))

    @precondition(lambda self: self.modelled.orders)
    @rule(batch=st.sampled_from([1, 2, 1000]))
    def expire_due(self, batch: int) -> None:
        self._run(self.modelled.clock.expire_due(batch))

    @precondition(lambda self: self._authorised_long_ago())
    @rule(order=NEWEST)
    def authorisation_expires(self, order: int) -> None:
        self._run(
            self.modelled.payment_actions.authorisation_expires(
                newest(self._authorised_long_ago(), order)
            )
        )

    # Messages.

    @precondition(lambda self: any(order.intent for order in self.modelled.orders))
    @rule(picks=st.lists(st.integers(0, 20), min_size=1, max_size=4))
    def deliver_webhooks(self, picks: list[int]) -> None:
        self._run(self.modelled.messages.deliver_webhooks(picks))

    @precondition(lambda self: self.modelled.orders)
    @rule()
    def consume_events(self) -> None:
        self._run(self.modelled.messages.consume_events())

    @rule(job=NEWEST, again=AGAIN)
    def run_job(self, job: int, again: bool) -> None:
        waiting = self._run(self.modelled.messages.jobs())
        if waiting:
            self._run(self.modelled.messages.run_job(newest(waiting, job), times=1 + again))

    @precondition(lambda self: self.modelled.model.unresolved())
    @rule()
    def reconcile(self) -> None:
        self._run(self.modelled.messages.reconcile())

    # Requests that must change nothing.

    @precondition(lambda self: self.modelled.requests.sent)
    @rule(request=st.integers(0, 20))
    def repeat_a_request(self, request: int) -> None:
        self._run(self.modelled.requests.repeat(newest(self.modelled.requests.sent, request)))

    @precondition(lambda self: self._kept())
    @rule(request=st.integers(0, 20))
    def reuse_a_key(self, request: int) -> None:
        self._run(self.modelled.requests.reuse_key(newest(self._kept(), request)))

    @precondition(lambda self: self._decided())
    @rule(order=NEWEST)
    def stale_calls(self, order: int) -> None:
        self._run(self.modelled.stale_calls(newest(self._decided(), order)))

    @invariant()
    def the_system_shows_what_the_model_has(self) -> None:
        self._run(self.modelled.compare())

    def teardown(self) -> None:
        try:
            if not self._failed:
                self._run(self.modelled.end())
        finally:
            self._run(self.modelled.close(wipe=self._failed))

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(STEP_SECONDS)
        except BaseException:
            self._failed = True
            raise

    async def _happens(self, order: Order, meanwhile: Sequence[str]) -> None:
        for what in meanwhile:
            for event in MEANWHILE[what]:
                await self._happen(order, event)

    async def _happen(self, order: Order, event: str) -> None:
        modelled = self.modelled
        ticket = next(iter(order.prices))
        buyer, seller = self._buyer(order), self._seller(ticket)
        rival = next(person for person in modelled.buyers if person.name != order.buyer)
        match event:
            case "overdue":
                await modelled.clock.make_overdue(order)
            case "expire":
                await modelled.clock.expire_due(1000)
            case "rival":
                await modelled.market_actions.place(
                    rival, list(order.prices)[:MAX_TICKETS_PER_ORDER]
                )
            case "cancel":
                await modelled.market_actions.cancel(buyer, order)
            case "pay":
                await modelled.payment_actions.pay(buyer, order, "pm_card_visa")
            case "edit":
                await modelled.market_actions.edit(
                    seller, ticket, ticket.price + 1, ticket.currency, None
                )
            case "withdraw":
                await modelled.market_actions.withdraw(seller, ticket, None)
            case "webhooks":
                await modelled.messages.deliver_webhooks([0, 1, 0])
            case "jobs":
                await modelled.messages.run_all_jobs()
            case "authorisation expires" if order in self._authorised_long_ago():
                await modelled.payment_actions.authorisation_expires(order)

    def _ticket(self, number: int) -> Ticket:
        return newest(self.modelled.model.tickets, number)

    def _order(self, number: int) -> Order:
        return newest(self.modelled.orders, number)

    def _seller(self, ticket: Ticket, by_another: bool = False) -> Person:
        return next(
            one for one in self.modelled.people if (one.name == ticket.seller) != by_another
        )

    def _buyer(self, order: Order, by_another: bool = False) -> Person:
        return next(one for one in self.modelled.people if (one.name == order.buyer) != by_another)

    def _with_intent(self, status: str) -> list[Order]:
        return [order for order in self.modelled.orders if order.intent == status]

    def _on_sale(self) -> list[Ticket]:
        return [
            ticket
            for ticket in self.modelled.model.tickets
            if ticket.status not in {"sold", "withdrawn"}
        ]

    def _open_orders(self) -> list[Order]:
        return [order for order in self.modelled.orders if order.is_open]

    def _overdue(self) -> list[Order]:
        return [order for order in self.modelled.orders if order.is_overdue]

    def _authorised_long_ago(self) -> list[Order]:
        return [order for order in self._with_intent("requires_capture") if not order.is_open]

    def _decided(self) -> list[Order]:
        return [order for order in self.modelled.orders if order.status in PAID | ENDED]

    def _kept(self) -> list[Sent]:
        return [sent for sent in self.modelled.requests.sent if sent.kept]


async def _made(running: RunningSystem) -> ModelledSystem:
    return ModelledSystem(running)


def newest(things: Sequence[T], number: int) -> T:
    return things[-1 - number % len(things)]
