"""The arq queue, shared by the services that enqueue jobs and the worker.

Jobs are JSON, not pickles, so write access to Redis does not allow running code in a worker.
A lost job is only late: a sweep over Postgres finds the rows that it should have handled. So a full
Redis, which refuses a job, does not stop its caller.
"""

from datetime import datetime
from typing import Any

import msgspec
import structlog
from arq.connections import ArqRedis
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError

from backend.kernel import correlation
from backend.kernel.redis import DRIVER

log = structlog.get_logger()

QUEUE = "gittix:jobs"
COMMAND_SECONDS = 5.0


def open_jobs(url: str, *, name: str) -> ArqRedis:
    """A client for enqueuing, connected on first use. Close it with `aclose()`."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=10,
        timeout=COMMAND_SECONDS,
        socket_connect_timeout=2.0,
        socket_timeout=COMMAND_SECONDS,
        client_name=name,
        driver_info=DRIVER,
        # arq's worker loop exits on a connection error, so the client itself retries during a
        # restart of Redis.
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
    # No other client shares the pool, so closing the client closes it.
    jobs.auto_close_connection_pool = True
    return jobs


async def enqueue(
    jobs: ArqRedis, name: str, *arguments: Any, job_id: str, at: datetime | None = None
) -> None:
    """Enqueue a job for the time `at`, by default now, unless a job with this id is queued.

    The job runs under the caller's correlation id. When Redis is full, the job is left to a sweep.
    Raises correlation.Unbound without a correlation id.
    """
    caller_id = str(correlation.current())
    try:
        await jobs.enqueue_job(
            name, *arguments, _job_id=job_id, _defer_until=at, correlation_id=caller_id
        )
    except OutOfMemoryError as error:
        log.warning("job refused", job=name, job_id=job_id, error=repr(error))


def serialise(job: dict[str, Any]) -> bytes:
    return msgspec.json.encode({name: _plain(value) for name, value in job.items()})


def deserialise(job: bytes) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(job)
    # arq stores the positional arguments of a job as a tuple.
    return {name: tuple(value) if name == "a" else value for name, value in decoded.items()}


def _plain(value: Any) -> Any:
    return repr(value) if isinstance(value, BaseException) else value
