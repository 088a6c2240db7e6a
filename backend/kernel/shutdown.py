"""How a process is asked to end: by one signal. What it should not stop halfway ends first; a second signal ends it at once."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Longer than a request, a job or a batch takes; an orchestrator's grace period is longer still.
FINISH_SECONDS = 10.0


@contextmanager
def stop_signals(asked: Callable[[], None]) -> Iterator[None]:
    """While the block runs, the first signal calls `asked` and the next one ends the process."""

    def ask(_number: int, _frame: FrameType | None) -> None:
        for number in SIGNALS:
            signal.signal(number, _end_at_once)
        asked()

    before = {number: signal.signal(number, ask) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stop_asked() -> Iterator[asyncio.Event]:
    """An event that the first signal sets."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    with stop_signals(lambda: loop.call_soon_threadsafe(stop.set)):  # type: ignore[arg-type]
        yield stop


async def whole(work: Coroutine[Any, Any, T], *, seconds: float = FINISH_SECONDS) -> T:
    """Do work that should not stop halfway: a cancellation waits for its end, but no longer than this."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await ended(task, seconds=seconds)
        raise


async def ended(*tasks: asyncio.Task[Any], seconds: float = FINISH_SECONDS) -> None:
    """Wait for tasks, however often this is cancelled meanwhile, and cancel those whose time is over."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    pending = set(tasks)
    while pending and (left := deadline - clock()) > 0:
        with suppress(asyncio.CancelledError):
            _, pending = await asyncio.wait(pending, timeout=left)
    for task in pending:
        task.cancel()
    # Whatever they ended with, nobody is left to be told.
    await asyncio.gather(*tasks, return_exceptions=True)


def _end_at_once(number: int, _frame: FrameType | None) -> NoReturn:
    os._exit(128 + number)
