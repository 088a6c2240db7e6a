"""The state of one run, shared by its users, and the final state of the market after it."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple

import gevent
import httpx
import msgspec
from gevent.event import Event

from loadtests.accounts import Accounts
from loadtests.attacks.control import Outcome
from loadtests.market_state import MarketState
from loadtests.measurements import Measurements
from loadtests.push_monitor import PushMonitor
from loadtests.scenario import Scenario
from loadtests.target import Target

CATCH_UP_SECONDS = 10.0
POLL_SECONDS = 0.2
READ_SECONDS = 30.0


class Order(msgspec.Struct, frozen=True):
    id: str
    tickets: Sequence[dict[str, Any]]


class Phase(NamedTuple):
    """A part of a run: under one attack, or under none. Times are those of time.monotonic()."""

    name: str
    began_at: float
    ended_at: float
    outcome: Outcome | None = None


@dataclass
class LoadRun:
    """`opened`: all users of the first stage are ready. `closing`: no action may begin."""

    scenario: Scenario
    target: Target
    measurements: Measurements = field(default_factory=Measurements)
    market: MarketState = field(default_factory=MarketState)
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
    user_numbers: Iterator[int] = field(default_factory=count)
    # The name of the attack that runs now.
    attack: str = ""
    phases: list[Phase] = field(default_factory=list)
    attacks_over: bool = False
    # The seller of each (order, ticket) that was paid.
    sales: dict[tuple[str, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.monitor = PushMonitor(self.target.push_url, self.market, self.measurements)
        self.accounts = Accounts(self.target.jwt_private_key, sign_up=self.scenario.sign_up)

    @property
    def expected(self) -> int:
        scenario = self.scenario
        users = scenario.sellers.count + scenario.shoppers.count + scenario.stages[0].buyers
        # The attackers have to sign up as well.
        return users + (scenario.siege is not None)

    def arrive(self) -> None:
        self.present += 1

    def seller_is_ready(self) -> None:
        self.sellers += 1
        if self.sellers == self.scenario.sellers.count:
            self.listed.set()
        self.arrive()

    def open(self) -> None:
        self.monitor.set_clock()
        self.opened_at = time.monotonic()
        self.opened.set()

    def close(self) -> None:
        if not self.closing.is_set():
            self.closed_at = time.monotonic()
            self.closing.set()

    @property
    def done(self) -> bool:
        if self.scenario.siege is not None:
            return self.attacks_over
        return self.scenario.until_sold_out and self.busy == 0 and self.market.sold_out()

    def sold(self, order: Order) -> None:
        for ticket in order.tickets:
            self.sales[order.id, ticket["id"]] = ticket["seller_id"]

    @property
    def sold_twice(self) -> int:
        """The number of tickets in more than one successful payment."""
        tickets = [ticket_id for _, ticket_id in self.sales]
        return len(tickets) - len(set(tickets))


@dataclass(frozen=True)
class FinalState:
    """The market after the last change: ticket counts, stale pages and missing sale messages."""

    behind: int
    sales_missing: int
    sold: int
    held: int


def read_final_state(load_run: LoadRun) -> FinalState:
    """Read the market over the API; wait for the sockets to catch up, for a limited time."""
    fresh: dict[str, int] = {}
    sold = held = 0
    with httpx.Client(base_url=load_run.target.url, timeout=READ_SECONDS) as client:
        for show_id in load_run.market.shows:
            for ticket in _tickets(client, str(show_id)):
                fresh[ticket["id"]] = ticket["version"]
            show = _get(client, f"/api/shows/{show_id}")
            sold, held = sold + show["sold"], held + show["held"]
    deadline = time.monotonic() + CATCH_UP_SECONDS
    while time.monotonic() < deadline and (
        load_run.monitor.behind(fresh) or load_run.monitor.missing_sales(load_run.sales)
    ):
        gevent.sleep(POLL_SECONDS)
    return FinalState(
        load_run.monitor.behind(fresh), load_run.monitor.missing_sales(load_run.sales), sold, held
    )


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
