"""One run of the search: a new system dies at the given points one after another; then its state is
verified.
"""

from collections.abc import Iterable
from typing import NamedTuple

from tests.crash import scenario, verification
from tests.crash.processes import Processes, running
from tests.fork_server import ForkServer
from tests.system import System

# A restarted process dies at the next point. The scenario is repeated for points that it did not
# reach.
ROUNDS = 4
WEBHOOK_DELAY_MS = 1500


class SearchResult(NamedTuple):
    """`died` are the points at which a process died, `missed` those that were never reached."""

    died: list[str]
    missed: list[str]
    violations: list[str]


async def record(system: System, fork_server: ForkServer) -> list[str]:
    """Return the points that every run of the scenario reaches, from two runs without crashes."""
    system.configure(HOLD_SECONDS=scenario.HOLD_SECONDS)
    processes = Processes(system, fork_server)
    async with scenario.open_world(system) as world, running(processes):
        started = processes.reached()
        await world.play()
        await verification.wait_until_idle(world, processes)
        once = processes.reached()
        await world.play()
        await verification.wait_until_idle(world, processes)
        twice = processes.reached() - once
        assert await verification.violations(world) == []
    return [name for name in once if name in started or name in twice]


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
