"""A worker process: arq's jobs, the stream's consumers and the notifier, each supervised."""

import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from arq import Retry, Worker, cron, func
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix
from arq.typing import WorkerCoroutine
from prometheus_client import Histogram
from redis.exceptions import OutOfMemoryError

from backend.events.consumer import Consumer
from backend.events.resources import Resources, open_resources
from backend.kernel import correlation, database, tracing
from backend.kernel.database import Pool
from backend.kernel.health import Check
from backend.kernel.idempotency import KeyTable
from backend.kernel.jobs import QUEUE, deserialise, open_jobs, serialise
from backend.kernel.redis import open_redis
from backend.kernel.settings import Settings
from backend.kernel.shutdown import wait_or_cancel
from backend.kernel.supervisor import alive, heartbeat, running
from backend.orders import queries as order_queries
from backend.payments.payment_flow import PaymentFlow
from backend.payments.provider import Provider
from backend.payments.queries import purge_webhooks
from backend.payments.webhooks import HANDLE_WEBHOOK
from backend.push import push_log as pushlog
from backend.push.client import pusher_client
from backend.push.hosted_publisher import LANES, HostedPublisher
from backend.push.publisher import MessagePublisher, Publisher
from workers import backlog, cancellations, counts, expiration, payments
from workers.backlog import Backlog, Pools
from workers.notifier import READER, Notifier

log = structlog.get_logger()

# The settings that each part requires.
NEEDS = {
    "jobs": (
        "database:tickets",
        "database:orders",
        "database:payments",
        "redis_url",
        "stripe_api_key",
    ),
    "consumers": ("database:orders", "database:payments", "redis_url"),
    "notifier": ("database:tickets", "database:push", "redis_url", "push_redis_url"),
}

ARQ = "arq"
POLL_SECONDS = 0.05
# After a kill -9, arq blocks the job for its timeout and ten seconds more; until then the sweeps do
# its work.
JOB_SECONDS = 15
MAX_JOBS = 20
MAX_TRIES = 8
SWEEP_SECONDS = frozenset(range(60))
RECONCILE_SECONDS = frozenset(range(0, 60, 5))
INBOX_RETENTION = "14 days"

JOBS = Histogram(
    "gittix_job_seconds",
    "Duration of one try of a job, by its outcome",
    ["name", "outcome"],
    buckets=(0.005, 0.025, 0.1, 0.5, 1, 5, 15),
)

Job = Callable[..., Coroutine[Any, Any, Any]]


@asynccontextmanager
async def worker(
    settings: Settings, parts: Sequence[str] = tuple(NEEDS)
) -> AsyncIterator[Mapping[str, Check]]:
    """Run all parts of a worker process, or the given ones, until the block ends.

    Yields its readiness checks.
    """
    async with AsyncExitStack() as stack:
        checks: dict[str, Check] = {}
        for part in parts:
            own = await stack.enter_async_context(_PARTS[part](settings))
            checks |= {f"{part}.{name}": check for name, check in own.items()}
        yield checks


@asynccontextmanager
async def _jobs(settings: Settings) -> AsyncIterator[Mapping[str, Check]]:
    """Run arq's jobs (alarms, sweeps, webhooks) and the backlog gauges."""
    jobs = open_jobs(settings.redis_url, name="gittix-jobs")
    provider = Provider(settings.stripe_api_key, settings.stripe_api_base)
    try:
        async with (
            open_resources(settings, "orders") as orders,
            open_resources(settings, "payments") as payment_resources,
            open_resources(settings, "tickets") as tickets,
        ):
            payment_flow = PaymentFlow(payment_resources, provider)
            context = {
                "orders": orders,
                "payments": payment_resources,
                "tickets": tickets,
                "payment_flow": payment_flow,
                "expiry": expiration.Expiry(orders),
            }
            url = settings.role_database_url("payments")
            backlog_gauges = Backlog(url, Pools(orders.pool, payment_resources.pool), jobs)
            async with running(
                (ARQ, lambda: _run_arq(jobs, context)), (backlog.TASK, backlog_gauges.run)
            ):
                yield {
                    **_checks(orders=orders, payments=payment_resources, tickets=tickets),
                    ARQ: alive(ARQ),
                    backlog.TASK: alive(backlog.TASK),
                }
    finally:
        await provider.close()
        await jobs.aclose()


