"""A user that holds free tickets, then pays, cancels, or lets the hold expire."""

import random
import time
from datetime import datetime
from typing import Any
from uuid import UUID

import gevent
from locust import task
from locust.exception import StopUser

from loadtests.load_run import Order
from loadtests.push_monitor import change_of
from loadtests.users.browser_user import BrowserUser

CARD = "pm_card_visa"
DECLINED_CARD = "pm_card_chargeDeclined"
NOTHING_FREE_SECONDS = (0.3, 1.0)
FOLLOW_SECONDS = 0.5
FOLLOW_TIMES = 20


class Buyer(BrowserUser):
    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self._behaviour = self.load_run.scenario.buyers

    def on_start(self) -> None:
        self.sign_in()
        self.load_run.arrive()
        self.wait_for_opening()
        self.pause((0, self._behaviour.rush_seconds))

    @task
    def visit(self) -> None:
        """One buyer, from the first page until a ticket is bought or all are sold."""
        show_id = random.choice(self.load_run.market.shows)
        self.fetch("GET", f"/api/shows/{show_id}", "read a show")
        self.fetch(
            "GET", f"/api/tickets?show_id={show_id}&status=available&limit=50", "read tickets"
        )
        while not self._buy(show_id):
            self.pause(self._behaviour.think_seconds)
        if not self._behaviour.again:
            raise StopUser
        self.pause(self._behaviour.think_seconds)
        self.sign_in()

    def _buy(self, show_id: UUID) -> bool:
        """Try to buy. Returns whether this buyer is done."""
        wanted = self.load_run.market.sample_free(show_id, random.randint(1, self._behaviour.takes))
        if not wanted:
            if self.load_run.market.sold_out():
                raise StopUser
            self.pause(NOTHING_FREE_SECONDS)
            return False
        order = self._hold(wanted)
        if order is None:
            return False
        self.load_run.busy += 1
        try:
            return self._decide(order)
        finally:
            self.load_run.busy -= 1

    def _hold(self, ticket_ids: list[str]) -> Order | None:
        started_at = time.monotonic()
        reply = self.change(
            "POST",
            "/api/orders",
            "hold",
            body={"ticket_ids": ticket_ids},
            expected=(201, 409),
            names={409: "hold refused"},
        )
        if reply.status != 201:
            reason = f"refused: {reply.body['code']}" if reply.body else "refused"
            self.load_run.measurements.counts[reason] += 1
            return None
        held_until = datetime.fromisoformat(reply.body["expires_at"])
        for ticket_id in ticket_ids:
            self.load_run.monitor.holds.started(change_of(ticket_id, held_until), started_at)
        self.load_run.measurements.counts["holds won"] += 1
        return Order(reply.body["id"], reply.body["tickets"])

    def _decide(self, order: Order) -> bool:
        self.pause(self._behaviour.pay_seconds)
        choice = random.random()
        if choice < self._behaviour.pays:
            if random.random() < self._behaviour.first_card_declined:
                self._pay(order, DECLINED_CARD, 402)
                self.pause(self._behaviour.pay_seconds)
            return self._pay(order, CARD, 201)
        if choice < self._behaviour.pays + self._behaviour.cancels:
            self.change("DELETE", f"/api/orders/{order.id}", "cancel", expected=(204,))
            self.load_run.measurements.counts["given up"] += 1
        else:
            self.load_run.measurements.counts["left to their end"] += 1
        return True

    def _pay(self, order: Order, card: str, expected: int) -> bool:
        started_at = time.monotonic()
        reply = self.change(
            "POST",
            "/api/payments",
            "pay",
            body={"order_id": order.id, "payment_method": card},
            # The hold may have expired in the meantime.
            expected=(expected, 409),
            names={402: "pay declined", 409: "pay refused"},
        )
        if reply.status != 201:
            return False
        if reply.body["status"] != "captured" and not self._completes(order):
            self.load_run.measurements.counts["payments without an outcome"] += 1
            return True
        self.load_run.sold(order)
        self.load_run.monitor.pays.started(order.id, started_at)
        return True

    def _completes(self, order: Order) -> bool:
        """Poll an order with a pending payment, as its page does. Returns whether it completes."""
        for _ in range(FOLLOW_TIMES):
            gevent.sleep(FOLLOW_SECONDS)
            reply = self.fetch("GET", f"/api/orders/{order.id}", "follow an order")
            if reply.status == 200 and reply.body["status"] == "completed":
                return True
        return False
