"""GitTix is killed at every point before and after a commit or an effect outside, and nothing that it promised is lost.

The points are listed by a run in which nothing crashes, then dealt to a few runs: in each, a process that died is
started again at once and dies at its next point. CRASH_POINTS=alone gives each point a system of its own, and there it
dies once more at each point that only the recovery comes to.
"""

import fcntl
import json
import os

import pytest

from tests.crash import sabotage
from tests.crash.conftest import Fresh
from tests.crash.nursery import Nursery
from tests.crash.search import record, search

GROUPS = 6
ALONE = os.environ.get("CRASH_POINTS") == "alone"
SECONDS = 120
SECONDS_ALONE = 1200

pytestmark = pytest.mark.timeout(SECONDS_ALONE if ALONE else SECONDS)

# The list is made by a run, so it could shrink unseen: what must be on it, each before and after.
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
    fresh: Fresh, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """All of them, listed once for all test processes."""
    folder = tmp_path_factory.getbasetemp()
    shared = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    with (shared / "crash-points.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = shared / "crash-points.json"
        if not path.exists():
            async with fresh() as system:
                path.write_text(json.dumps(await record(system, nursery)))
        found: list[str] = json.loads(path.read_text())
        return found


def test_the_list_has_the_points_that_matter(points: list[str]) -> None:
    assert {line.format(side) for line in HEADLINES for side in ("before", "after")} <= set(points)
    # A point before an effect and none after it would mean that the effect never succeeds. A consumer group that is
    # there already, by a try whose reply was lost, is refused: that is as good.
    assert {
        point
        for point in points
        if " before " in point
        and "_ensure_groups" not in point
        and point.replace(" before ", " after ") not in points
    } == set()


@pytest.mark.parametrize("group", range(GROUPS))
async def test_nothing_promised_is_lost_at_any_point(
    group: int, points: list[str], fresh: Fresh, nursery: Nursery
) -> None:
    mine = points[group::GROUPS]
    for armed in [[point] for point in mine] if ALONE else [mine]:
        async with fresh() as system:
            found = await search(system, nursery, armed, known=points if ALONE else None)
        assert found.violations == [], found.died
        assert found.missed == []
        assert set(armed) <= set(found.died)


@pytest.mark.parametrize(
    ("fault", "point", "sign"),
    [
        (
            "reply_before_commit",
            "api: before commit tests.crash.sabotage._commit",
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
            "the stream is not the outbox: lost",
        ),
        (
            "acknowledge_before_effect",
            "worker: before commit events.consumer._apply of expiration",
            "expiration never handled order",
        ),
        (
            "tell_without_position",
            "worker: before commit workers.notifier._save_position#3",
            ": told [",
        ),
    ],
)
async def test_the_search_finds_a_fault(
    fault: str, point: str, sign: str, fresh: Fresh, nursery: Nursery
) -> None:
    """The negative control: production code with one fault built in, killed where it hurts."""
    async with fresh() as system:
        found = await search(system, nursery, [point], sabotage=fault)
    assert found.died == [point]
    assert sign in "\n".join(found.violations)


async def test_the_faults_are_not_seen_while_nothing_dies(fresh: Fresh, nursery: Nursery) -> None:
    """So it is the crash that finds them, and no ordinary test would."""
    async with fresh() as system:
        found = await search(system, nursery, [], sabotage=",".join(sabotage.FAULTS))
    assert (found.died, found.violations) == ([], [])
