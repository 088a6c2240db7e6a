"""The backlog gauges: one process counts the work that waits in Postgres and in the job queue."""

from typing import Any

import pytest
from prometheus_client import REGISTRY

from backend.events.resources import open_resources
from backend.kernel.jobs import QUEUE, open_jobs
from backend.kernel.lease import lease
from backend.kernel.supervisor import running
from backend.payments.queries import MAX_TRIES
from tests import factories
from tests.orders.rows import make_overdue
from tests.system import System, until
from workers import backlog
from workers.backlog import Backlog, Pools


def gauges(of: str) -> tuple[float | None, float | None]:
    labels = {"of": of}
    return (
        REGISTRY.get_sample_value("gittix_backlog", labels),
        REGISTRY.get_sample_value("gittix_backlog_oldest_seconds", labels),
    )


@pytest.fixture
async def backlog_gauges(system: System) -> Any:
    jobs = open_jobs(system.settings.redis_url, name="tests-jobs")
    async with (
        open_resources(system.settings, "orders") as orders,
        open_resources(system.settings, "payments") as paying,
    ):
        url = system.settings.role_database_url("payments")
        yield Backlog(url, Pools(orders.pool, paying.pool), jobs)
    await jobs.aclose()
    backlog.clear_gauges()


async def test_an_idle_system_has_an_empty_backlog(system: System, backlog_gauges: Backlog) -> None:
    await backlog_gauges.measure()
    for of in (
        "holds_overdue",
        "jobs",
        "webhooks",
        "webhooks_given_up",
        "payments_authorised",
        "refunds_requested",
    ):
        assert gauges(of) == (0, 0), of


async def test_overdue_holds_are_counted(system: System, backlog_gauges: Backlog) -> None:
    await system.start("api")
    tickets = [await factories.ticket(system.person("seller")) for _ in range(2)]
    due = await factories.order(system.person("buyer"), tickets[0]["id"])
    await factories.order(system.person("other"), tickets[1]["id"])
    await make_overdue(await system.connect(), due, seconds=40)
    await backlog_gauges.measure()
    count, oldest = gauges("holds_overdue")
    assert (count, oldest is not None and 40 <= oldest < 50) == (1, True)


async def test_webhooks_wait_until_they_are_handled_or_given_up(
    system: System, backlog_gauges: Backlog
) -> None:
    rows = await system.connect()
    await rows.execute(
        """
        insert into payments.webhook_events (id, type, received_at, handled_at, tries) values
            ('evt_1', 'x', now() - interval '2 min', null, 3), ('evt_2', 'x', now(), null, 0),
            ('evt_3', 'x', now() - interval '1 day', null, $1),
            ('evt_4', 'x', now() - interval '1 day', now(), 1)
        """,
        MAX_TRIES,
    )
    await backlog_gauges.measure()
    count, oldest = gauges("webhooks")
    assert (count, oldest is not None and 120 <= oldest < 130) == (2, True)
    assert gauges("webhooks_given_up")[0] == 1


async def test_pending_payments_are_counted_by_status(
    system: System, backlog_gauges: Backlog
) -> None:
    await system.start("api", "stripe")
    ticket = await factories.ticket(system.person("seller"))
    buyer = system.person("buyer")
    order = await factories.order(buyer, ticket["id"])
    await factories.payment(buyer, order["id"], "pm_card_authenticationRequired")
    await backlog_gauges.measure()
    assert (gauges("payments_requires_action")[0], gauges("payments_authorised")[0]) == (1, 0)


async def test_due_jobs_are_counted_from_their_time_on(
    system: System, backlog_gauges: Backlog
) -> None:
    jobs = open_jobs(system.settings.redis_url, name="tests-jobs")
    now_ms = 1000 * (await jobs.time())[0]
    await jobs.zadd(QUEUE, {"due": now_ms - 30_000, "later": now_ms + 60_000})
    await jobs.aclose()
    await backlog_gauges.measure()
    count, oldest = gauges("jobs")
    assert (count, oldest is not None and 29 <= oldest < 35) == (1, True)


async def test_a_process_without_the_lease_clears_its_gauges(
    system: System, backlog_gauges: Backlog
) -> None:
    async def gauges_are_cleared() -> bool:
        return gauges("jobs") == (None, None)

    async def gauges_are_set() -> bool:
        return gauges("jobs") == (0, 0)

    await backlog_gauges.measure()
    rival = lease(system.settings.role_database_url("payments"), backlog.LEASE, name="rival")
    async with rival, running((backlog.TASK, backlog_gauges.run)):
        await until(gauges_are_cleared)
    async with running((backlog.TASK, backlog_gauges.run)):
        await until(gauges_are_set)
