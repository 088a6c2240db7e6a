"""A user that lists shows and tickets, subscribes to its sales, and edits while others buy."""

import random
from collections import Counter
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from locust import task

from loadtests.scenario import Market
from loadtests.users.browser_user import BrowserUser

LIST_AT_ONCE = 500
# For sellers that only subscribe.
NEVER = (86_400.0, 86_400.0)


class Seller(BrowserUser):
    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self._behaviour = self.load_run.scenario.sellers
        self._shows: list[str] = []
        self._listed: set[str] = set()
        # The seats that were listed of each show, since a show has each seat once.
        self._seats: Counter[str] = Counter()

    def on_start(self) -> None:
        self.sign_up()
        # Where the division leaves a remainder, the first sellers get one more show.
        number = next(self.load_run.seller_numbers)
        market = self.load_run.scenario.market
        for _ in range(share(market.shows, self._behaviour.count, number)):
            self._open_show(market, next(self.load_run.show_numbers))
        self.load_run.monitor.sales(self.user_id, self._authorize)
        self.load_run.seller_is_ready()
        self.wait_for_opening()

    def wait_time(self) -> float:
        return random.uniform(*(self._behaviour.think_seconds or NEVER))

    @task(2)
    def read_sales(self) -> None:
        if self._behaviour.think_seconds:
            self.fetch("GET", "/api/sales?limit=50", "read sales")

    @task(2)
    def edit(self) -> None:
        """Change the price of a free ticket, unless a buyer holds it first."""
        if not self._behaviour.think_seconds or not (free := self._free()):
            return
        reply = self.fetch("GET", f"/api/tickets/{free}", "read a ticket")
        if reply.status == 200:
            self.change(
                "PUT",
                f"/api/tickets/{free}",
                "edit",
                body={"price": random.randrange(20, 200) * 100},
                expected=(200, 409, 412),
                names={409: "edit refused"},
            )

    @task(1)
    def list_more(self) -> None:
        if self._behaviour.think_seconds and self._shows:
            self._list(random.choice(self._shows), self._behaviour.lists)

    def _free(self) -> str | None:
        """One of this seller's free tickets: others may list tickets of its shows, too."""
        free = self.load_run.market.free(UUID(random.choice(self._shows))) if self._shows else []
        own = [ticket_id for ticket_id in free if ticket_id in self._listed]
        return random.choice(own) if own else None

    def _open_show(self, market: Market, number: int) -> None:
        show = {
            "title": f"Load night {number + 1}",
            "venue": "The Shed",
            "city": "Ghent",
            "starts_at": "2035-05-01T20:00:00+02:00",
            "timezone": "Europe/Brussels",
        }
        show_id = self.change(
            "POST", "/api/shows", "create a show", body=show, expected=(201,)
        ).body["id"]
        self._shows.append(show_id)
        count = share(market.tickets, market.shows, number)
        for first in range(0, count, LIST_AT_ONCE):
            self._list(show_id, min(LIST_AT_ONCE, count - first))

    def _list(self, show_id: str, count: int) -> None:
        first = self._seats[show_id] + 1
        self._seats[show_id] += count
        tickets = [
            {"price": 4500, "currency": "EUR", "section": "Floor", "seat": str(seat)}
            for seat in range(first, first + count)
        ]
        reply = self.change(
            "POST",
            f"/api/shows/{show_id}/tickets",
            "list",
            body={"tickets": tickets},
            expected=(201,),
        )
        if reply.status == 201:
            self.load_run.market.add(reply.body["items"])
            self._listed.update(ticket["id"] for ticket in reply.body["items"])

    def _authorize(self, socket_id: str, channel: str) -> dict[str, str]:
        form = urlencode({"socket_id": socket_id, "channel_name": channel})
        signed: dict[str, str] = self.fetch(
            "POST", "/api/push/auth", "authorize a channel", form=form
        ).body
        return signed


def share(whole: int, parts: int, number: int) -> int:
    """Return the size of part `number` when `whole` is divided into `parts`."""
    return whole // parts + (number < whole % parts)
