"""Each planted breach is reported under its own invariant and under no other."""

import pytest

from backend.check.amounts_and_times import skewed
from backend.check.invariants import INVARIANTS
from tests.check.breaches import (
    access,
    amounts_and_times,
    captures,
    client_state,
    durability,
    ended_sessions,
    guarded_writes,
    hold_expiry,
    one_winner,
    publication,
    single_effect,
)
from tests.check.breaches.breach import Breach
from tests.check.seeded_system import SeededSystem

MODULES = (
    one_winner,
    captures,
    hold_expiry,
    guarded_writes,
    publication,
    single_effect,
    client_state,
    access,
    durability,
    amounts_and_times,
    ended_sessions,
)
BREACHES = [breach for module in MODULES for breach in module.BREACHES]


@pytest.mark.parametrize("breach", BREACHES, ids=lambda breach: f"{breach.invariant} {breach.name}")
async def test_a_breach_is_reported_under_its_invariant_and_no_other(
    breach: Breach, seeded: SeededSystem
) -> None:
    try:
        await breach.plant(seeded)
        broken = await seeded.broken()
    finally:
        await _undo(seeded, breach.undo)
    assert breach.invariant in broken, broken
    assert broken.keys() <= {breach.invariant, *breach.also}, broken
    assert any(breach.sentence in violation for violation in broken[breach.invariant]), broken


def test_every_invariant_has_breaches() -> None:
    ways = [breach.invariant for breach in BREACHES]
    assert {invariant.name for invariant in INVARIANTS} == set(ways)
    assert min(ways.count(invariant) for invariant in ways) > 1


@pytest.mark.parametrize(
    ("ahead", "sentences"),
    [
        (0.0, []),
        (1.9, []),
        (3.2, ["Redis's clock is 3 seconds ahead of Postgres's"]),
        (-9, ["Redis's clock is 9 seconds behind Postgres's"]),
    ],
)
def test_a_difference_of_the_clocks_is_a_violation(ahead: float, sentences: list[str]) -> None:
    assert skewed(ahead) == sentences


async def _undo(seeded: SeededSystem, undo: str) -> None:
    if undo.startswith("alter"):
        await seeded.rows.execute(undo)
    elif undo:
        await seeded.redis.config_set(*undo.split())
