"""Connections to Redis: every command has a timeout, and a lost connection is retried with
backoff.
"""

from redis import __version__
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.driver_info import DriverInfo

CONNECT_SECONDS = 2.0
COMMAND_SECONDS = 5.0
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
