"""Reads that requests share: for each key, at most one runs, and at most one waits for its turn.

A request never gets a result that was read before the request arrived. Requests that arrive while a
read runs share the next one. A thousand simultaneous requests for one page therefore cost the store
a few reads, one after the other, and each reply is as fresh as that of a read of its own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Result = TypeVar("Result")


class SharedReads(Generic[Result]):
    """There are never more keys than requests that wait."""

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Task[Result]] = {}
        self._waiting: dict[Hashable, asyncio.Task[Result]] = {}

    async def get(self, key: Hashable, read: Callable[[], Awaitable[Result]]) -> Result:
        """Return the result of a read that begins after this call; `read` reads it.

        Raises the exception of the read. A cancelled caller does not cancel the read, since others
        may share it.
        """
        running = self._running.get(key)
        if running is None:
            task = self._running[key] = self._task(key, read)
        elif key in self._waiting:
            task = self._waiting[key]
        else:
            task = self._waiting[key] = self._task(key, read, running)
        return await asyncio.shield(task)

    def _task(
        self,
        key: Hashable,
        read: Callable[[], Awaitable[Result]],
        earlier: "asyncio.Task[Result] | None" = None,
    ) -> "asyncio.Task[Result]":
        async def run() -> Result:
            if earlier is not None:
                await asyncio.wait([earlier])
                self._running[key] = self._waiting.pop(key)
            try:
                return await read()
            finally:
                # A task that waits takes the place over in the next step.
                if key not in self._waiting:
                    del self._running[key]

        task = asyncio.create_task(run())
        # When every caller was cancelled, nobody else retrieves the exception.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task
