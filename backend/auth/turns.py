"""A bounded queue in which callers take turns, so that one with many tasks cannot delay the others.

In a queue in order of arrival, the parallel guesses of one address fill all places: everybody else
waits behind them, or is refused.
"""

import asyncio
from collections import OrderedDict, deque

from backend.auth.errors import Busy


class Turns:
    """Admits `at_once` tasks; at most `waiting` others wait. A task that is admitted must call
    `give_back` at its end.

    A caller's tasks are admitted in order, and after each of them the next caller has its turn.
    When all places are taken, the newest task of the caller with the most is refused for one of a
    caller with fewer.
    """

    def __init__(self, *, at_once: int, waiting: int) -> None:
        self._free = at_once
        self._places = waiting
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    async def take(self, caller: str) -> None:
        """Wait for a turn. Raises Busy when there is no place to wait."""
        if self._free:
            self._free -= 1
            return
        if not self._places:
            self._take_place(caller)
        self._places -= 1
        turn = asyncio.get_running_loop().create_future()
        self._queues.setdefault(caller, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._leave(caller, turn)
            elif turn.exception() is None:
                # The turn came in the same iteration of the event loop as the cancellation.
                self.give_back()
            raise

    def give_back(self) -> None:
        """End a turn, and admit the next task."""
        while self._queues:
            caller, queue = self._queues.popitem(last=False)
            turn = queue.popleft()
            if queue:
                self._queues[caller] = queue
            self._places += 1
            # The task of a cancelled one has not run since.
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _take_place(self, caller: str) -> None:
        """Refuse the newest task of the caller with the most. Raises Busy when that is no other."""
        own = len(self._queues.get(caller, ()))
        most = max(self._queues, key=lambda each: len(self._queues[each]), default=None)
        # Otherwise two callers could refuse each other's last task without end.
        if most is None or len(self._queues[most]) <= own + 1:
            raise Busy
        self._leave(most, newest := self._queues[most][-1])
        if not newest.done():
            newest.set_exception(Busy())

    def _leave(self, caller: str, turn: asyncio.Future[None]) -> None:
        queue = self._queues.get(caller)
        if queue is None or turn not in queue:
            return
        queue.remove(turn)
        if not queue:
            del self._queues[caller]
        self._places += 1
