"""Wants a ticket: looks, holds what is shown as free, and then pays, changes their mind, or lets the clock run out."""

import random
import time
from datetime import datetime
from typing import Any
from uuid import UUID

import gevent
from locust import task
from locust.exception import StopUser

from loadtests.people.person import Person
from loadtests.trial import Order
from loadtests.watch import change_of

CARD = "pm_card_visa"
DECLINED_CARD = "pm_card_chargeDeclined"
NOTHING_FREE_SECONDS = (0.3, 1.0)
FOLLOW_SECONDS = 0.5
FOLLOW_TIMES = 20


class Buyer(Person):
    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self._ways = self.trial.scenario.buyers

    def on_start(self) -> None:
        self.sign_in()
        self.trial.arrive()
        self.wait_for_doors()
        self.pause((0, self._ways.rush_seconds))

    @task
    def visit(self) -> None:
        """One person, from the first look until there is a ticket, or none is left."""
        show_id = random.choice(self.trial.board.shows)
        self.ask("GET", f"/api/shows/{show_id}", "read a show")
        self.ask("GET", f"/api/tickets?show_id={show_id}&status=available&limit=50", "read tickets")
        while not self._buy(show_id):
            self.pause(self._ways.think_seconds)
        if not self._ways.again:
            raise StopUser
        self.pause(self._ways.think_seconds)
        self.sign_in()

    def _buy(self, show_id: UUID) -> bool:
        """Whether this person is done."""
        wanted = self.trial.board.pick(show_id, random.randint(1, self._ways.takes))
        if not wanted:
            if self.trial.board.sold_out():
                raise StopUser
            self.pause(NOTHING_FREE_SECONDS)
            return False
        order = self._hold(wanted)
        if order is None:
            return False
        self.trial.busy += 1
        try:
            return self._decide(order)
        finally:
            self.trial.busy -= 1

    def _hold(self, ticket_ids: list[str]) -> Order | None:
        clicked_at = time.monotonic()
        reply = self.write(
            "POST",
            "/api/orders",
            "hold",
            body={"ticket_ids": ticket_ids},
            expected=(201, 409),
            names={409: "hold refused"},
        )
        if reply.status != 201:
            self.trial.observed.counts[
                f"refused: {reply.body['code']}" if reply.body else "refused"
            ] += 1
            return None
        held_until = datetime.fromisoformat(reply.body["expires_at"])
        for ticket_id in ticket_ids:
            self.trial.watch.holds.clicked(change_of(ticket_id, held_until), clicked_at)
        self.trial.observed.counts["holds won"] += 1
        return Order(reply.body["id"], reply.body["tickets"])

    def _decide(self, order: Order) -> bool:
        self.pause(self._ways.pay_seconds)
        fate = random.random()
        if fate < self._ways.pays:
            if random.random() < self._ways.first_card_declined:
                self._pay(order, DECLINED_CARD, 402)
                self.pause(self._ways.pay_seconds)
            return self._pay(order, CARD, 201)
        if fate < self._ways.pays + self._ways.cancels:
            self.write("DELETE", f"/api/orders/{order.id}", "cancel", expected=(204,))
            self.trial.observed.counts["given up"] += 1
        else:
            self.trial.observed.counts["left to their end"] += 1
        return True

    def _pay(self, order: Order, card: str, expected: int) -> bool:
        clicked_at = time.monotonic()
        reply = self.write(
            "POST",
            "/api/payments",
            "pay",
            body={"order_id": order.id, "payment_method": card},
            # The hold may have ended while the card was looked for.
            expected=(expected, 409),
            names={402: "pay declined", 409: "pay refused"},
        )
        if reply.status != 201:
            return False
        if reply.body["status"] != "captured" and not self._comes_through(order):
            self.trial.observed.counts["payments without an outcome"] += 1
            return True
        self.trial.sold(order)
        self.trial.watch.pays.clicked(order.id, clicked_at)
        return True

    def _comes_through(self, order: Order) -> bool:
        """Follow an order whose payment is still on its way, as its page does."""
        for _ in range(FOLLOW_TIMES):
            gevent.sleep(FOLLOW_SECONDS)
            reply = self.ask("GET", f"/api/orders/{order.id}", "follow an order")
            if reply.status == 200 and reply.body["status"] == "completed":
                return True
        return False
