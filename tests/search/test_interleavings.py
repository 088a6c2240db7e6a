"""Two or three transactions on the same tickets, in every order of their steps.

Each outcome must be that of a serial schedule. For the main cases of the shop, the set of outcomes
is listed here.
"""

from collections.abc import Sequence

import pytest

from backend.kernel import correlation
from tests.search import mutants
from tests.search.scenarios import (
    FIRST,
    NEW_PRICE,
    SECOND,
    THIRD,
    Action,
    Arrangement,
    Outcome,
    Scenario,
    again,
    begin,
    cancel,
    edit,
    expire,
    fail,
    finish,
    hold,
    outcome,
    settle,
    violations,
    withdraw,
)
from tests.search.schedules import Scheduler, Script, interleavings, serial
from tests.system import System

FREE: Arrangement = ()
HELD: Arrangement = (Scenario.held,)
OVERDUE: Arrangement = (Scenario.held, Scenario.overdue)
OVERDUE_CART: Arrangement = (Scenario.held_cart, Scenario.overdue)
PAYING: Arrangement = (Scenario.paying,)
PAYING_OVERDUE: Arrangement = (Scenario.paying, Scenario.overdue)
PAYING_OVERDUE_CART: Arrangement = (Scenario.paying_for_a_cart, Scenario.overdue)
PAYING_EXPIRED: Arrangement = (Scenario.paying, Scenario.expired)
WON: Arrangement = (Scenario.paying, Scenario.won)

first, second, third = hold(FIRST), hold(SECOND), hold(THIRD)
second_takes_the_other, third_takes_both = hold(SECOND, 1), hold(THIRD, 0, 1)

PAIRS: dict[str, tuple[Arrangement, list[tuple[Action, Action]]]] = {
    "free": (FREE, [
        (first, second), (first, third_takes_both), (first, withdraw), (first, edit),
        (withdraw, edit),
    ]),
    "held": (HELD, [
        (cancel, second), (cancel, begin), (cancel, again(cancel)), (cancel, withdraw),
        (cancel, expire),
        (begin, again(begin)), (begin, second), (begin, withdraw), (begin, expire),
    ]),
    "overdue": (OVERDUE, [
        (expire, second), (expire, again(expire)), (expire, cancel), (expire, begin),
        (expire, withdraw), (expire, edit),
        (second, third), (second, cancel), (second, begin), (second, withdraw), (second, edit),
    ]),
    "overdue cart": (OVERDUE_CART, [
        (second_takes_the_other, third), (second_takes_the_other, third_takes_both),
        (second_takes_the_other, withdraw), (second_takes_the_other, expire), (withdraw, expire),
    ]),
    "paying": (PAYING, [
        (settle, cancel), (settle, second), (settle, withdraw), (settle, again(settle)),
        (settle, begin), (settle, expire),
    ]),
    "paying, overdue": (PAYING_OVERDUE, [
        (settle, expire), (settle, second), (settle, withdraw), (settle, edit),
        (settle, cancel), (settle, again(settle)),
    ]),
    "paying for a cart, overdue": (PAYING_OVERDUE_CART, [
        (settle, expire), (settle, second_takes_the_other), (settle, withdraw),
        (settle, third_takes_both),
    ]),
    "paying, expired": (PAYING_EXPIRED, [
        (settle, second), (settle, withdraw), (settle, edit), (settle, again(settle)),
        (settle, expire),
    ]),
    "won": (WON, [
        (finish, again(finish)), (finish, fail), (finish, second), (finish, cancel),
        (finish, withdraw), (finish, settle),
        (fail, second), (fail, settle), (fail, expire), (fail, withdraw), (fail, again(fail)),
    ]),
}  # fmt: skip

TRIPLES: dict[str, tuple[Arrangement, tuple[Action, Action, Action]]] = {
    "three for one": (FREE, (first, second, third)),
    "held: cancel, pay, hold": (HELD, (cancel, begin, second)),
    "overdue: expire, hold, withdraw": (OVERDUE, (expire, second, withdraw)),
    "overdue cart: expire, hold, hold the other":
        (OVERDUE_CART, (expire, second_takes_the_other, third)),
    "overdue cart: hold the other, hold both, withdraw":
        (OVERDUE_CART, (second_takes_the_other, third_takes_both, withdraw)),
    "late: settle, hold, withdraw": (PAYING_OVERDUE, (settle, second, withdraw)),
    "won: fail, hold, hold": (WON, (fail, second, third)),
}  # fmt: skip