@asynccontextmanager
async def _consumers(settings: Settings) -> AsyncIterator[Mapping[str, Check]]:
    """Run the consumers of the event stream."""
    jobs = open_jobs(settings.redis_url, name="gittix-consumers")
    try:
        async with (
            open_resources(settings, "orders") as orders,
            open_resources(settings, "payments") as payment_resources,
        ):
            consumers = (
                _expiration_consumer(orders, jobs),
                _payments_consumer(payment_resources, jobs),
            )
            async with running(*((consumer.task, consumer.run) for consumer in consumers)):
                yield {
                    **_checks(orders=orders, payments=payment_resources),
                    **{consumer.task: alive(consumer.task) for consumer in consumers},
                }
    finally:
        await jobs.aclose()


@asynccontextmanager
async def _notifier(settings: Settings) -> AsyncIterator[Mapping[str, Check]]:
    """Run the notifier."""
    redis = open_redis(settings.redis_url, name="gittix-notifier")
    push_log = pushlog.connect(settings.push_log_url, timeout_seconds=2.0)
    url, publisher = settings.role_database_url("push"), _publisher(settings, push_log)
    try:
        async with (
            open_resources(settings, "tickets") as tickets,
            running((READER, Notifier(url, tickets.pool, redis, publisher).run)),
        ):
            yield {**_checks(tickets=tickets), READER: alive(READER)}
    finally:
        await redis.aclose()
        await push_log.aclose()


_PARTS = {"jobs": _jobs, "consumers": _consumers, "notifier": _notifier}


def _checks(**services: Resources) -> dict[str, Check]:
    return {
        f"{service}.{name}": check
        for service, resources in services.items()
        for name, check in resources.checks().items()
    }


class _Arq(Worker):
    async def heart_beat(self) -> None:
        await super().heart_beat()
        heartbeat(ARQ)

    async def run_job(self, job_id: str, score: int) -> None:
        try:
            await super().run_job(job_id, score)
        except OutOfMemoryError:
            # A full Redis refused to record the job's start or its retry, so the job is still
            # queued. Its mark would block it for its timeout and ten seconds more.
            await self.pool.delete(in_progress_key_prefix + job_id)
            raise


async def _run_arq(jobs: ArqRedis, context: dict[str, Any]) -> None:
    """Run arq's loop. It raises when its connection breaks; the supervisor then restarts it."""
    arq = _Arq(
        functions=[
            func(_with_retries(expiration.expire_due), name=expiration.EXPIRE_DUE),
            func(_with_retries(payments.handle_webhook), name=HANDLE_WEBHOOK),
            func(_with_retries(payments.abandon_payment), name=payments.ABANDON),
        ],
        cron_jobs=[
            cron(
                _as_timer(expiration.expire_due),
                name="sweep_holds",
                second=set(SWEEP_SECONDS),
                keep_result=0,
            ),
            cron(
                _as_timer(payments.reconcile_payments),
                name="reconcile_payments",
                second=set(RECONCILE_SECONDS),
                keep_result=0,
            ),
            cron(
                _as_timer(cancellations.wind_up_shows),
                name="wind_up_shows",
                second=set(RECONCILE_SECONDS),
                keep_result=0,
            ),
            cron(_as_timer(purge_budgets), name="purge_budgets", second=0, keep_result=0),
            cron(
                _as_timer(counts.fold_counts),
                name="fold_counts",
                second=set(SWEEP_SECONDS),
                keep_result=0,
            ),
            cron(_as_timer(purge_expired), name="purge_expired", minute=7, second=0, keep_result=0),
        ],
        redis_pool=jobs,
        queue_name=QUEUE,
        ctx=context,
        handle_signals=False,
        poll_delay=POLL_SECONDS,
        job_timeout=JOB_SECONDS,
        max_jobs=MAX_JOBS,
        max_tries=MAX_TRIES,
        keep_result=0,
        health_check_interval=30,
        job_serializer=serialise,
        job_deserializer=deserialise,
        log_results=False,
    )
    try:
        await arq.main()
    finally:
        # When its loop is cancelled, arq leaves its jobs running. Await them before their resources
        # close.
        await wait_or_cancel(*arq.tasks.values())


