"""Two or three transactions on the same tickets, in every order of their steps.

Whatever the order, the outcome is one that the transactions have one after the other, and for the cases that the shop is
about one of those that are written down here.
"""

from collections.abc import Sequence

import pytest

from backend.kernel import correlation
from tests.search import mutants
from tests.search.scenes import (
    FIRST,
    NEW_PRICE,
    SECOND,
    THIRD,
    Action,
    Arrangement,
    Outcome,
    Scene,
    again,
    begin,
    cancel,
    edit,
    expire,
    fail,
    faults,
    finish,
    hold,
    outcome,
    settle,
    withdraw,
)
from tests.search.schedules import Script, Stage, interleavings, serial
from tests.system import System

FREE: Arrangement = ()
HELD: Arrangement = (Scene.held,)
LAPSED: Arrangement = (Scene.held, Scene.lapsed)
LAPSED_CART: Arrangement = (Scene.held_cart, Scene.lapsed)
PAYING: Arrangement = (Scene.paying,)
PAYING_LAPSED: Arrangement = (Scene.paying, Scene.lapsed)
PAYING_LAPSED_CART: Arrangement = (Scene.paying_for_a_cart, Scene.lapsed)
PAYING_EXPIRED: Arrangement = (Scene.paying, Scene.expired)
WON: Arrangement = (Scene.paying, Scene.won)

first, second, third = hold(FIRST), hold(SECOND), hold(THIRD)
second_takes_the_other, third_takes_both = hold(SECOND, 1), hold(THIRD, 0, 1)

PAIRS: dict[str, tuple[Arrangement, list[tuple[Action, Action]]]] = {
    "free": (FREE, [(first, second), (first, third_takes_both), (first, withdraw), (first, edit), (withdraw, edit)]),
    "held": (HELD, [
        (cancel, second), (cancel, begin), (cancel, again(cancel)), (cancel, withdraw), (cancel, expire),
        (begin, again(begin)), (begin, second), (begin, withdraw), (begin, expire),
    ]),
    "lapsed": (LAPSED, [
        (expire, second), (expire, again(expire)), (expire, cancel), (expire, begin), (expire, withdraw), (expire, edit),
        (second, third), (second, cancel), (second, begin), (second, withdraw), (second, edit),
    ]),
    "lapsed cart": (LAPSED_CART, [
        (second_takes_the_other, third), (second_takes_the_other, third_takes_both),
        (second_takes_the_other, withdraw), (second_takes_the_other, expire), (withdraw, expire),
    ]),
    "paying": (PAYING, [
        (settle, cancel), (settle, second), (settle, withdraw), (settle, again(settle)), (settle, begin), (settle, expire),
    ]),
    "paying, lapsed": (PAYING_LAPSED, [
        (settle, expire), (settle, second), (settle, withdraw), (settle, edit), (settle, cancel), (settle, again(settle)),
    ]),
    "paying for a cart, lapsed": (PAYING_LAPSED_CART, [
        (settle, expire), (settle, second_takes_the_other), (settle, withdraw), (settle, third_takes_both),
    ]),
    "paying, expired": (PAYING_EXPIRED, [
        (settle, second), (settle, withdraw), (settle, edit), (settle, again(settle)), (settle, expire),
    ]),
    "won": (WON, [
        (finish, again(finish)), (finish, fail), (finish, second), (finish, cancel), (finish, withdraw), (finish, settle),
        (fail, second), (fail, settle), (fail, expire), (fail, withdraw), (fail, again(fail)),
    ]),
}  # fmt: skip

TRIPLES: dict[str, tuple[Arrangement, tuple[Action, Action, Action]]] = {
    "three for one": (FREE, (first, second, third)),
    "held: cancel, pay, hold": (HELD, (cancel, begin, second)),
    "lapsed: expire, hold, withdraw": (LAPSED, (expire, second, withdraw)),
    "lapsed cart: expire, hold, hold the other": (LAPSED_CART, (expire, second_takes_the_other, third)),
    "lapsed cart: hold the other, hold both, withdraw": (LAPSED_CART, (second_takes_the_other, third_takes_both, withdraw)),
    "late: settle, hold, withdraw": (PAYING_LAPSED, (settle, second, withdraw)),
    "won: fail, hold, hold": (WON, (fail, second, third)),
}  # fmt: skip


