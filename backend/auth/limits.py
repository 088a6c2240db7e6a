"""Limits on attempts to sign in, sign up and refresh, counted in Redis over all processes.

Guessing the password of one account is limited per account and address (strict) and per account
over all addresses (loose). An attacker could exhaust the loose limit to lock the owner out, so it
does not apply to an address from which the account was signed in to during the last 30 days.
Guessing over many accounts is limited by the failures per address.

While Redis is unavailable every attempt is allowed and a warning is logged, so that an outage
locks no user out; the bounded Argon2 queue still limits the rate of password checks in each
process.
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
from backend.kernel.client_address import network_of

log = structlog.get_logger()

P = ParamSpec("P")

SIGN_IN_FROM_ADDRESS = RateLimitItemPerMinute(10, 15, namespace="sign-in-from-address")
SIGN_IN_FROM_ANYWHERE = RateLimitItemPerMinute(100, 15, namespace="sign-in-from-anywhere")
FAILURES_OF_ADDRESS = RateLimitItemPerMinute(60, 15, namespace="sign-in-failures-of-address")
# High enough for a school or an office behind one address.
SIGN_UP = RateLimitItemPerHour(200, namespace="sign-up")
# High enough for many users behind one address, each refreshing several tabs every few minutes.
REFRESH = RateLimitItemPerMinute(600, 15, namespace="refresh")

REDIS_SECONDS = 0.5
KNOWN_ADDRESS_SECONDS = 30 * 86_400


Counted = Callable[Concatenate["Limits", P], Coroutine[Any, Any, None]]


def counted(method: Counted[P]) -> Counted[P]:
    """Skips the method while limits are off, and allows the attempt while Redis is unavailable."""

    @wraps(method)
    async def if_available(self: "Limits", /, *args: P.args, **kwargs: P.kwargs) -> None:
        if not self.on:
            return
        try:
            async with asyncio.timeout(REDIS_SECONDS):
                await method(self, *args, **kwargs)
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("attempts are not limited: Redis is unavailable", error=repr(error))

    return if_available


class Limits:
    """Each method raises TooManyAttempts, with the time to wait, above its limit."""

    def __init__(self, redis: Redis, *, on: bool) -> None:
        self._redis = redis
        self.on = on
        if not on:
            log.warning("rate limits are off")
        # The connection pool is passed in, so the URI only selects the storage.
        storage = RedisStorage(
            "async+redis://",
            implementation="redispy",
            key_prefix="gittix:auth:limits",
            # Typed for the synchronous pool of redis-py.
            connection_pool=redis.connection_pool,  # type: ignore[arg-type]
        )
        self._window = MovingWindowRateLimiter(storage)

    @counted
    async def before_sign_in(self, email: str, address: str) -> None:
        """Counts the attempt before the password check, so that parallel attempts are limited
        too.
        """
        account, network = _digest(email), network_of(address)
        if not await self._window.test(FAILURES_OF_ADDRESS, network):
            raise await self._refusal(FAILURES_OF_ADDRESS, network)
        await self._hit(SIGN_IN_FROM_ADDRESS, account, network)
        if not await self._redis.exists(_known_address(account, network)):
            await self._hit(SIGN_IN_FROM_ANYWHERE, account)

    @counted
    async def sign_in_failed(self, address: str) -> None:
        await self._window.hit(FAILURES_OF_ADDRESS, network_of(address))

    @counted
    async def signed_in(self, email: str, address: str) -> None:
        """Clears the attempts of this address on the account; those of other addresses stay
        counted.
        """
        account, network = _digest(email), network_of(address)
        await self._window.clear(SIGN_IN_FROM_ADDRESS, account, network)
        await self._redis.set(_known_address(account, network), b"1", ex=KNOWN_ADDRESS_SECONDS)

    @counted
    async def sign_up(self, address: str) -> None:
        await self._hit(SIGN_UP, network_of(address))

    @counted
    async def refresh(self, address: str) -> None:
        await self._hit(REFRESH, network_of(address))

    async def _hit(self, limit: RateLimitItem, *key: str) -> None:
        if not await self._window.hit(limit, *key):
            raise await self._refusal(limit, *key)

    async def _refusal(self, limit: RateLimitItem, *key: str) -> TooManyAttempts:
        window = await self._window.get_window_stats(limit, *key)
        return TooManyAttempts(window.reset_time - time.time())


def _digest(email: str) -> str:
    """A digest, so that Redis stores no email addresses."""
    return sha256(email.encode()).hexdigest()[:32]


def _known_address(account: str, network: str) -> str:
    return f"gittix:auth:known-address:{account}:{network}"
