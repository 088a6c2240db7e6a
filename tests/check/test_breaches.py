"""The checker checked: each invariant is broken in every way that it claims to see, and that one fires, and no other."""

import pytest

from backend.check.amounts_and_times import skewed
from tests.check.breaches import (
    access,
    amounts_and_times,
    captures,
    client_state,
    durability,
    guarded_writes,
    hold_expiry,
    one_winner,
    publication,
    single_effect,
)
from tests.check.breaches.breach import Breach
from tests.check.market import Market

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
)
BREACHES = [breach for module in MODULES for breach in module.BREACHES]


@pytest.mark.parametrize("breach", BREACHES, ids=lambda breach: f"{breach.invariant} {breach.name}")
async def test_a_breach_fires_its_invariant_and_no_other(breach: Breach, market: Market) -> None:
    try:
        await breach.plant(market)
        broken = await market.broken()
    finally:
        await _undo(market, breach.undo)
    assert broken.keys() == {breach.invariant}, broken
    assert any(breach.says in offender for offender in broken[breach.invariant]), broken


def test_every_invariant_is_broken_in_more_than_one_way() -> None:
    ways = [breach.invariant for breach in BREACHES]
    assert {f"I{number}" for number in range(1, 11)} == set(ways)
    assert min(ways.count(invariant) for invariant in ways) > 1


@pytest.mark.parametrize(
    ("ahead", "said"),
    [
        (0.0, []),
        (1.9, []),
        (3.2, ["Redis's clock is 3 seconds ahead of Postgres's"]),
        (-9, ["Redis's clock is 9 seconds behind Postgres's"]),
    ],
)
def test_clocks_that_part_are_told(ahead: float, said: list[str]) -> None:
    assert skewed(ahead) == said


async def _undo(market: Market, undo: str) -> None:
    if undo.startswith("alter"):
        await market.rows.execute(undo)
    elif undo:
        await market.redis.config_set(*undo.split())
