"""Graceful shutdown: the standby process takes over at once, and a running job is finished."""

import asyncio
import signal
import time
from functools import partial
from typing import Any

import pytest
from arq.jobs import JobStatus

from backend.events.stream import STREAM
from backend.kernel.jobs import open_jobs
from tests.events.log import numbers, record
from tests.system import System, until
from tests.workers.test_takeover import Pair, pair
from workers import main as workers
from workers import payments

HANDOVER_SECONDS = 1.0


@pytest.mark.parametrize(
    ("kind", "lease"), [("relay", "gittix-relay"), ("worker", "gittix-notifier")]
)
async def test_a_process_that_receives_sigterm_releases_its_lease_at_once(
    system: System, kind: str, lease: str
) -> None:
    took: list[float] = []
    # The quickest of three: other tests may load the machine.
    for _ in range(3):
        async with pair(system, kind, lease) as both:
            first, _ = both.processes
            first.send_signal(signal.SIGTERM)
            asked_at = time.monotonic()
            await until(partial(handed_over, both))
            took.append(time.monotonic() - asked_at)
            assert await asyncio.wait_for(first.wait(), 10) == 0
        if took[-1] < HANDOVER_SECONDS:
            break
    assert min(took) < HANDOVER_SECONDS, took


async def handed_over(both: Pair) -> bool:
    """Return whether only one process is left and it holds the lease."""
    return await both.candidates() == 1 and await both.holders() == 1


async def test_a_busy_relay_that_receives_sigterm_loses_and_repeats_no_event(
    system: System,
) -> None:
    owner = await system.connect()
    redis = system.redis()
    async with pair(system, "relay", "gittix-relay") as relays:
        for number in range(300):
            if number == 150:
                relays.processes[0].send_signal(signal.SIGTERM)
            await record(owner, number)
        await until(lambda: published(redis, 300))
    assert await numbers(redis) == list(range(300))


async def published(redis: Any, count: int) -> bool:
    return int(await redis.xlen(STREAM)) == count


async def test_a_running_job_is_finished_at_shutdown(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, done = asyncio.Event(), asyncio.Event()

    async def slow(_context: Any, _order_id: str) -> None:
        began.set()
        await asyncio.sleep(0.7)
        done.set()

    monkeypatch.setattr(payments, "abandon_payment", slow)
    jobs = open_jobs(system.settings.redis_url, name="tests-jobs")
    try:
        async with workers.worker(system.settings, ["jobs"]):
            job = await jobs.enqueue_job(payments.ABANDON, "an order")
            await asyncio.wait_for(began.wait(), 5)
        assert done.is_set()
        assert job
        assert await job.status() is JobStatus.not_found
    finally:
        await jobs.aclose()
