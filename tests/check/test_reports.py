"""Reports of an intact system, of work in progress, and of stores that cannot be read."""

import pytest

from backend.check.invariants import INVARIANTS, Report, check_invariants
from backend.check.snapshot import CheckError
from backend.events.stream import DEAD_LETTERS, REDRIVE_PREFIX, add_dead_letter
from backend.push.push_log import STREAM as PUSH_LOG
from tests.check.seeded_system import SeededSystem, acknowledge_early
from tests.events.log import record
from tests.system import System
from workers import payments


def unchecked_parts(report: Report) -> dict[str, list[str]]:
    return {
        result.invariant: [part.reason for part in result.unchecked]
        for result in report.results
        if result.unchecked
    }


async def test_a_system_at_rest_is_examined_in_full_without_violations(
    seeded: SeededSystem,
) -> None:
    statuses = await seeded.rows.fetch("select distinct status from orders.orders")
    assert {row["status"] for row in statuses} == {
        "completed",
        "awaiting_payment",
        "pending",
        "cancelled",
        "expired",
        "refunded",
    }
    paid = await seeded.rows.fetch("select distinct status from payments.payments")
    assert {row["status"] for row in paid} == {"captured", "failed", "voided", "refunded"}
    report = await seeded.check()
    assert {
        result.invariant: result.violations for result in report.results if result.violations
    } == {}
    assert unchecked_parts(report) == {}
    assert report.outcome == "holds"
    assert [result.invariant for result in report.results] == [
        invariant.name for invariant in INVARIANTS
    ]
    assert all(result.examined > 0 for result in report.results)


async def test_work_in_progress_is_not_a_violation(seeded: SeededSystem) -> None:
    """An ended hold, an event without a position, an unpublished message, a payment."""
    await seeded.rows.execute(
        "update tickets.tickets set held_until = now() - interval '1 s' where status = 'held'"
    )
    await seeded.rows.execute(
        "update orders.orders set expires_at = now() - interval '1 s' where status = 'pending'"
    )
    await seeded.change(
        "ticket",
        "price = 100, updated_at = clock_timestamp()",
        "status = 'available'",
        event="ticket.updated",
    )
    completed = await seeded.order("completed")
    await seeded.intent(completed)
    await seeded.rows.execute(
        "update orders.orders set updated_at = now() where id = $1", completed
    )
    assert await seeded.broken() == {}


async def test_an_order_with_a_recent_webhook_is_not_compared_yet(seeded: SeededSystem) -> None:
    completed = await seeded.order("completed")
    intent = await seeded.intent_of(completed)
    await seeded.stripe.post("/v1/refunds", data={"payment_intent": intent})
    assert (await seeded.broken()).keys() == {"I2"}
    await seeded.rows.execute(
        "insert into payments.webhook_events (id, type, object_id) values ('evt_1',"
        " 'charge.refunded', $1)",
        intent,
    )
    assert await seeded.broken() == {}


async def test_violations_are_bounded(seeded: SeededSystem) -> None:
    await seeded.rows.execute(
        "insert into payments.payments (id, order_id, buyer_id, attempt, status, amount, currency,"
        " payment_method,"
        " deadline_at) select gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 1,"
        " 'failed', 1, 'EUR', '', now()"
        " from generate_series(1, 1500)"
    )
    assert len((await seeded.broken())["I2"]) == 1000


async def test_a_dead_lettered_event_may_be_missing_in_the_inbox(seeded: SeededSystem) -> None:
    entry_id, fields = await acknowledge_early(seeded)
    assert (await seeded.broken()).keys() == {"I6"}
    await add_dead_letter(seeded.redis, payments.CONSUMER, entry_id, fields, "poison")
    assert await seeded.broken() == {}
    # The same holds while the event waits in the redrive stream.
    await seeded.redis.delete(DEAD_LETTERS)
    fields[b"entry"] = entry_id
    await seeded.redis.xadd(REDRIVE_PREFIX + payments.CONSUMER, fields)  # type: ignore[arg-type]
    assert await seeded.broken() == {}


async def test_a_late_message_with_an_older_version_is_ignored(seeded: SeededSystem) -> None:
    """A client keeps the highest version when older messages arrive later."""
    entries = await seeded.redis.xrange(PUSH_LOG)
    for _, fields in entries[:20]:
        await seeded.redis.xadd(PUSH_LOG, fields)
    assert await seeded.broken() == {}


async def test_events_published_before_a_database_restore_are_not_violations(
    seeded: SeededSystem,
) -> None:
    """The restore lost rows of the outbox and of the inboxes, and a new epoch begins."""
    await acknowledge_early(seeded)
    await seeded.rows.execute(
        "delete from events.outbox where type = 'order.expired' and version = 1"
    )
    await seeded.rows.execute(
        "update events.relay set position = position - 1, epoch = epoch + 1, epoch_start ="
        " position - 1"
    )
    assert await seeded.broken() == {}
    await record(seeded.rows, 7, type="show.updated")
    await seeded.publish()
    assert await seeded.broken() == {}


async def test_stores_without_durability_are_violations(system: System) -> None:
    """The other tests' stores run without durability."""
    report = await check_invariants(system.settings)
    violations = {
        result.invariant: result.violations for result in report.results if result.violations
    }
    assert violations == {
        "I9": [
            "Postgres runs with fsync = off",
            "Postgres runs with full_page_writes = off",
            "Postgres runs with synchronous_commit = off",
            "Redis runs with appendonly = no",
        ]
    }


async def test_without_redis_the_other_invariants_are_checked(seeded: SeededSystem) -> None:
    seeded.system.configure(REDIS_URL="unix:///nowhere/redis.sock")
    report = await seeded.check()
    assert report.outcome == "unseen"
    assert unchecked_parts(report).keys() == {"I5", "I6", "I7", "I8", "I9", "I10"}
    await seeded.rows.execute("drop index orders.lines_one_live_per_ticket")
    assert (await seeded.check()).outcome == "broken"


async def test_an_unreachable_ledger_is_reported(seeded: SeededSystem) -> None:
    seeded.system.configure(STRIPE_API_BASE="http://127.0.0.1:1")
    report = await seeded.check()
    assert report.outcome == "unseen"
    assert list(unchecked_parts(report)) == ["I2"]
    assert "http://127.0.0.1:1" in unchecked_parts(report)["I2"][0]


async def test_parts_excluded_by_the_settings_are_reported_without_failure(
    seeded: SeededSystem,
) -> None:
    seeded.system.configure(STRIPE_API_KEY="", PUSH_BACKEND="pusher")
    report = await seeded.check()
    assert report.outcome == "holds"
    assert unchecked_parts(report).keys() == {"I2", "I7", "I8"}


async def test_without_postgres_the_check_raises(seeded: SeededSystem) -> None:
    seeded.system.configure(DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(CheckError, match="Postgres"):
        await check_invariants(seeded.system.settings)


async def test_our_newest_intents_are_read_from_stripe(
    seeded: SeededSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The official library reads them; the sandbox implements that API too."""
    from backend.check import ledger

    monkeypatch.setattr(ledger, "_read_sandbox", None)
    monkeypatch.setattr(ledger, "read", ledger.read_stripe)
    report = await seeded.check()
    assert report.outcome == "holds"
    assert unchecked_parts(report).keys() == {"I2"}
    assert "newest 6 intents" in unchecked_parts(report)["I2"][0]
    intent = await seeded.intent_of(await seeded.order("completed"))
    await seeded.stripe.post("/v1/refunds", data={"payment_intent": intent})
    assert (await seeded.broken()).keys() == {"I2"}
