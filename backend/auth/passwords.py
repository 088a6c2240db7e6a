"""Passwords at rest: Argon2id at OWASP's minimum, in threads of its own.

One check costs 19 MiB and some 25 ms of a core, so the line before the threads is bounded: past it a caller is told to
come back, and a flood of sign-ins takes neither the memory nor the event loop from everyone else.
"""

import asyncio
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from backend.auth.errors import Busy

T = TypeVar("T")

THREADS = 2
WAITING = 64
WAIT_SECONDS = 5.0


class Passwords:
    """`decoy` is the hash of a password nobody knows: checked for an unknown email, it costs what a real one does."""

    def __init__(
        self, *, threads: int = THREADS, waiting: int = WAITING, seconds: float = WAIT_SECONDS
    ) -> None:
        self._hasher = PasswordHasher(memory_cost=19_456, time_cost=2, parallelism=1)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._places = BoundedSemaphore(threads + waiting)
        self._seconds = seconds
        self.decoy = self._hasher.hash(secrets.token_urlsafe())

    async def hash(self, password: str) -> str:
        """Raises Busy when the line is full or too slow."""
        return await self._run(lambda: self._hasher.hash(_normal(password)))

    async def verify(self, password_hash: str, password: str) -> bool:
        """Raises Busy when the line is full or too slow."""
        return await self._run(lambda: self._matches(password_hash, _normal(password)))

    def outdated(self, password_hash: str) -> bool:
        """Whether it was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(password_hash)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except VerifyMismatchError:
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if not self._places.acquire(blocking=False):
            raise Busy
        future = self._threads.submit(work)
        # Not when the caller stops waiting: a thread that has begun runs to its end and keeps its place until then.
        future.add_done_callback(lambda _: self._places.release())
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.wrap_future(future)
        except TimeoutError as fault:
            raise Busy from fault


def _normal(password: str) -> str:
    """One spelling for what looks the same: keyboards differ in how they compose an accent (NIST SP 800-63B, 3.1.1.2)."""
    return unicodedata.normalize("NFKC", password)
