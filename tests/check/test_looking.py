"""What a look finds where nothing is wrong, on things that are still moving, and when it can't see."""

import pytest

from backend.check import invariants
from backend.check.event_stream import SENT_BACK
from backend.check.evidence import CannotLook
from backend.check.invariants import INVARIANTS, Look
from backend.events.stream import DEAD_LETTERS, add_dead_letter
from backend.push.push_log import STREAM as PUSH_LOG
from tests.check.market import Market, acknowledge_early
from tests.events.log import record
from tests.system import System
from workers import payments


def unseen(look: Look) -> dict[str, list[str]]:
    return {
        finding.invariant: [part.why for part in finding.unseen]
        for finding in look.findings
        if finding.unseen
    }


async def test_a_market_at_rest_breaks_nothing_and_all_of_it_is_looked_at(market: Market) -> None:
    statuses = await market.rows.fetch("select distinct status from orders.orders")
    assert {row["status"] for row in statuses} == {
        "completed",
        "awaiting_payment",
        "pending",
        "cancelled",
        "expired",
        "refunded",
    }
    paid = await market.rows.fetch("select distinct status from payments.payments")
    assert {row["status"] for row in paid} == {"captured", "failed", "voided", "refunded"}
    look = await market.look()
    assert {
        finding.invariant: finding.offenders for finding in look.findings if finding.offenders
    } == {}
    assert unseen(look) == {}
    assert look.outcome == "holds"
    assert [finding.invariant for finding in look.findings] == [
        invariant.name for invariant in INVARIANTS
    ]
    assert all(finding.examined > 0 for finding in look.findings)


async def test_what_is_on_its_way_is_no_breach(market: Market) -> None:
    """A hold that ended a moment ago, an event that is not numbered, a message that is not told, money in motion."""
    await market.rows.execute(
        "update tickets.tickets set held_until = now() - interval '1 s' where status = 'held'"
    )
    await market.rows.execute(
        "update orders.orders set expires_at = now() - interval '1 s' where status = 'pending'"
    )
    await market.change(
        "ticket",
        "price = 1, updated_at = clock_timestamp()",
        "status = 'available'",
        event="ticket.updated",
    )
    completed = await market.order("completed")
    await market.intent(completed)
    await market.rows.execute(
        "update orders.orders set updated_at = now() where id = $1", completed
    )
    assert await market.broken() == {}


async def test_what_a_webhook_told_a_moment_ago_is_not_judged_yet(market: Market) -> None:
    completed = await market.order("completed")
    intent = await market.intent_of(completed)
    await market.stripe.post("/v1/refunds", data={"payment_intent": intent})
    assert (await market.broken()).keys() == {"I2"}
    await market.rows.execute(
        "insert into payments.webhook_events (id, type, object_id) values ('evt_1', 'charge.refunded', $1)",
        intent,
    )
    assert await market.broken() == {}


async def test_offenders_are_bounded(market: Market) -> None:
    await market.rows.execute(
        "insert into payments.payments (id, order_id, buyer_id, attempt, status, amount, currency, payment_method,"
        " deadline_at) select gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 1, 'failed', 1, 'EUR', '', now()"
        " from generate_series(1, 1500)"
    )
    assert len((await market.broken())["I2"]) == 1000


async def test_an_event_that_was_buried_is_not_missed_in_the_inbox(market: Market) -> None:
    entry_id, fields = await acknowledge_early(market)
    assert (await market.broken()).keys() == {"I6"}
    await add_dead_letter(market.redis, payments.CONSUMER, entry_id, fields, "poison")
    assert await market.broken() == {}
    # Nor while it is on its way back.
    await market.redis.delete(DEAD_LETTERS)
    fields[b"entry"] = entry_id
    await market.redis.xadd(SENT_BACK + payments.CONSUMER, fields)  # type: ignore[arg-type]
    assert await market.broken() == {}


async def test_what_is_told_late_is_not_what_a_client_shows(market: Market) -> None:
    """A client keeps the highest version, whatever comes after it."""
    entries = await market.redis.xrange(PUSH_LOG)
    for _, fields in entries[:20]:
        await market.redis.xadd(PUSH_LOG, fields)
    assert await market.broken() == {}


async def test_what_was_published_before_the_database_was_restored_is_not_held_against_it(
    market: Market,
) -> None:
    """The outbox has gone back, and so has everything that was in the inboxes since; a new epoch begins."""
    await acknowledge_early(market)
    await market.rows.execute(
        "delete from events.outbox where type = 'order.expired' and version = 1"
    )
    await market.rows.execute(
        "update events.relay set position = position - 1, epoch = epoch + 1, epoch_start = position - 1"
    )
    assert await market.broken() == {}
    await record(market.rows, 7, type="show.updated")
    await market.publish()
    assert await market.broken() == {}


async def test_without_durable_stores_that_is_said(system: System) -> None:
    """These tests' own quick stores, for once looked at."""
    look = await invariants.look(system.settings)
    said = {finding.invariant: finding.offenders for finding in look.findings if finding.offenders}
    assert said == {
        "I9": [
            "Postgres runs with fsync = off",
            "Postgres runs with full_page_writes = off",
            "Postgres runs with synchronous_commit = off",
            "Redis runs with appendonly = no",
        ]
    }


async def test_without_redis_the_rest_is_looked_at(market: Market) -> None:
    market.system.configure(REDIS_URL="unix:///nowhere/redis.sock")
    look = await market.look()
    assert look.outcome == "unseen"
    assert unseen(look).keys() == {"I5", "I6", "I7", "I8", "I9", "I10"}
    await market.rows.execute("drop index orders.lines_one_live_per_ticket")
    assert (await market.look()).outcome == "broken"


async def test_a_ledger_that_does_not_answer_is_said_so(market: Market) -> None:
    market.system.configure(STRIPE_API_BASE="http://127.0.0.1:1")
    look = await market.look()
    assert look.outcome == "unseen"
    assert list(unseen(look)) == ["I2"]
    assert "http://127.0.0.1:1" in unseen(look)["I2"][0]


async def test_what_the_settings_leave_out_is_shown_and_is_no_failure(market: Market) -> None:
    market.system.configure(STRIPE_API_KEY="", PUSH_BACKEND="pusher")
    look = await market.look()
    assert look.outcome == "holds"
    assert unseen(look).keys() == {"I2", "I7", "I8"}


async def test_without_postgres_nothing_is_said(market: Market) -> None:
    market.system.configure(DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(CannotLook, match="Postgres"):
        await invariants.look(market.system.settings)


async def test_stripe_itself_is_asked_for_our_newest_intents(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the official library; the sandbox speaks that API as well."""
    from backend.check import ledger

    monkeypatch.setattr(ledger, "_read_sandbox", None)
    monkeypatch.setattr(ledger, "read", ledger.ask_stripe)
    look = await market.look()
    assert look.outcome == "holds"
    assert unseen(look).keys() == {"I2"}
    assert "newest 6 intents" in unseen(look)["I2"][0]
    intent = await market.intent_of(await market.order("completed"))
    await market.stripe.post("/v1/refunds", data={"payment_intent": intent})
    assert (await market.broken()).keys() == {"I2"}
