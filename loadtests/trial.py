"""One run: what the people in it share, from the first who comes until all is read again."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import gevent
import httpx
import msgspec
from gevent.event import Event

from loadtests.accounts import Accounts
from loadtests.board import Board
from loadtests.observed import Observed
from loadtests.scenario import Scenario
from loadtests.target import Target
from loadtests.watch import Watch

CATCH_UP_SECONDS = 10.0
LOOK_SECONDS = 0.2
READ_SECONDS = 30.0


class Order(msgspec.Struct, frozen=True):
    id: str
    tickets: Sequence[dict[str, Any]]


@dataclass
class Trial:
    """`opened` when everybody of the first stage is there; `closing` when nobody is to begin anything new."""

    scenario: Scenario
    target: Target
    observed: Observed = field(default_factory=Observed)
    board: Board = field(default_factory=Board)
    opened: Event = field(default_factory=Event)
    closing: Event = field(default_factory=Event)
    listed: Event = field(default_factory=Event)
    opened_at: float = 0.0
    closed_at: float = 0.0
    present: int = 0
    busy: int = 0
    sellers: int = 0
    seller_numbers: Iterator[int] = field(default_factory=count)
    show_numbers: Iterator[int] = field(default_factory=count)
    # Of each paid order, and of each ticket in it: its seller.
    sales: dict[tuple[str, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.watch = Watch(self.target.push_url, self.board, self.observed)
        self.accounts = Accounts(self.target.jwt_private_key, sign_up=self.scenario.sign_up)

    @property
    def expected(self) -> int:
        scenario = self.scenario
        return scenario.sellers.count + scenario.shoppers.count + scenario.stages[0].buyers

    def arrive(self) -> None:
        self.present += 1

    def seller_is_ready(self) -> None:
        self.sellers += 1
        if self.sellers == self.scenario.sellers.count:
            self.listed.set()
        self.arrive()

    def open(self) -> None:
        self.watch.set_clock()
        self.opened_at = time.monotonic()
        self.opened.set()

    def close(self) -> None:
        if not self.closing.is_set():
            self.closed_at = time.monotonic()
            self.closing.set()

    @property
    def done(self) -> bool:
        return self.scenario.until_sold_out and self.busy == 0 and self.board.sold_out()

    def sold(self, order: Order) -> None:
        for ticket in order.tickets:
            self.sales[order.id, ticket["id"]] = ticket["seller_id"]

    @property
    def sold_twice(self) -> int:
        """Tickets that more than one buyer was told to have paid."""
        tickets = [ticket_id for _, ticket_id in self.sales]
        return len(tickets) - len(set(tickets))


@dataclass(frozen=True)
class Reading:
    """What a fresh look found once nobody changed anything any more."""

    behind: int
    untold: int
    sold: int
    held: int


def read_again(trial: Trial) -> Reading:
    """Read the whole market over the API, and give the sockets some time to have told as much."""
    fresh: dict[str, int] = {}
    sold = held = 0
    with httpx.Client(base_url=trial.target.url, timeout=READ_SECONDS) as client:
        for show_id in trial.board.shows:
            for ticket in _tickets(client, str(show_id)):
                fresh[ticket["id"]] = ticket["version"]
            show = _get(client, f"/api/shows/{show_id}")
            sold, held = sold + show["sold"], held + show["held"]
    deadline = time.monotonic() + CATCH_UP_SECONDS
    while time.monotonic() < deadline and (
        trial.watch.behind(fresh) or trial.watch.untold(trial.sales)
    ):
        gevent.sleep(LOOK_SECONDS)
    return Reading(trial.watch.behind(fresh), trial.watch.untold(trial.sales), sold, held)


def _tickets(client: httpx.Client, show_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = _get(
            client,
            "/api/tickets",
            show_id=show_id,
            limit=100,
            **({"cursor": cursor} if cursor else {}),
        )
        found += page["items"]
        cursor = page["next_cursor"]
        if not cursor:
            return found


def _get(client: httpx.Client, path: str, **query: Any) -> dict[str, Any]:
    answer = client.get(path, params=query)
    answer.raise_for_status()
    body: dict[str, Any] = answer.json()
    return body
