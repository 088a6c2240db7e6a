"""The arq queue, as those who put jobs on it and the worker share it.

Jobs are JSON, not pickles: a queue that somebody else can write to must not run code. A lost job costs a delay and
nothing else, since a sweep over Postgres finds what should have been done.
"""

from datetime import datetime
from typing import Any

import msgspec
from arq.connections import ArqRedis
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from backend.kernel import correlation

QUEUE = "gittix:jobs"
COMMAND_SECONDS = 5.0


def open_jobs(url: str, *, name: str) -> ArqRedis:
    """A client for enqueuing; connects when first used. Close it with `aclose()`."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=10,
        timeout=COMMAND_SECONDS,
        socket_connect_timeout=2.0,
        socket_timeout=COMMAND_SECONDS,
        client_name=name,
        # The worker's loop ends on a plain connection error, so a restart of Redis is retried below it.
        retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=1.0), 10),
        retry_on_error=[OSError, RedisConnectionError],
    )
    jobs = ArqRedis(
        pool,
        job_serializer=serialise,
        job_deserializer=deserialise,
        default_queue_name=QUEUE,
        expires_extra_ms=3_600_000,
    )
    # Its pool is nobody else's, so closing the client closes it.
    jobs.auto_close_connection_pool = True
    return jobs


async def enqueue(
    jobs: ArqRedis, name: str, *arguments: Any, job_id: str, at: datetime | None = None
) -> None:
    """Put a job on the queue, unless one of this id is there. The job runs under the caller's correlation id."""
    await jobs.enqueue_job(
        name, *arguments, _job_id=job_id, _defer_until=at, correlation_id=str(correlation.current())
    )


def serialise(job: dict[str, Any]) -> bytes:
    return msgspec.json.encode({name: _plain(value) for name, value in job.items()})


def deserialise(job: bytes) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(job)
    # arq keeps a job's positional arguments as a tuple.
    return {name: tuple(value) if name == "a" else value for name, value in decoded.items()}


def _plain(value: Any) -> Any:
    return repr(value) if isinstance(value, BaseException) else value
