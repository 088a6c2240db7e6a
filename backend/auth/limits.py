"""Limits on attempts to sign in, sign up, refresh and change a handle, counted over all processes.

An attempt is counted before the password check, and given back when the password is right, so the
counts are those of failures. Guessing the password of one account is limited at each address, by
growing waits, and over all addresses (loosely). An attacker could exhaust the loose limit to lock
the owner out, so it does not apply at an address from which the account was signed in to during
the last 30 days. Guessing over many accounts is limited by address, high enough for a school or
an office behind one; the accounts that are known there have a limit of their own, which a guesser
of other accounts cannot exhaust.

While Redis fails, each process counts alone (`kernel.redis_limits`).
"""

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from uuid import UUID

import structlog
from redis.asyncio import Redis

from backend.auth.errors import BadCredentials, Busy, TooManyAttempts
from backend.kernel.client_address import network_of
from backend.kernel.limits import Check, Lockout, Rate, by_address
from backend.kernel.redis import FAILURES, CircuitBreaker
from backend.kernel.redis_limits import Admission, SharedCounters

log = structlog.get_logger()

QUARTER = 900.0
# After ten attempts: 15 s, 30 s, 1, 2, 4, 8 and then always 15 minutes.
SIGN_IN_AT_ADDRESS = Lockout("sign-in-at-address", free=10, first=15.0, longest=QUARTER)
SIGN_IN_ANYWHERE = Rate("sign-in-anywhere", 100, QUARTER)
SIGN_IN_BY_ADDRESS = Rate("sign-in-by-address", 300, QUARTER)
KNOWN_BY_ADDRESS = Rate("known-sign-in-by-address", 300, QUARTER)
SIGN_UP = Rate("sign-up", 200, 3600.0)
# A browser refreshes every few minutes: enough for a thousand behind one address.
REFRESH = Rate("refresh", 3000, QUARTER)

# Of an account. Each attempt also reveals whether a handle is taken.
CHANGE_HANDLE = Rate("change-handle", 20, 3600.0)

KNOWN_SECONDS = 30 * 86_400
# For each account, since each could sign in from countless addresses of IPv6.
MAX_KNOWN_ADDRESSES = 20
# In the memory of a process.
MAX_KNOWN = 10_000


class Limits:
    """Each method raises TooManyAttempts, with the time to wait, above its limit."""

    def __init__(self, redis: Redis, *, on: bool) -> None:
        self.on = on
        if not on:
            log.warning("rate limits are off")
        breaker = CircuitBreaker()
        self._counters = SharedCounters(redis, breaker, "gittix:auth:limits")
        self._known = KnownAddresses(redis, breaker)

    @asynccontextmanager
    async def sign_in(self, email: str, address: str) -> AsyncIterator[None]:
        """Counts the attempt before the block. BadCredentials leaves it counted; another error
        gives it back; without an error it is given back, and the account's attempts at this
        address are cleared.
        """
        if not self.on:
            yield
            return
        account = _digest(email)
        here = by_address(SIGN_IN_AT_ADDRESS, address, account)
        others = (
            by_address(KNOWN_BY_ADDRESS, address)
            if await self._known.contains(account, address)
            else [Check(SIGN_IN_ANYWHERE, account), *by_address(SIGN_IN_BY_ADDRESS, address)]
        )
        admission = await self._count([*here, *others])
        try:
            yield
        except BadCredentials:
            raise
        except Exception:
            await self._counters.give_back(admission, [*here, *others])
            raise
        await self._counters.give_back(admission, others, cleared=here)
        await self._known.add(account, address)

    @asynccontextmanager
    async def sign_up(self, address: str) -> AsyncIterator[None]:
        """Counts a sign-up before the block, and gives it back when the block raises Busy."""
        if not self.on:
            yield
            return
        checks = by_address(SIGN_UP, address)
        admission = await self._count(checks)
        try:
            yield
        except Busy:
            await self._counters.give_back(admission, checks)
            raise

    async def refresh(self, address: str) -> None:
        if self.on:
            await self._count(by_address(REFRESH, address))

    async def change_handle(self, user_id: UUID) -> None:
        if self.on:
            await self._count([Check(CHANGE_HANDLE, str(user_id))])

    async def _count(self, checks: Sequence[Check]) -> Admission:
        admission = await self._counters.admit(checks)
        if admission.wait_seconds > 0:
            raise TooManyAttempts(admission.wait_seconds)
        return admission


class KnownAddresses:
    """The networks from which each account was signed in to during the last 30 days. Those of this
    process are also in its memory, for the time in which Redis fails.
    """

    def __init__(self, redis: Redis, breaker: CircuitBreaker) -> None:
        self._redis = redis
        self._breaker = breaker
        self._seen: OrderedDict[tuple[str, str], float] = OrderedDict()

    async def contains(self, account: str, address: str) -> bool:
        network, oldest = network_of(address), time.time() - KNOWN_SECONDS
        if self._seen.get((account, network), 0.0) > oldest:
            return True
        try:
            seen = await self._breaker.call(
                lambda: self._redis.zscore(_known_key(account), network)
            )
        except FAILURES:
            return False
        return seen is not None and seen > oldest

    async def add(self, account: str, address: str) -> None:
        network, now = network_of(address), time.time()
        self._seen[account, network] = now
        self._seen.move_to_end((account, network))
        if len(self._seen) > MAX_KNOWN:
            self._seen.popitem(last=False)
        key = _known_key(account)
        try:
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.zadd(key, {network: now})
                pipeline.zremrangebyrank(key, 0, -MAX_KNOWN_ADDRESSES - 1)
                pipeline.expire(key, KNOWN_SECONDS)
                await self._breaker.call(pipeline.execute)
        except FAILURES as error:
            log.warning("an address is known to this process alone", error=repr(error))


def _digest(email: str) -> str:
    """A digest, so that Redis stores no email addresses."""
    return sha256(email.encode()).hexdigest()[:32]


def _known_key(account: str) -> str:
    return f"gittix:auth:known-addresses:{account}"
