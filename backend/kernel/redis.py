"""Connections to Redis: every command has a timeout, and a lost connection is retried with
backoff. A full Redis is another kind of outage: `is_full` recognises its refusals.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from redis import __version__
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.driver_info import DriverInfo
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

T = TypeVar("T")

CONNECT_SECONDS = 2.0
COMMAND_SECONDS = 5.0
# Of a command that has a substitute.
PROMPT_SECONDS = 0.5
PROBE_SECONDS = 1.0
# Every error of a command: Redis is unreachable, slow or full, or refuses the command.
FAILURES = (RedisError, OSError, TimeoutError)
UNREACHABLE = (RedisConnectionError, RedisTimeoutError, OSError, TimeoutError)
# Without it, each new connection reads the version from the metadata of the installed package.
DRIVER = DriverInfo(lib_version=__version__)


def open_redis(url: str, *, name: str, size: int = 20) -> Redis:
    """A client with at most `size` connections, opened on first use. Close it with `aclose()`."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=size,
        timeout=COMMAND_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=COMMAND_SECONDS,
        **({} if url.startswith("unix") else {"socket_keepalive": True}),
        health_check_interval=15,
        client_name=name,
        driver_info=DRIVER,
        retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), 2),
    )
    return Redis.from_pool(pool)


def is_full(error: Exception) -> bool:
    """Whether Redis refused a command because its memory is full.

    Redis 6 returns a refusal inside a script as an error of the script, with this code in its text.
    """
    in_script = isinstance(error, ResponseError) and "-OOM " in str(error)
    return in_script or isinstance(error, OutOfMemoryError)


class CircuitBreaker:
    """Calls Redis for a caller that has a substitute. While Redis is unreachable, one command in
    each PROBE_SECONDS is sent, and every other one fails at once.
    """

    def __init__(self) -> None:
        self._unreachable = False
        self._probe_at = 0.0
        self._abandoned: set[asyncio.Future[Any]] = set()

    async def call(self, command: Callable[[], Awaitable[T]]) -> T:
        """The reply of the command. Raises one of FAILURES, after PROMPT_SECONDS at the latest."""
        now = time.monotonic()
        if self._unreachable and now < self._probe_at:
            raise RedisConnectionError("Redis was unreachable a moment ago")
        self._probe_at = now + PROBE_SECONDS
        try:
            reply = await self._prompt(command())
        except UNREACHABLE:
            self._unreachable = True
            self._probe_at = time.monotonic() + PROBE_SECONDS
            raise
        self._unreachable = False
        return reply

    async def _prompt(self, command: Awaitable[T]) -> T:
        # redis-py swallows cancellations while it connects, so `asyncio.timeout` would wait for
        # several of its own timeouts.
        task = asyncio.ensure_future(command)
        try:
            done, _ = await asyncio.wait((task,), timeout=PROMPT_SECONDS)
        finally:
            if not task.done():
                self._abandon(task)
        if not done:
            raise TimeoutError
        return task.result()

    def _abandon(self, task: asyncio.Future[T]) -> None:
        """Cancel the task. A reference keeps it until it ends; nobody reads its error."""
        self._abandoned.add(task)
        task.add_done_callback(self._forget)
        task.cancel()

    def _forget(self, task: asyncio.Future[T]) -> None:
        self._abandoned.discard(task)
        if not task.cancelled():
            task.exception()
