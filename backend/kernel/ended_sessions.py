"""The ended sessions, as each process that verifies access tokens or serves sockets knows them.

Postgres decides: triggers on `auth.sessions` record each end in the transaction that ends the
session, and a background task of every process reads the new ends several times a second
(decision 31). So a request costs one look-up in memory, and no message between processes can be
lost.

Invariant: when `is_current`, every end that was committed STALE_SECONDS ago is known. While reads
fail it is false, and callers wait or refuse.

An end is kept for `access_seconds` and a margin, at most MAX_SESSIONS ends at a time. Each end that
is no longer kept raises `_floor`: credentials issued before that end are refused as well. They have
expired by then, unless there were more ends than the bound, or another process issues longer-lived
tokens; their holders refresh and get new ones.
"""

import asyncio
import time
from collections.abc import Callable, Collection
from datetime import timedelta
from math import isfinite
from uuid import UUID

from backend.kernel import database
from backend.kernel.database import Connection
from backend.kernel.health import NotReady
from backend.kernel.problems import Unavailable
from backend.kernel.supervisor import heartbeat

TASK = "ended-sessions"
POLL_SECONDS = 0.25
STALE_SECONDS = 0.75
READ_SECONDS = 2.0
# Requests wait while reads fail, so a failed task is restarted within this time.
MAX_DELAY_SECONDS = 0.5
# How long a request waits for a read before it is refused.
WAIT_SECONDS = 2.0
# Longer than a push signature is valid, and than two clocks may differ.
MARGIN_SECONDS = 90
MAX_SESSIONS = 50_000

# Called with the sessions whose end was just read; with None when there were more than the bound.
Listener = Callable[[Collection[UUID] | None], None]


class EndedSessions:
    """`run` reads the ends until it is cancelled. `access_seconds` is the lifetime of access
    tokens; `max_sessions` bounds the ends that are kept.
    """

    def __init__(
        self, database_url: str, *, access_seconds: int, max_sessions: int = MAX_SESSIONS
    ) -> None:
        self._url = database_url
        self._window = timedelta(seconds=access_seconds + MARGIN_SECONDS)
        self._max_sessions = max_sessions
        # Ends in Unix time by Postgres's clock, oldest first.
        self._ended: dict[UUID, float] = {}
        self._floor = 0.0
        # The oldest transaction that the next read must include; None includes all of the window.
        self._next: int | None = None
        self._read_at = float("-inf")
        self._next_read = asyncio.Event()
        self._listeners: list[Listener] = []

    @property
    def is_current(self) -> bool:
        return time.monotonic() - self._read_at <= STALE_SECONDS

    def refuses(self, session_id: UUID, issued_at: float) -> bool:
        """Return whether the session of a credential has ended, or may have ended.

        `issued_at` is the credential's time of issue, in Unix time.
        """
        return session_id in self._ended or issued_at <= self._floor

    async def until_current(self, seconds: float = WAIT_SECONDS) -> None:
        """Wait until the ends of STALE_SECONDS ago are known. Raises Unavailable."""
        if self.is_current:
            return
        try:
            async with asyncio.timeout(seconds):
                while not self.is_current:
                    await self._next_read.wait()
        except TimeoutError as error:
            raise Unavailable(
                "your session cannot be checked right now; try again in a moment",
                headers={"Retry-After": "2"},
            ) from error

    def listen(self, listener: Listener) -> None:
        """Call the listener with the ends of each read."""
        self._listeners.append(listener)

    async def check(self) -> None:
        """The readiness check. Raises NotReady."""
        if not self.is_current:
            raise NotReady("the ended sessions are not being read")

    async def run(self) -> None:
        """Read the ends forever. Raises one of database.UNAVAILABLE, or TimeoutError.

        On a connection of its own: a read must not wait for a connection of a busy pool.
        """
        connection = await database.connect(self._url, name="gittix-sessions")
        # After a failover, transactions of other numbers may have ended sessions.
        self._next = None
        try:
            while True:
                async with asyncio.timeout(READ_SECONDS):
                    await self._read(connection)
                heartbeat(TASK)
                await asyncio.sleep(POLL_SECONDS)
        finally:
            connection.terminate()

    async def _read(self, connection: Connection) -> None:
        began = time.monotonic()
        row = await connection.fetchrow(
            "select * from auth.ended_since($1, $2, $3)",
            self._next,
            self._window + self._unread,
            self._max_sessions,
        )
        assert row is not None
        oldest_kept = (row["read_at"] - self._window).timestamp()
        if self._next is None:
            self._floor = max(self._floor, oldest_kept)
        self._next = row["next"]
        ends = [at.timestamp() for at in row["ended_at"] or ()]
        # The newest are first.
        read = dict(zip(reversed(row["session_ids"] or ()), reversed(ends), strict=True))
        news: Collection[UUID] | None = read.keys() - self._ended.keys()
        self._ended |= read
        if len(ends) == self._max_sessions:
            news = None
            self._floor = max(self._floor, ends[-1])
        self._forget(oldest_kept)
        self._read_at = began
        for listener in self._listeners if news is None or news else ():
            listener(news)
        self._next_read.set()
        self._next_read = asyncio.Event()

    @property
    def _unread(self) -> timedelta:
        """The time since the last read, zero before the first."""
        since = time.monotonic() - self._read_at
        return timedelta(seconds=since if isfinite(since) else 0)

    def _forget(self, before: float) -> None:
        """Forget the ends before this time, and the oldest above the bound."""
        while self._ended:
            session_id, ended_at = next(iter(self._ended.items()))
            if ended_at > before and len(self._ended) <= self._max_sessions:
                return
            del self._ended[session_id]
            self._floor = max(self._floor, ended_at)
