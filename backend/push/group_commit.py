"""Appends that share a call: those that come while another append is in progress wait for it and
are then appended together, in order. So one connection serves any number of publishers.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from backend.push.push_log import Message

# Bounds an entry of the log: a call has ten messages of 10 KB at most.
MAX_MESSAGES: Final = 100

Waiting = tuple[Sequence[Message], "asyncio.Future[None]"]


class GroupCommit:
    """`append` appends all messages or none, and raises an OSError when it does not know."""

    def __init__(self, append: Callable[[Sequence[Message]], Awaitable[None]]) -> None:
        self._append = append
        self._waiting: deque[Waiting] = deque()
        self._task: asyncio.Task[None] | None = None

    async def add(self, messages: Sequence[Message]) -> None:
        """Append all messages or none. Raises the error of the append that had them."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.append((messages, done))
        if self._task is None:
            self._task = loop.create_task(self._run())
        await done

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._append_some()
        finally:
            self._task = None

    async def _append_some(self) -> None:
        messages, taken = list[Message](), list[asyncio.Future[None]]()
        while self._waiting and len(messages) < MAX_MESSAGES:
            more, done = self._waiting.popleft()
            messages += more
            taken.append(done)
        error: OSError | None = None
        try:
            await self._append(messages)
        except OSError as raised:
            error = raised
            # Those that came meanwhile have waited for as long as a call may take.
            taken += [done for _, done in self._waiting]
            self._waiting.clear()
        for done in taken:
            if done.done():
                # Its caller was cancelled.
                continue
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)