async def purge_budgets(context: dict[str, Any]) -> None:
    """Delete the budgets that are full again."""
    async with database.connection(context["orders"].pool) as connection:
        await order_queries.purge_budgets(connection)


async def purge_expired(context: dict[str, Any]) -> None:
    """Delete expired rows: idempotency keys after a day, handled webhooks, and inbox rows.

    Inbox rows are kept longer than the events, since a redelivered event must still find its row.
    """
    for schema in ("tickets", "orders"):
        pool: Pool = context[schema].pool
        async with database.connection(pool) as connection:
            await KeyTable(schema).purge(connection)
    async with database.connection(context["payments"].pool) as connection:
        await purge_webhooks(connection)
    for schema in ("orders", "payments"):
        resources: Resources = context[schema]
        async with database.connection(resources.pool) as connection:
            await connection.execute(
                f"""
                delete from {schema}.inbox
                where handled_at < now() - interval '{INBOX_RETENTION}'
                """
            )


def _expiration_consumer(resources: Resources, jobs: ArqRedis) -> Consumer:
    return Consumer(
        expiration.CONSUMER,
        resources.redis,
        resources.pool,
        "orders",
        expiration.Alarms(jobs).handle,
        types=expiration.TYPES,
    )


def _payments_consumer(resources: Resources, jobs: ArqRedis) -> Consumer:
    return Consumer(
        payments.CONSUMER,
        resources.redis,
        resources.pool,
        "payments",
        payments.Abandonment(jobs).handle,
        types=payments.TYPES,
    )


def _publisher(settings: Settings, redis: Any) -> MessagePublisher:
    if settings.push_backend == "gateway":
        return Publisher(redis)
    return HostedPublisher([pusher_client(settings) for _ in range(LANES)])


def _with_retries(job: Job) -> WorkerCoroutine:
    """Wrap a job so that it is retried with growing delays.

    Without this, arq drops a job that raises.
    """

    async def tried(ctx: dict[Any, Any], *args: Any, correlation_id: str | None = None) -> None:
        with correlation.bound(UUID(correlation_id) if correlation_id else None):
            try:
                with tracing.span(f"job {job.__name__}"):
                    await _measured(job, ctx, *args)
            except Exception as error:
                tries: int = ctx["job_try"]
                log.warning(
                    "job failed", job=job.__name__, arguments=args, tries=tries, error=repr(error)
                )
                raise Retry(defer=timedelta(seconds=min(0.25 * 2**tries, 30))) from error
            log.debug("job done", job=job.__name__, arguments=args)

    return tried


def _as_timer(job: Job) -> WorkerCoroutine:
    """Wrap a timer's job: an exception is logged, and the next run is the retry."""

    async def tried(ctx: dict[Any, Any]) -> None:
        with correlation.bound():
            try:
                with tracing.span(f"timer {job.__name__}"):
                    await _measured(job, ctx)
            except Exception as error:
                log.warning("timer failed", job=job.__name__, error=repr(error))

    return tried


async def _measured(job: Job, *args: Any, **kwargs: Any) -> Any:
    began = time.perf_counter()
    outcome = "failed"
    try:
        result = await job(*args, **kwargs)
        outcome = "done"
    finally:
        JOBS.labels(job.__name__, outcome).observe(time.perf_counter() - began)
    return result
