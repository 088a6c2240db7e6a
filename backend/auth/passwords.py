"""Password hashes: Argon2id with the minimum parameters of OWASP, in a thread pool of its own.

One check costs 19 MiB and about 25 ms of CPU, so the queue of the pool is bounded: beyond it,
`Busy` is raised, and a flood of sign-ins exhausts neither the memory nor the event loop. Addresses
take turns (`auth.turns`), so a flood of one delays the sign-ins of others by little.
"""

import asyncio
import functools
import re
import secrets
import unicodedata
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from backend.auth.errors import Busy, WeakPassword
from backend.auth.turns import Turns
from backend.kernel.client_address import network_of

T = TypeVar("T")

THREADS = 2
WAITING = 64
WAIT_SECONDS = 5.0
# zxcvbn's score 2: more than a million guesses.
MIN_SCORE = 2
# zxcvbn takes about 1 ms for most passwords, and up to 40 ms for this many characters.
MAX_JUDGED = 72
HASHER = PasswordHasher(memory_cost=19_456, time_cost=2, parallelism=1)


class Passwords:
    """`decoy` is the hash of a random password; a check for an unknown email takes as long as one
    for a known email.
    """

    def __init__(
        self, *, threads: int = THREADS, waiting: int = WAITING, seconds: float = WAIT_SECONDS
    ) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._turns = Turns(at_once=threads, waiting=waiting)
        self._seconds = seconds
        self.decoy = _decoy()

    async def hash(self, password: str, *, address: str = "") -> str:
        """The Argon2id hash. Raises Busy when the queue is full or the wait is too long."""
        return await self._run(lambda: HASHER.hash(_normalised(password)), address)

    async def require_strength(
        self, password: str, *, known: Sequence[str], address: str = ""
    ) -> None:
        """Refuses common passwords, patterns such as `aaaaaaaa`, and those made of the texts in
        `known` or their words, by zxcvbn's estimate. Raises WeakPassword, and Busy like `hash`.
        """
        score = await self._run(lambda: _score(_normalised(password), known), address)
        if score < MIN_SCORE:
            raise WeakPassword

    async def verify(self, password_hash: str, password: str, *, address: str = "") -> bool:
        """Whether the password has this hash.

        Raises Busy when the queue is full or the wait is too long.
        """
        return await self._run(lambda: self._matches(password_hash, _normalised(password)), address)

    def outdated(self, password_hash: str) -> bool:
        """Whether the hash was made with other parameters than the current ones."""
        return HASHER.check_needs_rehash(password_hash)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            return HASHER.verify(password_hash, password)
        except VerifyMismatchError:
            return False

    async def _run(self, work: Callable[[], T], address: str) -> T:
        try:
            async with asyncio.timeout(self._seconds):
                await self._turns.take(network_of(address))
                future = asyncio.get_running_loop().run_in_executor(self._threads, work)
                # At the end of the work, not of the caller's wait: a hash that has started runs to
                # its end.
                future.add_done_callback(lambda _: self._turns.give_back())
                return await asyncio.shield(future)
        except TimeoutError as error:
            raise Busy from error


@functools.cache
def _decoy() -> str:
    """Made at the first start in a process, never during a sign-in."""
    return HASHER.hash(secrets.token_urlsafe())


def _normalised(password: str) -> str:
    """Unicode NFKC, since keyboards compose accents differently (NIST SP 800-63B, 3.1.1.2)."""
    return unicodedata.normalize("NFKC", password)


def _score(password: str, known: Sequence[str]) -> int:
    # Its lists of passwords take 40 ms and 10 MB to load, in the processes that judge passwords.
    from zxcvbn import zxcvbn  # noqa: PLC0415

    words = [*known, *re.findall(r"[^\W_]+", " ".join(known))]
    score: int = zxcvbn(password[:MAX_JUDGED], user_inputs=words)["score"]
    return score