# What the shop is about: all that may come of it, and each does come.
HEADLINES: dict[str, tuple[Arrangement, tuple[Action, ...], set[str]]] = {
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
    "expire and hold": (LAPSED, (expire, second), {
        "second holds: held; held by second; first expired, second pending",
    }),
    "expire and two want it": (LAPSED, (expire, second, third), {
        "second holds: held, third holds: ticket_unavailable; held by second; first expired, second pending",
        "second holds: ticket_unavailable, third holds: held; held by third; first expired, third pending",
    }),
    "expire and pay late": (PAYING_LAPSED, (expire, settle), {
        "settle: won; reserved by first; first confirmed",
    }),
    "expire, pay late and hold": (PAYING_LAPSED, (expire, settle, second), {
        "second holds: ticket_unavailable, settle: won; reserved by first; first confirmed",
        "second holds: held, settle: refused; held by second; first expired, second pending",
    }),
    "pay late and withdraw": (PAYING_LAPSED, (settle, withdraw), {
        "settle: won, withdraw: ticket_taken; reserved by first; first confirmed",
        "settle: refused, withdraw: withdrawn; withdrawn; first expired",
    }),
    "pay late and change the price": (PAYING_LAPSED, (settle, edit), {
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
async def stage(system: System) -> Stage:
    owner = await system.connect()
    # Here a step waits as long as its schedule says, not as long as a buyer would.
    await owner.execute("alter function tickets.hold set lock_timeout = '5s'")
    roles = ("orders", "payments", "tickets")
    return Stage(
        await system.connect(),
        {role: [await system.connect(role) for _ in range(3)] for role in roles},
    )


@pytest.fixture
async def scene(system: System) -> Scene:
    roles = ("orders", "payments", "tickets")
    return Scene(
        system.settings, await system.connect(), *[await system.connect(role) for role in roles]
    )


async def played(
    stage: Stage,
    scene: Scene,
    arrangement: Arrangement,
    scripts: Sequence[Action],
    schedule: Sequence[int],
) -> Outcome:
    """What one schedule ends in. What must hold in any case is asserted here."""
    written = await arranged(scene, arrangement, scripts)
    answers = await stage.play(written, schedule)
    ended = await outcome(scene, answers)
    assert await faults(scene) == [], (ended, schedule)
    return ended


async def arranged(
    scene: Scene, arrangement: Arrangement, actions: Sequence[Action]
) -> list[Script]:
    with correlation.bound():
        await scene.free()
        for step in arrangement:
            await step(scene)
    written = [action(scene) for action in actions]
    return [script.at_once() if len(actions) > 2 else script for script in written]


async def outcomes(
    stage: Stage, scene: Scene, arrangement: Arrangement, actions: Sequence[Action]
) -> tuple[set[Outcome], dict[Outcome, tuple[int, ...]]]:
    """Those of one transaction after the other, and those of all interleavings, each with a schedule that leads to it."""
    lengths = [script.length for script in await arranged(scene, arrangement, actions)]
    allowed = {
        await played(stage, scene, arrangement, actions, order) for order in serial(*lengths)
    }
    found = {
        await played(stage, scene, arrangement, actions, schedule): schedule
        for schedule in interleavings(*lengths)
    }
    return allowed, found


async def deadlocks(scene: Scene) -> int:
    count: int = await scene.owner.fetchval(
        "select deadlocks from pg_stat_database where datname = current_database()"
    )
    return count


@pytest.mark.parametrize("name", PAIRS)
async def test_two_transactions_end_as_if_one_came_after_the_other(
    stage: Stage, scene: Scene, name: str
) -> None:
    arrangement, pairs = PAIRS[name]
    for actions in pairs:
        allowed, found = await outcomes(stage, scene, arrangement, actions)
        assert found.keys() - allowed == set(), found
    assert await deadlocks(scene) == 0


@pytest.mark.parametrize("name", TRIPLES)
async def test_three_transactions_end_as_if_one_came_after_the_other(
    stage: Stage, scene: Scene, name: str
) -> None:
    arrangement, actions = TRIPLES[name]
    allowed, found = await outcomes(stage, scene, arrangement, actions)
    assert found.keys() - allowed == set(), found
    assert await deadlocks(scene) == 0


@pytest.mark.parametrize("name", HEADLINES)
async def test_what_may_come_of_it_is_what_does(stage: Stage, scene: Scene, name: str) -> None:
    arrangement, actions, may_come = HEADLINES[name]
    allowed, found = await outcomes(stage, scene, arrangement, actions)
    assert {str(one) for one in found} == may_come
    assert found.keys() - allowed == set(), found
    assert await deadlocks(scene) == 0


async def test_with_a_hold_that_looks_first_and_takes_then_the_index_still_decides(
    stage: Stage, scene: Scene
) -> None:
    await scene.owner.execute(mutants.CHECK_THEN_WRITE_HOLD)
    arrangement, actions, may_come = HEADLINES["two want one"]
    _, found = await outcomes(stage, scene, arrangement, actions)
    assert {str(one) for one in found} == may_come


@pytest.mark.parametrize(
    ("mutant", "headline"),
    [
        (mutants.CHECK_THEN_WRITE_HOLD, "two want one"),
        (mutants.RESERVE_AT_ANY_PRICE, "expire, pay late and hold"),
    ],
    ids=["hold looks first and takes then", "a late payment takes what others have"],
)
async def test_without_a_guard_and_the_index_some_interleaving_is_found_out(
    stage: Stage, scene: Scene, mutant: str, headline: str
) -> None:
    """The negative control: these searches can fail."""
    for change in (mutant, mutants.NO_INDEX):
        await scene.owner.execute(change)
    arrangement, actions, _ = HEADLINES[headline]
    with pytest.raises(AssertionError, match="is on live lines of"):
        await outcomes(stage, scene, arrangement, actions)


async def test_looking_first_and_taking_then_is_right_as_long_as_nobody_comes_in_between(
    stage: Stage, scene: Scene
) -> None:
    """So it takes the interleavings to find it out."""
    for change in (mutants.CHECK_THEN_WRITE_HOLD, mutants.NO_INDEX):
        await scene.owner.execute(change)
    arrangement, actions, may_come = HEADLINES["two want one"]
    lengths = [script.length for script in await arranged(scene, arrangement, actions)]
    ended = {
        str(await played(stage, scene, arrangement, actions, order)) for order in serial(*lengths)
    }
    assert ended == may_come
