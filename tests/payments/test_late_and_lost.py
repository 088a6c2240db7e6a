"""Payments around the end of the hold, and a provider that fails, hangs or loses webhooks."""

import asyncio
import time
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

import workers.payments
from backend.payments import payment_flow, provider, queries, refund_queries
from backend.payments.idempotency_queries import RowKeys
from backend.payments.provider import Provider, Refused
from tests import factories
from tests.factories import Json
from tests.payments.shop import Shop, open_shop, until, worker_context
from tests.system import System


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reconciler takes everything that stands still, at once."""
    none = timedelta(0)
    monkeypatch.setattr(workers.payments, "STALLED_AFTER", queries.StallTimes(none, none, none))
    monkeypatch.setattr(workers.payments, "WEBHOOK_SECONDS", 0.0)


async def reconcile(shop: Shop) -> int:
    async with worker_context(shop.system) as context:
        return await workers.payments.reconcile_payments(context)


async def paying(shop: Shop, order: Json, *, slow: str) -> "asyncio.Task[httpx.Response]":
    """A payment that is under way, while Stripe takes its time over requests to `slow`."""
    await shop.stripe.faults(match=slow, latency_ms=300)
    task = asyncio.create_task(shop.pay(order))
    await until(lambda: shop.attempts(order))
    return task


async def test_an_authorisation_after_the_holds_end_wins_while_the_ticket_is_free(
    shop: Shop,
) -> None:
    order = await shop.order()
    payment = await paying(shop, order, slow="/confirm")
    await shop.make_overdue(order)
    assert (await payment).json()["status"] == "captured"
    await shop.assert_paid_once(order)


async def test_an_authorisation_after_the_expiry_wins_while_all_tickets_are_free(
    shop: Shop,
) -> None:
    order = await shop.order(tickets=2)
    payment = await paying(shop, order, slow="/confirm")
    await shop.make_overdue(order)
    orders = await shop.system.connect("orders")
    assert await orders.fetchval("select orders.expire_due(100)") == 1
    assert (await payment).json()["status"] == "captured"
    await shop.assert_paid_once(order)
    assert "order.expired" in await shop.event_types(order)


async def test_an_authorisation_that_lost_its_ticket_is_voided(shop: Shop) -> None:
    order = await shop.order(tickets=2)
    payment = await paying(shop, order, slow="/confirm")
    await shop.make_overdue(order)
    rival = shop.system.person("rival")
    taken = await factories.order(rival, order["tickets"][0]["id"])
    refused = await payment
    assert (refused.status_code, refused.json()["code"]) == (409, "order_expired")
    assert (await shop.stripe.intent(order["id"]))["status"] == "canceled"
    await shop.assert_nothing_taken(order)
    assert await shop.order_status(order) == "expired"
    assert (await shop.pay(taken, by=rival)).json()["status"] == "captured"


async def test_an_authorisation_of_a_cancelled_order_is_voided(shop: Shop) -> None:
    order = await shop.order()
    payment = await paying(shop, order, slow="/confirm")
    assert (await shop.buyer.delete(f"/api/orders/{order['id']}")).status_code == 204
    assert (await payment).status_code == 409
    await shop.assert_nothing_taken(order)
    assert await shop.state(order) == ("cancelled", "available")


async def test_the_clock_ends_a_hold_while_its_payment_is_frozen(system: System) -> None:
    system.configure(HOLD_SECONDS="1", PAYMENT_GRACE_SECONDS="1")
    await system.start("stripe", "api", "worker", "relay")
    async with open_shop(system) as shop:
        order = await shop.order()
        await shop.stripe.faults(match="/confirm", latency_ms=1600)
        payment = asyncio.create_task(shop.pay(order))
        rival = shop.system.person("rival")
        ticket_id = order["tickets"][0]["id"]

        async def taken() -> bool:
            reply = await rival.post("/api/orders", {"ticket_id": ticket_id})
            return reply.status_code == 201

        await until(taken)
        assert (await payment).json()["code"] == "order_expired"
        await shop.assert_nothing_taken(order)


async def test_an_authorisation_that_cannot_be_captured_cancels_the_order(shop: Shop) -> None:
    order = await shop.order()
    payment = await paying(shop, order, slow="/capture")
    await until(lambda: shop.stripe.is_intent(order["id"], "requires_capture"))
    await shop.stripe.expire(order["id"])
    refused = await payment
    assert (refused.status_code, refused.json()["code"]) == (409, "order_expired")
    await shop.assert_nothing_taken(order)
    assert await shop.state(order) == ("cancelled", "available")
    assert await shop.attempts(order) == ["voided"]
    assert (await shop.event_types(order))[-2:] == ["order.cancelled", "payment.voided"]


async def test_without_a_provider_the_order_stays_payable(system: System, impatient: None) -> None:
    await system.start("api")
    async with open_shop(system) as shop:
        order = await shop.order()
        refused = await shop.pay(order, key="first")
        assert (refused.status_code, refused.json()["code"]) == (
            503,
            "payment_provider_unavailable",
        )
        assert int(refused.headers["Retry-After"]) > 0
        assert await shop.state(order) == ("awaiting_payment", "held")
        await system.start("stripe")
        # A client sends the same request again after a 503.
        assert (await shop.pay(order, key="first")).json()["status"] == "captured"
        await shop.assert_paid_once(order)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_provider_that_fails_to_create_an_intent_leaves_the_order_payable(
    shop: Shop, when: str
) -> None:
    order = await shop.order()
    await shop.stripe.faults(match="POST /v1/payment_intents", fail_next=1, fail_when=when)
    assert (await shop.pay(order)).status_code == 503
    assert (await shop.pay(order)).json()["status"] == "captured"
    received = [intent["amount_received"] for intent in await shop.stripe.intents()]
    assert sum(received) == order["total"]
    assert await shop.state(order) == ("completed", "sold")


async def test_a_confirmation_that_failed_is_given_up_and_the_order_payable(
    shop: Shop, impatient: None
) -> None:
    order = await shop.order()
    await shop.stripe.faults(match="/confirm", fail_next=1, fail_when="before")
    unknown = await shop.pay(order)
    assert (unknown.status_code, unknown.json()["status"]) == (201, "started")
    assert (await shop.pay(order)).json()["code"] == "payment_in_progress"
    await reconcile(shop)
    assert await shop.attempts(order) == ["failed"]
    assert (await shop.pay(order)).json()["status"] == "captured"
    await shop.assert_paid_once(order)


async def test_an_attempt_that_never_reached_the_card_has_no_decline_of_an_earlier_attempt(
    shop: Shop, impatient: None
) -> None:
    order = await shop.order()
    assert (await shop.pay(order, "pm_card_chargeDeclined")).json()["code"] == "card_declined"
    await shop.stripe.faults(
        match="/confirm", fail_next=1, fail_when="before", webhooks={"paused": True}
    )
    payment = (await shop.pay(order)).json()
    assert payment["status"] == "started"
    await reconcile(shop)
    found = (await shop.buyer.get(f"/api/payments/{payment['id']}")).json()
    assert (found["status"], found["reason"]) == ("failed", "unavailable")
    assert (await shop.pay(order)).json()["status"] == "captured"
    await shop.assert_paid_once(order)


async def test_a_confirmation_whose_reply_was_lost_is_found_and_captured(
    shop: Shop, impatient: None
) -> None:
    await shop.stripe.faults(
        match="/confirm", fail_next=1, fail_when="after", webhooks={"paused": True}
    )
    order = await shop.order()
    assert (await shop.pay(order)).json()["status"] == "started"
    assert (await shop.stripe.intent(order["id"]))["status"] == "requires_capture"
    await reconcile(shop)
    await shop.assert_paid_once(order)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_capture_without_an_answer_is_finished_by_the_reconciler(
    shop: Shop, impatient: None, when: str
) -> None:
    await shop.stripe.faults(
        match="/capture", fail_next=1, fail_when=when, webhooks={"paused": True}
    )
    order = await shop.order()
    assert (await shop.pay(order)).json()["status"] == "authorised"
    assert await shop.state(order) == ("confirmed", "reserved")
    await reconcile(shop)
    await shop.assert_paid_once(order)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_void_without_an_answer_is_finished_by_the_reconciler(
    shop: Shop, impatient: None, when: str
) -> None:
    await shop.stripe.faults(webhooks={"paused": True})
    order = await shop.order()
    payment = await paying(shop, order, slow="/confirm")
    await shop.buyer.delete(f"/api/orders/{order['id']}")
    await shop.stripe.faults(match="/cancel", latency_ms=0, fail_next=1, fail_when=when)
    assert (await payment).json()["status"] == "authorised"
    await reconcile(shop)
    assert await shop.attempts(order) == ["voided"]
    assert (await shop.stripe.intent(order["id"]))["status"] == "canceled"


async def test_a_challenge_whose_webhooks_were_lost_is_finished_by_the_reconciler(
    shop: Shop, impatient: None
) -> None:
    await shop.stripe.faults(webhooks={"paused": True})
    order = await shop.order()
    await shop.pay(order, "pm_card_authenticationRequired")
    assert await reconcile(shop) == 1
    assert await shop.attempts(order) == ["requires_action"]
    await shop.stripe.authenticate(order["id"])
    await reconcile(shop)
    await shop.assert_paid_once(order)
    assert await reconcile(shop) == 0


async def test_a_challenge_that_outlives_its_order_is_voided_and_its_late_webhooks_touch_no_other(
    shop: Shop, impatient: None
) -> None:
    await shop.stripe.faults(webhooks={"paused": True})
    order = await shop.order()
    await shop.pay(order, "pm_card_authenticationRequired")
    rows = await shop.system.connect()
    await rows.execute("update payments.payments set deadline_at = now() - interval '1 second'")
    await reconcile(shop)
    assert await shop.attempts(order) == ["voided"]
    assert (await shop.stripe.intent(order["id"]))["status"] == "canceled"
    old_events = await shop.stripe.events()
    await shop.pay(order, "pm_card_authenticationRequired")
    async with worker_context(shop.system) as context:
        for event in old_events:
            await shop.deliver(event)
            await workers.payments.handle_webhook(context, event["id"])
    assert await shop.attempts(order) == ["voided", "requires_action"]


@pytest.mark.parametrize("crashes_after", ["authorise", "capture"])
async def test_a_process_that_dies_between_two_steps_is_survived(
    shop: Shop, impatient: None, monkeypatch: pytest.MonkeyPatch, crashes_after: str
) -> None:
    """The uncommitted work is undone; the reconciler continues from the rows and the intent."""
    await shop.stripe.faults(webhooks={"paused": True})
    order = await shop.order()

    async def dies(*_: Any) -> Any:
        raise SystemError("kill -9")

    with monkeypatch.context() as crash:
        if crashes_after == "authorise":
            crash.setattr(queries, "settle", dies)
        else:
            crash.setattr(queries, "finish", dies)
        assert (await shop.pay(order)).status_code == 500
    await reconcile(shop)
    await shop.assert_paid_once(order)


async def test_money_captured_at_stripe_for_an_ended_order_is_refunded(
    shop: Shop, impatient: None
) -> None:
    order = await shop.order()
    payment = await paying(shop, order, slow="/confirm")
    await shop.buyer.delete(f"/api/orders/{order['id']}")
    await shop.stripe.faults(match="/cancel", latency_ms=0, fail_next=1, webhooks={"paused": True})
    await payment
    await shop.stripe.capture(order["id"])
    await reconcile(shop)
    assert (await shop.stripe.intent(order["id"]))["refunded"] == order["total"]
    assert await shop.attempts(order) == ["refunded"]
    assert await shop.order_status(order) == "cancelled"


async def test_a_hanging_provider_delays_no_other_request(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payment_flow, "PAY_SECONDS", 1.0)
    orders = [await shop.order() for _ in range(5)]
    await shop.stripe.faults(match="/confirm", hang=100)
    began = time.monotonic()
    payments = [asyncio.create_task(shop.pay(order)) for order in orders]
    took = []
    # Now each payment waits for the provider.
    await asyncio.sleep(0.2)
    while time.monotonic() < began + 0.8:
        asked = time.monotonic()
        assert (await shop.buyer.get(f"/api/orders/{orders[0]['id']}")).status_code == 200
        assert (await shop.buyer.get("/api/tickets")).status_code == 200
        took.append(time.monotonic() - asked)
    replies = await asyncio.gather(*payments)
    assert {reply.json()["status"] for reply in replies} == {"started"}
    assert time.monotonic() - began < 4
    # The quickest: other tests may delay one. If the payments delayed them, each would last until
    # the payments end, for 0.8 s.
    assert min(took) < 0.7, took


def test_two_calls_to_the_provider_end_before_an_attempt_counts_as_abandoned() -> None:
    """A process must be done with an attempt before another may take it for abandoned."""
    assert payment_flow.PAY_SECONDS < payment_flow.ABANDONED_SECONDS
    assert 4 * provider.CALL_SECONDS < payment_flow.PAY_SECONDS


async def test_a_repeat_of_a_dead_attempts_request_leaves_the_next_attempts_money_alone(
    shop: Shop, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All attempts share the order's intent: its success belongs to the second attempt."""
    order = await shop.order()

    async def dies(*_: Any) -> Any:
        raise SystemError("kill -9")

    with monkeypatch.context() as crash:
        crash.setattr(Provider, "confirm", dies)
        assert (await shop.pay(order, key="first")).status_code == 500
    await reconcile(shop)
    assert await shop.attempts(order) == ["failed"]
    assert (await shop.pay(order, key="second")).status_code == 201
    await shop.rows.execute(
        "update payments.payments set created_at = now() - interval '1 minute' "
        "where idempotency_key = 'first'"
    )
    repeated = await shop.pay(order, key="first")
    assert (repeated.status_code, repeated.json()["reason"]) == (402, "unavailable")
    await shop.assert_paid_once(order)


