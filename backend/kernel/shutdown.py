"""Graceful shutdown: the first signal stops the process in order, the second one ends it at
once.

A unit of work that must not stop halfway runs in `finish_before_cancel`.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Longer than a request, a job or a batch takes, and shorter than an orchestrator's grace period.
FINISH_SECONDS = 10.0


@contextmanager
def stop_signals(stop: Callable[[], None]) -> Iterator[None]:
    """While the block runs, the first SIGTERM or SIGINT calls `stop`, and the next one ends the
    process.
    """

    def handle(_number: int, _frame: FrameType | None) -> None:
        for number in SIGNALS:
            signal.signal(number, _exit_at_once)
        stop()

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stop_event() -> Iterator[asyncio.Event]:
    """An asyncio event that the first signal sets."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    with stop_signals(lambda: loop.call_soon_threadsafe(stop.set)):  # type: ignore[arg-type]
        yield stop


async def finish_before_cancel(
    work: Coroutine[Any, Any, T], *, seconds: float = FINISH_SECONDS
) -> T:
    """Await work that must not stop halfway: a cancellation waits up to `seconds` for the work,
    then cancels it.
    """
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await wait_or_cancel(task, seconds=seconds)
        raise


async def wait_or_cancel(*tasks: asyncio.Task[Any], seconds: float = FINISH_SECONDS) -> None:
    """Wait up to `seconds` for tasks, also while this coroutine is cancelled, then cancel the
    pending ones.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    pending = set(tasks)
    while pending and (left := deadline - clock()) > 0:
        with suppress(asyncio.CancelledError):
            _, pending = await asyncio.wait(pending, timeout=left)
    for task in pending:
        task.cancel()
    # Retrieves their exceptions; the caller is itself being cancelled.
    await asyncio.gather(*tasks, return_exceptions=True)


def _exit_at_once(number: int, _frame: FrameType | None) -> NoReturn:
    os._exit(128 + number)
