"""Puts shows and tickets on sale, hears of each sale over a private channel, and edits while others buy."""

import random
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from locust import task

from loadtests.people.person import Person
from loadtests.scenario import Market

LIST_AT_ONCE = 500
# Only listens.
NEVER = (86_400.0, 86_400.0)


class Seller(Person):
    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self._ways = self.trial.scenario.sellers
        self._shows: list[str] = []

    def on_start(self) -> None:
        self.sign_up()
        # The first sellers to come take a show more where it does not come out even.
        number = next(self.trial.seller_numbers)
        market = self.trial.scenario.market
        for _ in range(share(market.shows, self._ways.count, number)):
            self._open_show(market, next(self.trial.show_numbers))
        self.trial.watch.sales(self.user_id, self._authorize)
        self.trial.seller_is_ready()
        self.wait_for_doors()

    def wait_time(self) -> float:
        return random.uniform(*(self._ways.think_seconds or NEVER))

    @task(2)
    def look_at_sales(self) -> None:
        if self._ways.think_seconds:
            self.ask("GET", "/api/sales?limit=50", "read sales")

    @task(2)
    def edit(self) -> None:
        """A new price for a ticket that nobody has; who is quicker than the seller may have it."""
        if not self._ways.think_seconds or not (free := self._free()):
            return
        reply = self.ask("GET", f"/api/tickets/{free}", "read a ticket")
        if reply.status == 200:
            self.write(
                "PUT",
                f"/api/tickets/{free}",
                "edit",
                body={"price": random.randrange(20, 200) * 100},
                expected=(200, 409, 412),
                names={409: "edit refused"},
            )

    @task(1)
    def list_more(self) -> None:
        if self._ways.think_seconds and self._shows:
            self._list(random.choice(self._shows), self._ways.lists, 0)

    def _free(self) -> str | None:
        free = self.trial.board.free(UUID(random.choice(self._shows))) if self._shows else []
        return random.choice(free) if free else None

    def _open_show(self, market: Market, number: int) -> None:
        show = {
            "title": f"Load night {number + 1}",
            "venue": "The Shed",
            "city": "Ghent",
            "starts_at": "2035-05-01T20:00:00+02:00",
            "timezone": "Europe/Brussels",
        }
        show_id = self.write(
            "POST", "/api/shows", "create a show", body=show, expected=(201,)
        ).body["id"]
        self._shows.append(show_id)
        count = share(market.tickets, market.shows, number)
        for first in range(0, count, LIST_AT_ONCE):
            self._list(show_id, min(LIST_AT_ONCE, count - first), first)

    def _list(self, show_id: str, count: int, first: int) -> None:
        tickets = [
            {"price": 4500, "currency": "EUR", "section": "Floor", "seat": str(first + number + 1)}
            for number in range(count)
        ]
        reply = self.write(
            "POST",
            f"/api/shows/{show_id}/tickets",
            "list",
            body={"tickets": tickets},
            expected=(201,),
        )
        if reply.status == 201:
            self.trial.board.put_on_sale(reply.body["items"])

    def _authorize(self, socket_id: str, channel: str) -> dict[str, str]:
        form = urlencode({"socket_id": socket_id, "channel_name": channel})
        signed: dict[str, str] = self.ask(
            "POST", "/api/push/auth", "authorize a channel", form=form
        ).body
        return signed


def share(whole: int, parts: int, number: int) -> int:
    """How many of `whole` fall to this part."""
    return whole // parts + (number < whole % parts)
