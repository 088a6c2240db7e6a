"""Jobs while Redis is full: none is lost, and none stays blocked after Redis has memory again."""

from typing import Any

import arq
import pytest

import workers.payments
from backend.kernel import correlation
from backend.kernel.jobs import QUEUE, enqueue, open_jobs
from backend.payments.webhooks import HANDLE_WEBHOOK
from tests import stores
from tests.system import System, until

# arq would block the job for 25 seconds.
RECOVERY_SECONDS = 10


async def test_a_full_redis_refuses_a_job_without_an_error_of_its_caller(system: System) -> None:
    jobs = open_jobs(system.settings.redis_url, name="tests-jobs")
    try:
        with correlation.bound():
            async with stores.full(system.redis()):
                await enqueue(jobs, HANDLE_WEBHOOK, "evt_1", job_id="webhook:evt_1")
            assert await jobs.zcard(QUEUE) == 0
            await enqueue(jobs, HANDLE_WEBHOOK, "evt_1", job_id="webhook:evt_1")
            assert await jobs.zcard(QUEUE) == 1
    finally:
        await jobs.aclose()


async def test_a_job_whose_start_was_refused_runs_when_redis_has_memory(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis becomes full after arq marked the job as in progress, and before it counts the try."""
    redis = system.redis()
    run_job = arq.Worker.run_job
    refused: list[str] = []
    handled: list[str] = []

    async def interrupted(self: arq.Worker, job_id: str, score: int) -> None:
        if job_id != "webhook:evt_1" or refused:
            await run_job(self, job_id, score)
            return
        refused.append(job_id)
        async with stores.full(redis):
            await run_job(self, job_id, score)

    async def handle(_context: dict[str, Any], event_id: str) -> None:
        handled.append(event_id)

    async def was_handled() -> bool:
        return handled == ["evt_1"]

    monkeypatch.setattr(arq.Worker, "run_job", interrupted)
    monkeypatch.setattr(workers.payments, "handle_webhook", handle)
    jobs = open_jobs(system.settings.redis_url, name="tests-jobs")
    try:
        with correlation.bound():
            await enqueue(jobs, HANDLE_WEBHOOK, "evt_1", job_id="webhook:evt_1")
        await system.start("stripe", "api", "worker")
        await until(was_handled, seconds=RECOVERY_SECONDS)
        assert refused == ["webhook:evt_1"]
    finally:
        await jobs.aclose()