async def test_a_capture_that_stripe_refuses_releases_the_authorisation_as_well(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = await shop.order()

    async def refuses(*_: Any) -> Any:
        raise Refused("charge_blocked", "not now, not ever")

    monkeypatch.setattr(Provider, "capture", refuses)
    refused = await shop.pay(order)
    assert (refused.status_code, refused.json()["code"]) == (409, "order_expired")
    assert (await shop.stripe.intent(order["id"]))["status"] == "canceled"
    assert await shop.state(order) == ("cancelled", "available")
    await shop.assert_nothing_taken(order)


async def test_a_key_can_be_used_again_after_a_day(shop: Shop) -> None:
    first, second = await shop.order(), await shop.order()
    assert (await shop.pay(first, key="daily")).status_code == 201
    assert (await shop.pay(second, key="daily")).status_code == 422
    await shop.rows.execute("update payments.payments set created_at = now() - interval '25 hours'")
    assert (await shop.pay(second, key="daily")).status_code == 201
    await shop.assert_paid_once(second)


async def test_a_challenged_request_that_is_repeated_gets_its_secret_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = await shop.order()

    async def dies(*_: Any) -> Any:
        raise SystemError("kill -9")

    with monkeypatch.context() as crash:
        crash.setattr(RowKeys, "store", dies)
        assert (
            await shop.pay(order, "pm_card_authenticationRequired", key="3ds")
        ).status_code == 500
    await shop.rows.execute("update payments.payments set created_at = now() - interval '1 minute'")
    repeated = await shop.pay(order, "pm_card_authenticationRequired", key="3ds")
    assert (repeated.status_code, repeated.json()["status"]) == (201, "requires_action")
    assert "_secret_" in repeated.json()["client_secret"]


async def test_payments_that_stay_stalled_delay_no_other(system: System) -> None:
    """More payments than a batch has fail each time; the others still get their turn."""
    rows = await system.connect()
    statuses = ["authorised"] * 4 + ["started"]
    ids = [uuid4() for _ in statuses]
    await rows.executemany(
        """
        insert into payments.payments (
            id, order_id, buyer_id, attempt, status, amount, currency, payment_method, deadline_at,
            reconciled_at
        )
        values ($1, gen_random_uuid(), gen_random_uuid(), 1, $2, 500, 'EUR', 'pm_card_visa', now(),
                now() - interval '1 minute')
        """,
        list(zip(ids, statuses, strict=True)),
    )
    second = timedelta(seconds=1)
    stalled_after = queries.StallTimes(timedelta(0), second, second)
    claimed: list[UUID] = []
    for _ in range(3):
        found = await queries.claim_stalled(rows, stalled_after, 2)
        claimed += [stalled.payment.id for stalled in found]
    assert len(claimed) == 6
    assert set(claimed) == set(ids)


async def test_refunds_that_stay_stalled_delay_no_other(shop: Shop) -> None:
    order = await shop.order()
    assert (await shop.pay(order)).is_success
    rows = await shop.system.connect()
    statuses = ["requested"] * 4 + ["pending"]
    ids = [uuid4() for _ in statuses]
    await rows.executemany(
        """
        insert into payments.refunds (
            id, order_id, payment_id, intent_id, number, requested_by, relist, status, amount,
            currency, stripe_id, reconciled_at
        )
        select $1, p.order_id, p.id, p.intent_id, $3::int, p.buyer_id, false, $2, 100, p.currency,
               're_' || $3::int, now() - interval '1 minute'
        from payments.payments p
        """,
        list(zip(ids, statuses, range(1, 6), strict=True)),
    )
    stalled_after = refund_queries.StallTimes(timedelta(0), timedelta(seconds=1))
    claimed: list[UUID] = []
    for _ in range(3):
        found = await refund_queries.claim_stalled(rows, stalled_after, 2)
        claimed += [refund.id for refund in found]
    assert len(claimed) == 6
    assert set(claimed) == set(ids)
