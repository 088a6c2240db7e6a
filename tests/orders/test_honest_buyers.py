"""The buyers of the load scenarios never reach the budgets of unpaid time.

Each visit of a scenario's buyer is a person of its own, with the behaviour of the scenario's file.
The visits run on the SQL functions of budgets, with the default settings; the time between two
events is subtracted from the rows.
"""

import heapq
import random
from collections.abc import Iterator
from itertools import count
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from backend.kernel.budgets import Budgets, budgets_of
from backend.kernel.settings import Settings
from loadtests.scenario import Scenario, scenario
from tests.system import System

SCENARIOS = ("smoke", "spike", "steady", "storm", "soak", "siege")
VISITS = 400
DEFAULTS = Settings()


class Step(NamedTuple):
    """A change of the used amount, at a time of the visit: positive for a hold."""

    at: float
    amount: float


def visit(chance: random.Random, found: Scenario) -> Iterator[Step]:
    """The steps of `Buyer._buy` and `_decide` that change unpaid time."""
    behaviour = found.buyers
    length = int(found.instance.get("HOLD_SECONDS", DEFAULTS.hold_seconds))
    tickets = chance.randint(1, behaviour.takes)
    yield Step(0, tickets * length)
    decided = chance.uniform(*behaviour.pay_seconds)
    choice = chance.random()
    if choice < behaviour.pays:
        charged: float = length
        if chance.random() < behaviour.first_card_declined:
            charged = decided + DEFAULTS.payment_grace_seconds
            yield Step(decided, tickets * (charged - length))
            decided += chance.uniform(*behaviour.pay_seconds)
        yield Step(decided, -tickets * charged)
    elif choice < behaviour.pays + behaviour.cancels:
        yield Step(decided, -tickets * (length - max(decided, 10)))


class Visits:
    """Visits whose steps run in the order of their times."""

    def __init__(self, owner: Any) -> None:
        self._owner = owner
        self._order = count()
        self._queue: list[tuple[float, int, Budgets, list[Step], float]] = []
        self.refused = 0

    def add(self, at: float, budgets: Budgets, steps: list[Step]) -> None:
        self._push(at, budgets, steps, at)

    async def run(self) -> None:
        now = 0.0
        charged: dict[str, list[int]] = {}
        while self._queue:
            at, _, budgets, steps, began = heapq.heappop(self._queue)
            if at > now:
                await self._owner.execute(
                    "update orders.budgets set full_at = full_at - make_interval(secs => $1)",
                    at - now,
                )
                now = at
            step, *later = steps
            account = budgets.subjects[0]
            if account in charged:
                await self._owner.execute(
                    "select orders.adjust_budgets($1, $2)", charged[account], step.amount
                )
            elif await self._owner.fetchval(
                "select exists (select from orders.spent_budgets($1, $2, clock_timestamp()))",
                budgets.subjects,
                step.amount,
            ):
                self.refused += 1
                continue
            else:
                charged[account] = await self._owner.fetchval(
                    "select orders.charge($1, $2, $3)", *budgets, step.amount
                )
            if later:
                self._push(began + later[0].at, budgets, later, began)

    def _push(self, at: float, budgets: Budgets, steps: list[Step], began: float) -> None:
        heapq.heappush(self._queue, (at, next(self._order), budgets, steps, began))


async def refused(
    system: System, found: Scenario, addresses: list[str], *, seconds: float, visits: int = VISITS
) -> int:
    """The number of refused holds, of visits from these addresses in turns within `seconds`."""
    chance = random.Random(7)
    running = Visits(await system.connect())
    for number in range(visits):
        budgets = budgets_of(
            "unpaid",
            UUID(int=number),
            addresses[number % len(addresses)],
            of_account=DEFAULTS.unpaid_ticket_seconds,
            of_address=DEFAULTS.unpaid_ticket_seconds_of_address,
        )
        running.add(chance.uniform(0, seconds), budgets, list(visit(chance, found)))
    await running.run()
    return running.refused


@pytest.mark.parametrize("name", SCENARIOS)
async def test_no_buyer_of_a_scenario_is_refused(name: str, system: System) -> None:
    found = scenario(name)
    addresses = [f"10.0.{number >> 8}.{number & 255}" for number in range(VISITS)]
    assert await refused(system, found, addresses, seconds=min(found.seconds, 60)) == 0


@pytest.mark.parametrize("name", ["steady", "soak"])
async def test_a_hundred_ordinary_buyers_an_hour_may_share_an_address(
    name: str, system: System
) -> None:
    found = scenario(name)
    assert await refused(system, found, ["203.0.113.9"], seconds=3_600, visits=100) == 0


async def test_the_buyers_of_a_rush_may_share_an_address(system: System) -> None:
    """All buyers of the spike that can hold one of its tickets come from one school or office."""
    found = scenario("spike")
    visits = found.market.tickets
    assert await refused(system, found, ["203.0.113.9"], seconds=4, visits=visits) == 0


async def test_a_thousand_unpaid_holds_of_one_address_are_refused(system: System) -> None:
    """The storm from one address is an attack: most of its holds are refused."""
    found = scenario("storm")
    turned_down = await refused(system, found, ["203.0.113.9"], seconds=2, visits=1_000)
    assert turned_down == pytest.approx(1_000 - 7_200 / 12, abs=2)
