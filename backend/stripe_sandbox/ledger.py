"""The sandbox's durable store: one SQLite file, written by one thread.

A reply is sent after its commit is on disk (WAL, synchronous=FULL), so the ledger survives kill -9
at any point. A commit waits for the disk for milliseconds, which must not block the event loop:
hence a thread. SQLite has one writer, so one thread needs no locks, and each unit of work sees the
units before it. Work that arrives during a commit shares the next commit, each unit in its own
savepoint, so the disk bounds latency and not throughput. No caller gets a result before its commit.
The queue is bounded: when it is full, callers get 429.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from backend.stripe_sandbox.errors import Overloaded
from backend.stripe_sandbox.queries import SCHEMA, Book, Origin

_T = TypeVar("_T")
_MOST_PER_COMMIT = 64


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[Book], Any]
    origin: Origin
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]

    def settle(self, result: Any, error: BaseException | None) -> None:
        self.loop.call_soon_threadsafe(_settle, self.future, result, error)


class Ledger:
    def __init__(
        self, path: Path, *, clock: Callable[[], float], webhooks: bool, max_waiting: int
    ) -> None:
        self._clock = clock
        self._webhooks = webhooks
        self._jobs: queue.Queue[_Job | None] = queue.Queue(max_waiting)
        self._connection = _open(path)
        self._thread = threading.Thread(target=self._serve, name="sandbox-ledger", daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[Book], _T], origin: Origin | None = None) -> _T:
        """Run one unit of work in a transaction, and return once it is on disk. An exception undoes
        it.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()
        try:
            self._jobs.put_nowait(_Job(work, origin or Origin(), loop, future))
        except queue.Full:
            raise Overloaded from None
        return await future

    async def close(self) -> None:
        await asyncio.to_thread(self._jobs.put, None)
        await asyncio.to_thread(self._thread.join)

    def _serve(self) -> None:
        stopping = False
        while not stopping:
            taken = [self._jobs.get()]
            while len(taken) < _MOST_PER_COMMIT and not self._jobs.empty():
                taken.append(self._jobs.get())
            self._commit([job for job in taken if job is not None])
            stopping = None in taken
        self._connection.close()

    def _commit(self, jobs: list[_Job]) -> None:
        try:
            self._connection.execute("BEGIN")
            outcomes = [self._attempt(job) for job in jobs]
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            outcomes = [(None, error)] * len(jobs)
        for job, (result, problem) in zip(jobs, outcomes, strict=True):
            job.settle(result, problem)

    def _attempt(self, job: _Job) -> tuple[Any, BaseException | None]:
        book = Book(self._connection, job.origin, self._clock(), webhooks=self._webhooks)
        try:
            with book.savepoint("job"):
                return job.work(book), None
        except Exception as error:
            return None, error  # raised in the caller's task


def _open(path: Path) -> sqlite3.Connection:
    # SQLite gives its other files the permissions of this one.
    path.touch(mode=0o600)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
    # Exclusive: a second process would not see the requests in flight in this one.
    for pragma in (
        "locking_mode = EXCLUSIVE",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")
    connection.executescript(SCHEMA)
    return connection


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return  # the caller was cancelled; its work stays committed
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
