"""Stripe's webhooks: verified on their raw bytes, stored once, handled by reading the intent."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

import workers.payments
from backend.payments import queries, webhooks
from backend.payments.payment_flow import PaymentFlow
from backend.stripe_sandbox.webhooks import sign
from tests.factories import Json
from tests.payments.shop import Shop, open_shop, until, worker_context
from tests.system import WEBHOOK_SECRET, System

EVENT: Json = {
    "id": "evt_1",
    "type": "payment_intent.created",
    "data": {"object": {"object": "charge"}},
}


@pytest.fixture
async def counter(system: System) -> AsyncIterator[Shop]:
    """The API alone."""
    async with open_shop(system) as shop:
        await system.start("api")
        yield shop


async def stored(shop: Shop) -> list[str]:
    return [
        row["id"]
        for row in await shop.rows.fetch("select id from payments.webhook_events order by id")
    ]


async def test_a_signed_event_is_stored_and_answered(counter: Shop) -> None:
    accepted = await counter.deliver(EVENT)
    assert (accepted.status_code, accepted.json()) == (200, {"received": True})
    assert await stored(counter) == ["evt_1"]


async def test_a_webhook_without_stripes_signature_is_refused(counter: Shop) -> None:
    body = msgspec.json.encode(EVENT)
    now = int(time.time())
    forged = [
        (body, sign(body, "whsec_other", now)),
        (body.replace(b"evt_1", b"evt_2"), sign(body, WEBHOOK_SECRET, now)),
        (body + b" ", sign(body, WEBHOOK_SECRET, now)),
        (msgspec.json.format(body), sign(body, WEBHOOK_SECRET, now)),
        (body, sign(body, WEBHOOK_SECRET, now + 3600)),
        (body, sign(body, WEBHOOK_SECRET, now - 3600)),
        (body, f"t={now}"),
        (body, ""),
        (b"\xff\xfe", "t=1,v1=00"),
    ]
    for bytes_sent, signature in forged:
        refused = await counter.send_webhook(bytes_sent, signature)
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_signature")
    assert await stored(counter) == []


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        b"not json",
        b'{"id": 1, "type": 2}',
        b"\xff",
        b'{"id": "evt_1", "type": "t", "deep": ' + b"[" * 100_000,
        b'{"id": "evt_1", "type": "t", "deep": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"id": "evt_1", "type": "t", "data": []}',
        b'{"id": "evt_1", "type": "t", "data": {"object": "text"}}',
        b'{"id": "\\ud800", "type": "t"}',
        b'{"id": "evt_%b", "type": "t"}' % (b"1" * 200_000),
        b'{"id": "evt_1", "type": "t", "data": %b}' % (b"1" * 5_000),
    ],
)
async def test_a_signed_malformed_event_is_refused(counter: Shop, body: bytes) -> None:
    refused = await counter.send_webhook(body, sign(body, WEBHOOK_SECRET, int(time.time())))
    assert refused.status_code == 400
    assert await stored(counter) == []


async def test_both_secrets_are_accepted_during_a_rotation(system: System) -> None:
    system.configure(STRIPE_WEBHOOK_SECRETS=f"whsec_new,{WEBHOOK_SECRET}")
    await system.start("api")
    async with open_shop(system) as shop:
        assert (await shop.deliver(EVENT)).status_code == 200
        assert (await shop.deliver(EVENT | {"id": "evt_2"}, secret="whsec_new")).status_code == 200
        assert await stored(shop) == ["evt_1", "evt_2"]


async def test_a_duplicate_is_stored_and_handled_once(counter: Shop) -> None:
    replies = await asyncio.gather(*(counter.deliver(EVENT) for _ in range(5)))
    assert {reply.status_code for reply in replies} == {200}
    assert await stored(counter) == ["evt_1"]
    assert await counter.system.redis().zcard("gittix:jobs") == 1


async def test_an_event_of_an_unused_type_counts_as_handled(shop: Shop) -> None:
    await shop.deliver(
        {"id": "evt_x", "type": "radar.something.new", "data": {"object": {"id": "x"}}}
    )
    async with worker_context(shop.system) as context:
        await workers.payments.handle_webhook(context, "evt_x")
    assert await unhandled(shop) == 0


async def test_a_signed_event_that_contradicts_stripe_pays_nothing(shop: Shop) -> None:
    order = await shop.order()
    await shop.pay(order, "pm_card_authenticationRequired")
    intent = await shop.stripe.intent(order["id"])
    assert intent["status"] == "requires_action"
    paid = intent | {"status": "succeeded", "amount_received": intent["amount"]}
    event = {"id": "evt_paid", "type": "payment_intent.succeeded", "data": {"object": paid}}
    assert (await shop.deliver(event)).status_code == 200
    async with worker_context(shop.system) as context:
        await workers.payments.handle_webhook(context, event["id"])  # type: ignore[arg-type]
    handled = "select handled_at is not null from payments.webhook_events where id = 'evt_paid'"
    assert await shop.rows.fetchval(handled)
    assert await shop.state(order) == ("awaiting_payment", "held")


async def test_an_event_about_a_foreign_intent_is_ignored(shop: Shop) -> None:
    foreign = await shop.stripe.create_foreign_intent()
    for number, intent_id in enumerate([foreign, "pi_unknown"]):
        about = {"object": {"id": intent_id, "object": "payment_intent"}}
        event = {"id": f"evt_foreign_{number}", "type": "payment_intent.created", "data": about}
        assert (await shop.deliver(event)).status_code == 200
        async with worker_context(shop.system) as context:
            await workers.payments.handle_webhook(context, event["id"])  # type: ignore[arg-type]
    assert (
        await shop.rows.fetchval(
            "select count(*) from payments.webhook_events "
            "where id like 'evt_foreign_%' and handled_at is null"
        )
        == 0
    )
    assert await shop.rows.fetchval("select count(*) from payments.payments") == 0


@pytest.mark.parametrize("seed", range(3))
async def test_webhooks_in_any_order_and_number_end_in_the_same_state(
    shop: Shop, seed: int
) -> None:
    await shop.stripe.faults(webhooks={"paused": True})
    order = await shop.order()
    await shop.pay(order, "pm_card_chargeDeclined")
    await shop.pay(order, "pm_card_authenticationRequired")
    await shop.stripe.authenticate(order["id"])
    events = 2 * await shop.stripe.events()
    random.Random(seed).shuffle(events)
    async with worker_context(shop.system) as context:
        for event in events:
            assert (await shop.deliver(event)).status_code == 200
            await webhooks.handle(context["payments"], context["payment_flow"], event["id"])
    await shop.assert_paid_once(order)
    assert await shop.attempts(order) == ["failed", "captured"]


async def test_webhooks_handled_at_the_same_time_capture_once(shop: Shop) -> None:
    await shop.stripe.faults(webhooks={"paused": True})
    order = await shop.order()
    await shop.pay(order, "pm_card_authenticationRequired")
    await shop.stripe.authenticate(order["id"])
    events = await shop.stripe.events()
    for event in events:
        await shop.deliver(event)
    async with worker_context(shop.system) as context:

        async def handle(event: Json) -> None:
            await webhooks.handle(context["payments"], context["payment_flow"], event["id"])

        await asyncio.gather(*(handle(event) for event in events))
    await shop.assert_paid_once(order)


async def test_shuffled_duplicated_deliveries_complete_the_order(shop: Shop) -> None:
    await shop.system.start("worker")
    await shop.stripe.faults(webhooks={"shuffle": True, "duplicate": True})
    order = await shop.order()
    await shop.pay(order, "pm_card_authenticationRequired")
    await shop.stripe.authenticate(order["id"])
    await until(lambda: shop.is_attempt(order, "captured"))
    await shop.assert_paid_once(order)


async def test_the_reconciler_finds_a_stored_event_whose_job_was_lost(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers.payments, "WEBHOOK_SECONDS", 0.0)
    order = await shop.order()
    await shop.pay(order, "pm_card_authenticationRequired")
    await shop.stripe.authenticate(order["id"])
    await until(lambda: _has_enough_events(shop))
    redis = shop.system.redis()
    await redis.flushall()
    async with worker_context(shop.system) as context:
        assert await workers.payments.reconcile_payments(context) > 0
    await shop.system.start("worker")
    await until(lambda: shop.is_attempt(order, "captured"))
    await shop.assert_paid_once(order)


async def test_an_event_does_not_wait_for_older_ones_that_fail(shop: Shop) -> None:
    await shop.rows.execute(
        """
        insert into payments.webhook_events (id, type, received_at, tries)
        select 'evt_fails_' || n, 'charge.refunded', now() - interval '1 hour', 1
        from generate_series(1, $1::int) n
        union all select 'evt_lost', 'charge.refunded', now() - interval '1 minute', 0
        """,
        workers.payments.BATCH,
    )
    waiting = await queries.waiting_webhooks(shop.rows, 5, workers.payments.BATCH)
    assert waiting[0] == "evt_lost"


async def test_an_event_is_accepted_while_redis_is_unavailable(
    counter: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuses(*_: Any, **__: Any) -> None:
        raise ConnectionError

    monkeypatch.setattr("arq.connections.ArqRedis.enqueue_job", refuses)
    assert (await counter.deliver(EVENT)).status_code == 200
    assert await stored(counter) == ["evt_1"]


async def test_a_job_that_is_cancelled_leaves_its_event_to_the_next(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = await shop.order()
    await shop.pay(order, "pm_card_authenticationRequired")
    await shop.stripe.authenticate(order["id"])
    await until(lambda: _has_enough_events(shop))

    async def hangs(*_: Any) -> None:
        await asyncio.sleep(60)

    waiting = await shop.rows.fetchval(
        "select id from payments.webhook_events "
        "where type = 'payment_intent.amount_capturable_updated'"
    )
    async with worker_context(shop.system) as context:
        with monkeypatch.context() as slow:
            slow.setattr(PaymentFlow, "resume_intent", hangs)
            job = asyncio.create_task(workers.payments.handle_webhook(context, waiting))
            await asyncio.sleep(0.1)
            job.cancel()
            await asyncio.gather(job, return_exceptions=True)
        handled = "select handled_at is not null from payments.webhook_events where id = $1"
        assert await shop.rows.fetchval(handled, waiting) is False
        await workers.payments.handle_webhook(context, waiting)
    assert await shop.rows.fetchval(handled, waiting) is True
    await shop.assert_paid_once(order)


async def test_a_signature_with_non_ascii_characters_is_refused(counter: Shop) -> None:
    reply = await counter.system.anonymous().post(
        "/api/payments/webhook",
        content=b"{}",
        headers=[(b"stripe-signature", f"t={int(time.time())},v1=\u00e9".encode())],
    )
    assert (reply.status_code, reply.json()["code"]) == (400, "bad_signature")


async def unhandled(shop: Shop) -> int:
    count: int = await shop.rows.fetchval(
        "select count(*) from payments.webhook_events where handled_at is null"
    )
    return count


async def _has_enough_events(shop: Shop) -> bool:
    found = await shop.rows.fetchval(
        "select count(*) from payments.webhook_events "
        "where type = 'payment_intent.amount_capturable_updated'"
    )
    return bool(found)
