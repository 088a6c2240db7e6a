"""How often one may try. Counted in Redis, so that all processes count together.

Guessing one account's password is held down per account and address, strictly, and per account from everywhere,
loosely. A stranger could use up the second to lock the owner out, so it does not bind an address from which the account
was signed in to during the last 30 days. Guessing many accounts from one address is held down by that address's
failures.

While Redis is away everything is allowed and the log says so: else its loss would lock everyone out, and the Argon2
line still bounds how fast a process can be asked to check passwords.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import wraps
from hashlib import sha256
from typing import Any, Concatenate, ParamSpec

import structlog
from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from backend.auth.errors import TooManyAttempts
from backend.kernel.client_address import block

log = structlog.get_logger()

P = ParamSpec("P")

SIGN_IN_FROM_ADDRESS = RateLimitItemPerMinute(10, 15, namespace="sign-in-from-address")
SIGN_IN_FROM_ANYWHERE = RateLimitItemPerMinute(100, 15, namespace="sign-in-from-anywhere")
FAILURES_OF_ADDRESS = RateLimitItemPerMinute(60, 15, namespace="sign-in-failures-of-address")
# A school or an office behind one address, on the day that everybody wants a ticket.
SIGN_UP = RateLimitItemPerHour(200, namespace="sign-up")
# Many people behind one address, each refreshing every few minutes in a few tabs.
REFRESH = RateLimitItemPerMinute(600, 15, namespace="refresh")

REDIS_SECONDS = 0.5
KNOWN_ADDRESS_SECONDS = 30 * 86_400


Counted = Callable[Concatenate["Limits", P], Coroutine[Any, Any, None]]


def counted(method: Counted[P]) -> Counted[P]:
    """Does nothing while limits are off, and lets the caller through while Redis is away."""

    @wraps(method)
    async def unless_away(self: "Limits", /, *args: P.args, **kwargs: P.kwargs) -> None:
        if not self.on:
            return
        try:
            async with asyncio.timeout(REDIS_SECONDS):
                await method(self, *args, **kwargs)
        except (RedisError, OSError, TimeoutError) as fault:
            log.warning("attempts are not limited: Redis is away", error=repr(fault))

    return unless_away


class Limits:
    """Each method raises TooManyAttempts, with the time to wait, when its caller has tried too often."""

    def __init__(self, redis: Redis, *, on: bool) -> None:
        self._redis = redis
        self.on = on
        if not on:
            log.warning("rate limits are off")
        # The pool is given, so the URI only names the kind of storage.
        storage = RedisStorage(
            "async+redis://",
            implementation="redispy",
            key_prefix="gittix:auth:limits",
            connection_pool=redis.connection_pool,  # type: ignore[arg-type]  # its options are typed for redis-py's plain ones
        )
        self._window = MovingWindowRateLimiter(storage)

    @counted
    async def before_sign_in(self, email: str, address: str) -> None:
        """Counts the attempt on its account at once, so that parallel ones can't all slip through."""
        account, place = _digest(email), block(address)
        if not await self._window.test(FAILURES_OF_ADDRESS, place):
            raise await self._refusal(FAILURES_OF_ADDRESS, place)
        await self._hit(SIGN_IN_FROM_ADDRESS, account, place)
        if not await self._redis.exists(_known_address(account, place)):
            await self._hit(SIGN_IN_FROM_ANYWHERE, account)

    @counted
    async def sign_in_failed(self, address: str) -> None:
        await self._window.hit(FAILURES_OF_ADDRESS, block(address))

    @counted
    async def signed_in(self, email: str, address: str) -> None:
        """Forgets this address's attempts on the account; not everybody's, which its owner's success says nothing of."""
        account, place = _digest(email), block(address)
        await self._window.clear(SIGN_IN_FROM_ADDRESS, account, place)
        await self._redis.set(_known_address(account, place), b"1", ex=KNOWN_ADDRESS_SECONDS)

    @counted
    async def sign_up(self, address: str) -> None:
        await self._hit(SIGN_UP, block(address))

    @counted
    async def refresh(self, address: str) -> None:
        await self._hit(REFRESH, block(address))

    async def _hit(self, limit: RateLimitItem, *who: str) -> None:
        if not await self._window.hit(limit, *who):
            raise await self._refusal(limit, *who)

    async def _refusal(self, limit: RateLimitItem, *who: str) -> TooManyAttempts:
        window = await self._window.get_window_stats(limit, *who)
        return TooManyAttempts(window.reset_time - time.time())


def _digest(email: str) -> str:
    """Redis need not know who signs in."""
    return sha256(email.encode()).hexdigest()[:32]


def _known_address(account: str, place: str) -> str:
    return f"gittix:auth:known-address:{account}:{place}"
