"""Processes are killed at every point before and after a commit or an outside effect, and no
promise is lost.

A run without crashes lists the points. They are dealt to a few runs, in each of which a process
that died is restarted at once and dies at its next point. With CRASH_POINTS=alone each point has a
system of its own, and a process also dies once at each point that only the recovery reaches.
"""

import fcntl
import json
import os

import pytest

from tests.crash import planted_faults
from tests.crash.conftest import OpenSystem
from tests.crash.search import record, search
from tests.fork_server import ForkServer

GROUPS = 6
ALONE = os.environ.get("CRASH_POINTS") == "alone"
SECONDS = 120
SECONDS_ALONE = 1200

pytestmark = pytest.mark.timeout(SECONDS_ALONE if ALONE else SECONDS)

# The list comes from a run, so it could shrink unnoticed. These points must be on it, each before
# and after its effect.
HEADLINES = (
    "api: {} commit tickets.routes.create_tickets",
    "api: {} commit tickets.routes.change_ticket",
    "api: {} commit tickets.routes.withdraw_ticket",
    "api: {} commit orders.queries.place",
    "api: {} commit orders.routes.cancel",
    "api: {} commit payments.payment_flow.begin",
    "api: {} stripe.create",
    "api: {} commit payments.queries.record_intent",
    "api: {} stripe.confirm",
    "api: {} commit payments.payment_steps._settle",
    "api: {} stripe.capture",
    "api: {} commit payments.payment_steps._finish",
    "api: {} commit payments.payment_steps.fail",
    "api: {} commit payments.payment_steps._require_action",
    "api: {} commit payments.idempotency_queries.store",
    "api: {} commit payments.webhooks.accept",
    "api: {} redis payments.webhooks.accept",
    "api: {} redis events.outbox.send",
    "api: {} commit auth.routes.sign_up",
    "relay: {} commit events.queries.assign_positions",
    "relay: {} redis events.stream.append",
    "worker: {} commit orders.queries.expire_batches",
    "worker: {} redis push.publisher._call",
    "worker: {} commit workers.notifier._save_position",
    "worker: {} redis workers.expiration.handle",
    "worker: {} commit events.consumer._apply of expiration",
    "worker: {} redis events.consumer._acknowledge of expiration",
    "worker: {} commit payments.payment_steps._settle",
    "worker: {} stripe.capture",
    "worker: {} commit payments.payment_steps._finish",
    "worker: {} arq.finish webhook",
)


@pytest.fixture
async def points(
    open_system: OpenSystem, fork_server: ForkServer, tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """All points, listed once for all test processes."""
    folder = tmp_path_factory.getbasetemp()
    shared = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    with (shared / "crash-points.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = shared / "crash-points.json"
        if not path.exists():
            async with open_system() as system:
                path.write_text(json.dumps(await record(system, fork_server)))
        found: list[str] = json.loads(path.read_text())
        return found


def test_the_list_has_every_required_point(points: list[str]) -> None:
    assert {line.format(side) for line in HEADLINES for side in ("before", "after")} <= set(points)
    # A point before an effect without one after it would mean that the effect never succeeds. The
    # exception: creating a consumer group fails when an earlier try created it and its reply was
    # lost.
    assert {
        point
        for point in points
        if " before " in point
        and "_ensure_groups" not in point
        and point.replace(" before ", " after ") not in points
    } == set()


@pytest.mark.parametrize("group", range(GROUPS))
async def test_no_promise_is_lost_at_any_point(
    group: int, points: list[str], open_system: OpenSystem, fork_server: ForkServer
) -> None:
    group_points = points[group::GROUPS]
    for armed in [[point] for point in group_points] if ALONE else [group_points]:
        async with open_system() as system:
            result = await search(system, fork_server, armed, known=points if ALONE else None)
        assert result.violations == [], result.died
        assert result.missed == []
        assert set(armed) <= set(result.died)


@pytest.mark.parametrize(
    ("fault", "point", "sign"),
    [
        (
            "reply_before_commit",
            "api: before commit tests.crash.planted_faults._commit",
            "but it is available",
        ),
        (
            "finish_before_capture",
            "api: after commit payments.payment_steps._finish",
            "taken None, owed",
        ),
        (
            "mark_before_append",
            "relay: before redis events.stream.append",
            "the stream differs from the outbox: lost",
        ),
        (
            "acknowledge_before_effect",
            "worker: before commit events.consumer._apply of expiration",
            "expiration never handled order",
        ),
        (
            "publish_without_position",
            "worker: before commit workers.notifier._save_position#3",
            ": published [",
        ),
    ],
)
async def test_the_search_finds_a_planted_fault(
    fault: str, point: str, sign: str, open_system: OpenSystem, fork_server: ForkServer
) -> None:
    """The negative control: production code with one planted fault, killed at a critical point."""
    async with open_system() as system:
        result = await search(system, fork_server, [point], faults=fault)
    assert result.died == [point]
    assert sign in "\n".join(result.violations)


async def test_without_crashes_the_planted_faults_are_not_found(
    open_system: OpenSystem, fork_server: ForkServer
) -> None:
    """Only a crash exposes the planted faults; an ordinary test would not."""
    async with open_system() as system:
        result = await search(system, fork_server, [], faults=",".join(planted_faults.FAULTS))
    assert (result.died, result.violations) == ([], [])
