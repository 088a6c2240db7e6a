"""Background loops that outlive their failures: named, restarted with backoff, watched by a heartbeat."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

from backend.kernel.metrics import TASK_HEARTBEAT, TASK_RESTARTS

log = structlog.get_logger()

Work = Callable[[], Awaitable[None]]

# A loop that ran this long before it failed starts over with the shortest delay.
HEALTHY_SECONDS = 30.0
CANCEL_AGAIN_SECONDS = 0.5


async def supervise(name: str, work: Work, *, min_delay: float = 0.1, max_delay: float = 5.0) -> None:
    """Run `work` for ever; when it raises or returns, start it again after a jittered, growing delay (seconds)."""
    clock = asyncio.get_running_loop().time
    delay = min_delay
    while True:
        started = clock()
        try:
            heartbeat(name)
            await work()
        except Exception as fault:  # the edge of a background task: told, counted, restarted
            log.warning("task failed", task=name, error=repr(fault), exc_info=not isinstance(fault, OSError))
        delay = min_delay if clock() - started > HEALTHY_SECONDS else min(delay * 2, max_delay)
        TASK_RESTARTS.labels(task=name).inc()
        await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret


def heartbeat(name: str) -> None:
    """Say that the loop `name` is alive; called once a turn by loops that wait in bounded steps."""
    TASK_HEARTBEAT.labels(task=name).set_to_current_time()


@asynccontextmanager
async def running(*works: tuple[str, Work]) -> AsyncIterator[None]:
    """Supervise each (name, work) while the block runs, then cancel them all and wait for their end.

    Cancelled again until they end: a library that waits with a timeout can lose a cancellation that meets the reply.
    """
    tasks = [asyncio.create_task(supervise(name, work), name=name) for name, work in works]
    try:
        yield
    finally:
        pending = set(tasks)
        while pending:
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_SECONDS)
