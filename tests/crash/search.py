"""One run of the search: a fresh system, crashed at the given points one after another, and what is wrong with it then."""

from collections.abc import Iterable
from typing import NamedTuple

from tests.crash import scenario, verdict
from tests.crash.nursery import Nursery
from tests.crash.parts import Parts, running
from tests.system import System

# A restarted process crashes at the next point; the story is played again for those that this one didn't come to.
ROUNDS = 4
WEBHOOK_DELAY_MS = 1500


class Found(NamedTuple):
    """`died` are the points that it crashed at, `missed` those that it never came to."""

    died: list[str]
    missed: list[str]
    violations: list[str]


async def record(system: System, nursery: Nursery) -> list[str]:
    """The points that the story always comes to, in their order: with nothing crashing, in two rounds of it."""
    system.configure(HOLD_SECONDS=scenario.HOLD_SECONDS)
    parts = Parts(system, nursery)
    async with scenario.opened(system) as world, running(parts):
        started = parts.reached()
        await world.play()
        await verdict.quiet(world, parts)
        once = parts.reached()
        await world.play()
        await verdict.quiet(world, parts)
        twice = parts.reached() - once
        assert await verdict.violations(world) == []
    return [name for name in once if name in started or name in twice]


async def search(
    system: System,
    nursery: Nursery,
    armed: Iterable[str],
    *,
    known: Iterable[str] | None = None,
    sabotage: str = "",
) -> Found:
    system.configure(HOLD_SECONDS=scenario.HOLD_SECONDS)
    parts = Parts(system, nursery, armed=armed, known=known, sabotage=sabotage)
    async with scenario.opened(system) as world, running(parts):
        if sabotage:
            # No webhook comes in time to mend what went wrong.
            await world.stripe.faults(webhooks={"delay_ms": WEBHOOK_DELAY_MS})
        for _ in range(ROUNDS):
            await world.play()
            await verdict.quiet(world, parts)
            if not parts.remaining:
                break
        missed = parts.remaining
        await parts.disarm()
        await verdict.quiet(world, parts)
        return Found(parts.died, missed, await verdict.violations(world))