# The main cases of the shop: every allowed outcome, and each of them occurs.
MAIN_CASES: dict[str, tuple[Arrangement, tuple[Action, ...], set[str]]] = {
    "two want one": (FREE, (first, second), {
        "first holds: held, second holds: ticket_unavailable; held by first; first pending",
        "first holds: ticket_unavailable, second holds: held; held by second; second pending",
    }),
    "hold and withdraw": (FREE, (first, withdraw), {
        "first holds: held, withdraw: ticket_taken; held by first; first pending",
        "first holds: ticket_unavailable, withdraw: withdrawn; withdrawn; ",
    }),
    "cancel and pay": (HELD, (cancel, begin), {
        "begin: begun, cancel: done; available; first cancelled",
        "begin: order_cancelled, cancel: done; available; first cancelled",
    }),
    "cancel and pay at last": (PAYING, (cancel, settle), {
        "cancel: done, settle: refused; available; first cancelled",
        "cancel: confirmed, settle: won; reserved by first; first confirmed",
    }),
    "expire and hold": (OVERDUE, (expire, second), {
        "second holds: held; held by second; first expired, second pending",
    }),
    "expire and two want it": (OVERDUE, (expire, second, third), {
        ("second holds: held, third holds: ticket_unavailable; "
        "held by second; first expired, second pending"),
        ("second holds: ticket_unavailable, third holds: held; "
        "held by third; first expired, third pending"),
    }),
    "expire and pay late": (PAYING_OVERDUE, (expire, settle), {
        "settle: won; reserved by first; first confirmed",
    }),
    "expire, pay late and hold": (PAYING_OVERDUE, (expire, settle, second), {
        "second holds: ticket_unavailable, settle: won; reserved by first; first confirmed",
        "second holds: held, settle: refused; held by second; first expired, second pending",
    }),
    "pay late and withdraw": (PAYING_OVERDUE, (settle, withdraw), {
        "settle: won, withdraw: ticket_taken; reserved by first; first confirmed",
        "settle: refused, withdraw: withdrawn; withdrawn; first expired",
    }),
    "pay late and change the price": (PAYING_OVERDUE, (settle, edit), {
        "edit: ticket_taken, settle: won; reserved by first; first confirmed",
        f"edit: edited, settle: refused; available at {NEW_PRICE}; first expired",
    }),
    "captured and cancel": (WON, (finish, cancel), {
        "cancel: confirmed, finish: completed; sold by first; first completed",
        "cancel: completed, finish: completed; sold by first; first completed",
    }),
    "not captured and hold": (WON, (fail, second), {
        "fail: cancelled, second holds: held; held by second; first cancelled, second pending",
        "fail: cancelled, second holds: ticket_unavailable; available; first cancelled",
    }),
}  # fmt: skip


@pytest.fixture
async def scheduler(system: System) -> Scheduler:
    owner = await system.connect()
    # Here a step waits as long as its schedule requires, not as long as a buyer would.
    await owner.execute("alter function tickets.hold set lock_timeout = '5s'")
    roles = ("orders", "payments", "tickets")
    return Scheduler(
        await system.connect(),
        {role: [await system.connect(role) for _ in range(3)] for role in roles},
    )


@pytest.fixture
async def scenario(system: System) -> Scenario:
    roles = ("orders", "payments", "tickets")
    return Scenario(
        system.settings, await system.connect(), *[await system.connect(role) for role in roles]
    )


async def run(
    scheduler: Scheduler,
    scenario: Scenario,
    arrangement: Arrangement,
    scripts: Sequence[Action],
    schedule: Sequence[int],
) -> Outcome:
    """Returns the outcome of one schedule. Asserts the invariants of every schedule."""
    written = await prepared(scenario, arrangement, scripts)
    answers = await scheduler.run(written, schedule)
    ended = await outcome(scenario, answers)
    assert await violations(scenario) == [], (ended, schedule)
    return ended


