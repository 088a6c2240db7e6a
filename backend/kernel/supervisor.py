"""Supervised background tasks: named, restarted with backoff after an exception, monitored by a
heartbeat.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import structlog

from backend.kernel.health import Check, NotReady
from backend.kernel.metrics import TASK_HEARTBEAT, TASK_RESTARTS
from backend.kernel.redis import is_full

log = structlog.get_logger()

Work = Callable[[], Awaitable[None]]

# A loop that ran this long before it failed starts over with the shortest delay.
HEALTHY_SECONDS = 30.0
CANCEL_AGAIN_SECONDS = 0.5
# Longer than any wait within one iteration of a task with a heartbeat.
SILENT_SECONDS = 30.0


class TaskStatus(NamedTuple):
    """The last heartbeat of a task (monotonic clock), its role, and the exception raised since."""

    at: float
    role: str | None = None
    error: str | None = None


# One for the process, as the metrics are.
_statuses: dict[str, TaskStatus] = {}


async def supervise(
    name: str, work: Work, *, min_delay: float = 0.1, max_delay: float = 5.0
) -> None:
    """Run `work` forever: when it raises or returns, start it again after a growing, jittered
    delay in seconds.
    """
    clock = asyncio.get_running_loop().time
    delay = min_delay
    while True:
        started = clock()
        try:
            await work()
        except Exception as error:  # the edge of a background task: logged, counted, restarted
            _statuses[name] = _statuses.get(name, TaskStatus(time.monotonic()))._replace(
                error=repr(error)
            )
            is_outage = isinstance(error, OSError) or is_full(error)
            log.warning("task failed", task=name, error=repr(error), exc_info=not is_outage)
        delay = min_delay if clock() - started > HEALTHY_SECONDS else min(delay * 2, max_delay)
        TASK_RESTARTS.labels(task=name).inc()
        await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret


def heartbeat(name: str, role: str | None = None) -> None:
    """Record that the task `name` completed an iteration, shorter than SILENT_SECONDS.

    `/readyz` returns `role` as the task's status, or "ok" without one.
    """
    TASK_HEARTBEAT.labels(task=name).set_to_current_time()
    _statuses[name] = TaskStatus(time.monotonic(), role)


def alive(name: str) -> Check:
    """A check that this task had an iteration within `SILENT_SECONDS` and raised no exception
    since.
    """

    async def check() -> str | None:
        status = _statuses.get(name)
        if status is None:
            raise NotReady("the task has not completed an iteration yet")
        if status.error is not None:
            raise NotReady(f"the task failed and is being restarted: {status.error}"[:200])
        silent = time.monotonic() - status.at
        if silent > SILENT_SECONDS:
            raise NotReady(f"the task sent no heartbeat for {silent:.0f} s")
        return status.role

    return check


@asynccontextmanager
async def running(*works: tuple[str, Work], max_delay: float = 5.0) -> AsyncIterator[None]:
    """Supervise each (name, work) while the block runs, then cancel all tasks and wait for them.

    The cancellation is repeated until every task is done: a library that waits with a timeout can
    lose a cancellation that arrives together with the reply.
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
