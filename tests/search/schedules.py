"""Runs every interleaving of a few transactions, and returns the outcome of each.

A script is one transaction: its statements, then its commit, on a connection of the role that runs
them in production. `begin` is no step of its own: at read committed it takes no snapshot, so the
transaction starts with its first statement. A schedule is the order of the steps. While a step
waits for a lock, the other scripts continue; once it has the lock, the steps that it delayed follow
at once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import permutations
from typing import Any, NamedTuple
from uuid import uuid4

import asyncpg

from backend.kernel import correlation
from backend.kernel.database import Connection
from backend.kernel.problems import Problem

# The interval at which a running step is checked for its end or a lock.
POLL_SECONDS = 0.002
STUCK_SECONDS = 10.0

# Unless it is None, the value is part of the transaction's answers.
Step = Callable[[Connection], Awaitable[str | None]]


class Script(NamedTuple):
    """One transaction of one role. After a refusal it skips its other steps and rolls back."""

    name: str
    role: str
    steps: tuple[Step, ...]

    @property
    def length(self) -> int:
        """The number of steps, the commit included."""
        return len(self.steps) + 1

    def at_once(self) -> "Script":
        """All statements as one step, where there would be too many schedules."""

        async def all_of_them(connection: Connection) -> str | None:
            answers = [await step(connection) for step in self.steps]
            return next((answer for answer in answers if answer is not None), None)

        return Script(self.name, self.role, (all_of_them,))


Answers = Mapping[str, tuple[str, ...]]


def interleavings(*lengths: int) -> Iterator[tuple[int, ...]]:
    """Every order of the steps of transactions of these lengths, as the number of each step's."""
    if not any(lengths):
        yield ()
    for number, left in enumerate(lengths):
        if left:
            rest = [length - (number == other) for other, length in enumerate(lengths)]
            for tail in interleavings(*rest):
                yield (number, *tail)


def serial(*lengths: int) -> Iterator[tuple[int, ...]]:
    """The serial schedules: one transaction after the other, in every order."""
    for order in permutations(range(len(lengths))):
        yield tuple(number for number in order for _ in range(lengths[number]))


class Scheduler:
    """Runs schedules on connections of each role; `control` reads the locks."""

    def __init__(
        self, control: Connection, connections: Mapping[str, Sequence[Connection]]
    ) -> None:
        self._control = control
        self._connections = connections

    async def run(self, scripts: Sequence[Script], schedule: Sequence[int]) -> Answers:
        """Run one schedule. Returns each transaction's answers. Raises DeadlockDetectedError."""
        free = {role: iter(connections) for role, connections in self._connections.items()}
        running = [
            _RunningScript(script, next(free[script.role]), self._control) for script in scripts
        ]
        try:
            async with asyncio.timeout(STUCK_SECONDS):
                for number in schedule:
                    await running[number].turn()
                    for each in running:
                        await each.go_on()
                while not all(each.is_done for each in running):
                    for each in running:
                        await each.go_on()
        finally:
            for each in running:
                await each.close()
        return {each.script.name: tuple(each.answers) for each in running}


class _RunningScript:
    """One script in progress. At most one step runs; `_owed` counts the steps that it delayed."""

    def __init__(self, script: Script, connection: Connection, control: Connection) -> None:
        self.script = script
        self.answers: list[str] = []
        self._connection = connection
        self._control = control
        self._pid = connection.get_server_pid()
        self._transaction = connection.transaction()
        self._correlation_id = uuid4()
        self._next = 0
        self._owed = 0
        self._failed = False
        self._running: asyncio.Task[Any] | None = None

    @property
    def is_done(self) -> bool:
        return self._next == self.script.length and self._running is None

    async def turn(self) -> None:
        self._owed += 1
        await self.go_on()

    async def go_on(self) -> None:
        """Run the steps that are due, until one waits for a lock."""
        while True:
            if self._running is not None:
                if await self._waits():
                    return
                self._running = None
            if not self._owed:
                return
            self._owed -= 1
            with correlation.bound(self._correlation_id):
                self._running = asyncio.create_task(self._step())

    async def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _waits(self) -> bool:
        """Wait until the running step is done or waits for a lock. Returns whether it waits.

        Raises the exception of the step.
        """
        assert self._running is not None
        while True:
            done, _ = await asyncio.wait({self._running}, timeout=POLL_SECONDS)
            if done:
                self._running.result()
                return False
            if await self._control.fetchval(
                "select cardinality(pg_blocking_pids($1)) > 0", self._pid
            ):
                return True

    async def _step(self) -> None:
        number, self._next = self._next, self._next + 1
        if number == 0:
            await self._transaction.start()
        if number == len(self.script.steps):
            await (self._transaction.rollback() if self._failed else self._transaction.commit())
        elif not self._failed:
            try:
                answer = await self.script.steps[number](self._connection)
            except asyncpg.DeadlockDetectedError:
                raise
            except (Problem, asyncpg.PostgresError) as refusal:
                self._failed = True
                answer = getattr(refusal, "code", None) or type(refusal).__name__
            if answer is not None:
                self.answers.append(answer)