async def prepared(
    scenario: Scenario, arrangement: Arrangement, actions: Sequence[Action]
) -> list[Script]:
    with correlation.bound():
        await scenario.free()
        for step in arrangement:
            await step(scenario)
    written = [action(scenario) for action in actions]
    return [script.at_once() if len(actions) > 2 else script for script in written]


async def outcomes(
    scheduler: Scheduler, scenario: Scenario, arrangement: Arrangement, actions: Sequence[Action]
) -> tuple[set[Outcome], dict[Outcome, tuple[int, ...]]]:
    """The outcomes of the serial schedules, and of all, each with a schedule that leads to it."""
    lengths = [script.length for script in await prepared(scenario, arrangement, actions)]
    allowed = {
        await run(scheduler, scenario, arrangement, actions, order) for order in serial(*lengths)
    }
    found = {
        await run(scheduler, scenario, arrangement, actions, schedule): schedule
        for schedule in interleavings(*lengths)
    }
    return allowed, found


async def deadlocks(scenario: Scenario) -> int:
    count: int = await scenario.owner.fetchval(
        "select deadlocks from pg_stat_database where datname = current_database()"
    )
    return count


@pytest.mark.parametrize("name", PAIRS)
async def test_two_transactions_are_serializable(
    scheduler: Scheduler, scenario: Scenario, name: str
) -> None:
    arrangement, pairs = PAIRS[name]
    for actions in pairs:
        allowed, found = await outcomes(scheduler, scenario, arrangement, actions)
        assert found.keys() - allowed == set(), found
    assert await deadlocks(scenario) == 0


@pytest.mark.parametrize("name", TRIPLES)
async def test_three_transactions_are_serializable(
    scheduler: Scheduler, scenario: Scenario, name: str
) -> None:
    arrangement, actions = TRIPLES[name]
    allowed, found = await outcomes(scheduler, scenario, arrangement, actions)
    assert found.keys() - allowed == set(), found
    assert await deadlocks(scenario) == 0


@pytest.mark.parametrize("name", MAIN_CASES)
async def test_the_main_cases_have_every_expected_outcome_and_no_other(
    scheduler: Scheduler, scenario: Scenario, name: str
) -> None:
    arrangement, actions, expected = MAIN_CASES[name]
    allowed, found = await outcomes(scheduler, scenario, arrangement, actions)
    assert {str(one) for one in found} == expected
    assert found.keys() - allowed == set(), found
    assert await deadlocks(scenario) == 0


async def test_the_index_decides_when_the_hold_checks_first_and_writes_then(
    scheduler: Scheduler, scenario: Scenario
) -> None:
    await scenario.owner.execute(mutants.CHECK_THEN_WRITE_HOLD)
    arrangement, actions, expected = MAIN_CASES["two want one"]
    _, found = await outcomes(scheduler, scenario, arrangement, actions)
    assert {str(one) for one in found} == expected


@pytest.mark.parametrize(
    ("mutant", "main_case"),
    [
        (mutants.CHECK_THEN_WRITE_HOLD, "two want one"),
        (mutants.RESERVE_AT_ANY_PRICE, "expire, pay late and hold"),
    ],
    ids=["the hold checks first and writes then", "a late payment takes held tickets"],
)
async def test_without_guard_and_index_an_interleaving_breaks_an_invariant(
    scheduler: Scheduler, scenario: Scenario, mutant: str, main_case: str
) -> None:
    """The negative control: these searches can fail."""
    for change in (mutant, mutants.NO_INDEX):
        await scenario.owner.execute(change)
    arrangement, actions, _ = MAIN_CASES[main_case]
    with pytest.raises(AssertionError, match="is on live lines of"):
        await outcomes(scheduler, scenario, arrangement, actions)


async def test_serial_schedules_do_not_find_a_check_before_the_write(
    scheduler: Scheduler, scenario: Scenario
) -> None:
    """So only interleavings find it."""
    for change in (mutants.CHECK_THEN_WRITE_HOLD, mutants.NO_INDEX):
        await scenario.owner.execute(change)
    arrangement, actions, expected = MAIN_CASES["two want one"]
    lengths = [script.length for script in await prepared(scenario, arrangement, actions)]
    ended = {
        str(await run(scheduler, scenario, arrangement, actions, order))
        for order in serial(*lengths)
    }
    assert ended == expected
