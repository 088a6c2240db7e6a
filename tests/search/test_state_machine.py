"""Searches for a history of requests, time and messages after which system and model differ.

By default the search is short and always the same. `GITTIX_SEARCH_EXAMPLES=2000` makes it long and
random. A failure prints the steps that lead to it.
"""

import asyncio
import logging
import os
from collections.abc import Iterator
from functools import partial

import pytest
import stripe
import structlog
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.search import mutants
from tests.search.refund_state_machine import RefundingShopMachine
from tests.search.running_system import Pauses, running_system
from tests.search.state_machine import ShopMachine
from tests.system import System

EXAMPLES = int(os.environ.get("GITTIX_SEARCH_EXAMPLES", "0"))
STEPS = 30
SHORT = settings(
    max_examples=16,
    stateful_step_count=STEPS,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
    phases=[Phase.generate, Phase.shrink],
)
# Many more than a mutant needs. The first failure ends the search, without shrinking.
HUNT = settings(SHORT, max_examples=150, phases=[Phase.generate])
LONG = settings(SHORT, max_examples=EXAMPLES or 1, derandomize=False, stateful_step_count=50)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    # The delay of the library's retries.
    monkeypatch.setattr(stripe.HTTPClient, "INITIAL_DELAY", 0.001)
    monkeypatch.setattr(stripe.HTTPClient, "MAX_DELAY", 0.002)
    pauses = Pauses()
    pauses.install(monkeypatch)
    return pauses


@pytest.fixture(autouse=True)
def only_errors_are_logged() -> Iterator[None]:
    """Logs errors only: the lines of thousands of requests would hide the steps of a failure."""
    usual = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.configure(**usual)


async def search(system: System, pauses: Pauses, kind: type[ShopMachine], chosen: settings) -> None:
    """Raises the exception of a rule or a comparison, when a history leads to one."""
    async with running_system(system, pauses) as running:
        machine = partial(kind, running, asyncio.get_running_loop())
        run = partial(run_state_machine_as_test, machine, settings=chosen)  # type: ignore[arg-type]
        await asyncio.to_thread(run)


@pytest.mark.timeout(3600 if EXAMPLES else 420)
@pytest.mark.parametrize("kind", [ShopMachine, RefundingShopMachine], ids=["sales", "refunds"])
async def test_no_history_makes_the_system_differ_from_the_model(
    system: System, pauses: Pauses, kind: type[ShopMachine]
) -> None:
    await search(system, pauses, kind, LONG if EXAMPLES else SHORT)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("kind", "mutant"),
    [
        (ShopMachine, [mutants.UNGUARDED_HOLD, mutants.NO_INDEX, mutants.ANY_TRANSITION]),
        (ShopMachine, [mutants.RELEASE_BY_LINES, mutants.ANY_TRANSITION]),
        (ShopMachine, [mutants.EXPIRE_EVERYTHING, mutants.ANY_TRANSITION]),
        (
            RefundingShopMachine,
            [mutants.FINISH_REFUND_AGAIN, mutants.UNSELL_BY_LINES, mutants.ANY_TRANSITION],
        ),
    ],
    ids=[
        "a hold of a taken ticket",
        "a release by lines",
        "an expiry of every hold",
        "a repeated refund by lines",
    ],
)
async def test_the_search_finds_a_missing_guard(
    system: System, pauses: Pauses, kind: type[ShopMachine], mutant: list[str]
) -> None:
    """The negative control: the search can fail."""
    owner = await system.connect()
    for change in mutant:
        await owner.execute(change)
    with pytest.raises(AssertionError):
        await search(system, pauses, kind, HUNT)
