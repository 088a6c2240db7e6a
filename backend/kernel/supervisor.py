"""Background loops that outlive their failures: named, restarted with backoff, watched by a heartbeat."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import structlog

from backend.kernel.health import Check, NotReady
from backend.kernel.metrics import TASK_HEARTBEAT, TASK_RESTARTS

log = structlog.get_logger()

Work = Callable[[], Awaitable[None]]

# A loop that ran this long before it failed starts over with the shortest delay.
HEALTHY_SECONDS = 30.0
CANCEL_AGAIN_SECONDS = 0.5
# Longer than any wait within a turn of a loop that says it is alive.
SILENT_SECONDS = 30.0


class Pulse(NamedTuple):
    """What a task last said: when, by the monotonic clock, and as what; and how it failed since then."""

    at: float
    role: str | None = None
    fault: str | None = None


# As the metrics are, this is one for the process.
_pulses: dict[str, Pulse] = {}


async def supervise(
    name: str, work: Work, *, min_delay: float = 0.1, max_delay: float = 5.0
) -> None:
    """Run `work` for ever; when it raises or returns, start it again after a jittered, growing delay (seconds)."""
    clock = asyncio.get_running_loop().time
    delay = min_delay
    while True:
        started = clock()
        try:
            await work()
        except Exception as fault:  # the edge of a background task: told, counted, restarted
            _pulses[name] = _pulses.get(name, Pulse(time.monotonic()))._replace(fault=repr(fault))
            log.warning(
                "task failed", task=name, error=repr(fault), exc_info=not isinstance(fault, OSError)
            )
        delay = min_delay if clock() - started > HEALTHY_SECONDS else min(delay * 2, max_delay)
        TASK_RESTARTS.labels(task=name).inc()
        await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret


def heartbeat(name: str, role: str | None = None) -> None:
    """Say that the loop `name` has done a turn; called by loops that wait in bounded steps. `role` is told with readiness."""
    TASK_HEARTBEAT.labels(task=name).set_to_current_time()
    _pulses[name] = Pulse(time.monotonic(), role)


def alive(name: str) -> Check:
    """For /readyz: that this loop did a turn lately, and has not failed since."""

    async def check() -> str | None:
        pulse = _pulses.get(name)
        if pulse is None:
            raise NotReady("has not done its first turn")
        if pulse.fault is not None:
            raise NotReady(f"failed, and is started again: {pulse.fault}"[:200])
        silent = time.monotonic() - pulse.at
        if silent > SILENT_SECONDS:
            raise NotReady(f"has not been heard of for {silent:.0f} s")
        return pulse.role

    return check


@asynccontextmanager
async def running(*works: tuple[str, Work], max_delay: float = 5.0) -> AsyncIterator[None]:
    """Supervise each (name, work) while the block runs, then cancel them all and wait for their end.

    Cancelled again until they end: a library that waits with a timeout can lose a cancellation that meets the reply.
    """
    tasks = [
        asyncio.create_task(supervise(name, work, max_delay=max_delay), name=name)
        for name, work in works
    ]
    try:
        yield
    finally:
        pending = set(tasks)
        while pending:
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_SECONDS)
