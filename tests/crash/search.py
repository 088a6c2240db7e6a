"""One run of the search: a new system dies at the given points one after another; then its state is
verified.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from tests.crash import scenario, verification
from tests.crash.processes import Processes, running
from tests.fork_server import ForkServer
from tests.system import System

# A restarted process dies at the next point. The scenario is repeated for points that it did not
# reach.
ROUNDS = 4
RECORDED = 3
WEBHOOK_DELAY_MS = 1500
EFFECT_SECONDS = 2.0


class SearchResult(NamedTuple):
    """`died` are the points at which a process died, `missed` those that were never reached."""

    died: list[str]
    missed: list[str]
    violations: list[str]


async def record(system: System, fork_server: ForkServer) -> list[str]:
    """Return the points that every run of the scenario reaches, from RECORDED runs without crashes.

    On a slow machine a run reaches points of a worker that completes what the API has begun.
    """
    system.configure(HOLD_SECONDS=scenario.HOLD_SECONDS)
    processes = Processes(system, fork_server)
    async with scenario.open_world(system) as world, running(processes):
        started = processes.reached()
        totals = [Counter[str]()]
        for _ in range(RECORDED):
            await world.play()
            totals.append(await _reached_when_idle(world, processes))
        assert await verification.violations(world) == []
    once, *later = [after - before for before, after in pairwise(totals)]
    return [name for name in once if name in started or all(name in reached for reached in later)]


async def _reached_when_idle(world: scenario.World, processes: Processes) -> Counter[str]:
    """A process may still be between the points before and after its last effect, such as arq's
    note that a job is finished, when no row shows unfinished work any more.
    """
    await verification.wait_until_idle(world, processes)
    end = asyncio.get_running_loop().time() + EFFECT_SECONDS
    while True:
        reached = processes.reached()
        under_way = any(
            " before " in name and count > reached[name.replace(" before ", " after ")]
            for name, count in reached.items()
            if "_ensure_groups" not in name
        )
        if not under_way or asyncio.get_running_loop().time() > end:
            return reached
        await asyncio.sleep(0.03)


async def search(
    system: System,
    fork_server: ForkServer,
    armed: Iterable[str],
    *,
    known: Iterable[str] | None = None,
    faults: str = "",
) -> SearchResult:
    system.configure(HOLD_SECONDS=scenario.HOLD_SECONDS)
    processes = Processes(system, fork_server, armed=armed, known=known, faults=faults)
    async with scenario.open_world(system) as world, running(processes):
        if faults:
            # Delay webhooks, so that none repairs the damage in time.
            await world.stripe.faults(webhooks={"delay_ms": WEBHOOK_DELAY_MS})
        for _ in range(ROUNDS):
            await world.play()
            await verification.wait_until_idle(world, processes)
            if not processes.remaining:
                break
        missed = processes.remaining
        await processes.disarm()
        await verification.wait_until_idle(world, processes)
        return SearchResult(processes.died, missed, await verification.violations(world))
