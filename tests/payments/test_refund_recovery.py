"""Refunds that Stripe delays, fails, loses or reports twice, and processes that die: the money
returns once or not at all.
"""

import asyncio
import itertools
import random
from datetime import timedelta
from typing import Any

import pytest

import workers.payments
from backend.check import check_invariants
from backend.payments import queries, refund_queries, refunds, webhooks
from backend.payments.provider import Provider, Unreachable
from tests import factories
from tests.factories import Json
from tests.payments.shop import Shop, open_shop, until, worker_context
from tests.replies import code
from tests.system import Person, System


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reconciler takes every refund that stands still, at once."""
    none = timedelta(0)
    monkeypatch.setattr(
        workers.payments, "REFUND_STALLED_AFTER", refund_queries.StallTimes(none, none)
    )


async def reconcile(shop: Shop) -> int:
    async with worker_context(shop.system) as context:
        return await workers.payments.reconcile_payments(context)


async def handle(shop: Shop, context: dict[str, Any], event: Json) -> None:
    assert (await shop.deliver(event)).status_code == 200
    await webhooks.handle(context["payments"], context["payment_flow"], event["id"])


async def dies(*_: Any, **__: Any) -> Any:
    raise SystemError("kill -9")


async def test_a_pending_refund_that_fails_gives_the_order_back(shop: Shop) -> None:
    order = await shop.paid("pm_card_pendingRefund", tickets=2)
    assert (await shop.refund(order, relist=True)).status_code == 202
    await shop.system.start("worker")
    await shop.stripe.settle_refund(order["id"], "fail")
    await shop.until_refund(order, "failed")
    await shop.assert_paid_once(order)
    assert (await shop.event_types(order))[-2:] == ["order.updated", "order.updated"]
    row = await shop.rows.fetchrow("select failure_code, stripe_id from payments.refunds")
    assert row["failure_code"] == "expired_or_canceled_card"
    assert row["stripe_id"].startswith("re_")


async def test_a_failed_refund_may_be_requested_again_and_is_a_new_one_at_stripe(
    shop: Shop,
) -> None:
    await shop.stripe.faults(webhooks={"paused": True})
    order = await shop.paid("pm_card_pendingRefund")
    async with worker_context(shop.system) as context:
        await shop.refund(order)
        await shop.stripe.settle_refund(order["id"], "fail")
        old = await shop.stripe.events()
        for event in old:
            await handle(shop, context, event)
        assert (await shop.refund(order, relist=True)).status_code == 202
        # A late event of the first refund does not affect the second.
        await shop.rows.execute("update payments.webhook_events set handled_at = null")
        for event in old:
            await handle(shop, context, event)
        assert await shop.refunds(order) == ["failed", "pending"]
        await shop.stripe.settle_refund(order["id"], "succeed")
        for event in await shop.stripe.events():
            await handle(shop, context, event)
    assert await shop.refunds(order) == ["failed", "succeeded"]
    assert await shop.state(order) == ("refunded", "available")
    assert [each["status"] for each in await shop.stripe.refunds(order["id"])] == [
        "succeeded",
        "failed",
    ]
    assert (await shop.stripe.intent(order["id"]))["refunded"] == order["total"]


@pytest.mark.parametrize("outcome", ["succeed", "fail"])
@pytest.mark.parametrize("seed", range(3))
async def test_webhooks_in_any_order_and_number_end_in_the_same_state(
    shop: Shop, seed: int, outcome: str
) -> None:
    await shop.stripe.faults(webhooks={"paused": True})
    order = await shop.paid("pm_card_pendingRefund")
    await shop.refund(order)
    await shop.stripe.settle_refund(order["id"], outcome)
    events = 2 * await shop.stripe.events()
    random.Random(seed).shuffle(events)
    async with worker_context(shop.system) as context:
        for event in events:
            await handle(shop, context, event)
    if outcome == "succeed":
        await shop.assert_refunded_once(order)
    else:
        await shop.assert_paid_once(order)
        assert await shop.refunds(order) == ["failed"]


async def test_every_order_of_a_refunds_own_webhooks_ends_in_the_same_state(shop: Shop) -> None:
    """Each permutation has its own order; half of the events arrive before the bank settles."""
    await shop.stripe.faults(webhooks={"paused": True})
    async with worker_context(shop.system) as context:
        for turn in itertools.permutations(range(4)):
            order = await shop.paid("pm_card_pendingRefund")
            seen = {event["id"] for event in await shop.stripe.events()}
            await shop.refund(order)
            early = [event for event in await shop.stripe.events() if event["id"] not in seen]
            await shop.stripe.settle_refund(order["id"], "succeed")
            events = [event for event in await shop.stripe.events() if event["id"] not in seen]
            assert (len(early), len(events)) == (2, 4)
            for place in turn:
                await handle(shop, context, events[place])
            await shop.assert_refunded_once(order)


async def test_webhooks_handled_at_the_same_time_refund_once(shop: Shop) -> None:
    await shop.stripe.faults(webhooks={"paused": True})
    order = await shop.paid("pm_card_pendingRefund", tickets=3)
    await shop.refund(order, relist=True)
    await shop.stripe.settle_refund(order["id"], "succeed")
    async with worker_context(shop.system) as context:
        await asyncio.gather(
            *(handle(shop, context, event) for event in await shop.stripe.events())
        )
    await shop.assert_refunded_once(order, ticket="available")


async def test_a_webhook_that_is_earlier_than_the_requests_own_reply_finishes_the_refund(
    shop: Shop,
) -> None:
    await shop.system.start("worker")
    order = await shop.paid()
    # The refund takes effect and its webhook arrives; the reply never comes.
    await shop.stripe.faults(match="POST /v1/refunds", fail_next=1, fail_when="after")
    await shop.refund(order)
    await shop.until_refund(order, "succeeded")
    await shop.assert_refunded_once(order)


async def test_shuffled_duplicated_deliveries_refund_once(shop: Shop) -> None:
    await shop.system.start("worker")
    await shop.stripe.faults(webhooks={"shuffle": True, "duplicate": True})
    order = await shop.paid("pm_card_pendingRefund")
    await shop.refund(order)
    await shop.stripe.settle_refund(order["id"], "succeed")
    await shop.until_refund(order, "succeeded")
    await shop.assert_refunded_once(order)


@pytest.mark.parametrize("relist", [False, True])
@pytest.mark.parametrize(
    "crash",
    [
        "before it looked at Stripe",
        "before it asked Stripe",
        "before it recorded the refund",
        "before it marked the refund",
        "before it marked the payment",
        "before it answered",
    ],
)
async def test_a_process_that_dies_between_two_steps_is_survived(
    shop: Shop, impatient: None, monkeypatch: pytest.MonkeyPatch, crash: str, relist: bool
) -> None:
    """The uncommitted work is undone; the reconciler continues from the rows and from Stripe."""
    await shop.stripe.faults(webhooks={"paused": True})
    order = await shop.paid(tickets=2)
    target: Any
    target, name = {
        "before it looked at Stripe": (Provider, "refunds_of"),
        "before it asked Stripe": (Provider, "request_refund"),
        "before it recorded the refund": (refund_queries, "finish"),
        "before it marked the refund": (refund_queries, "advance"),
        "before it marked the payment": (queries, "advance"),
        "before it answered": (refund_queries, "order"),
    }[crash]
    with monkeypatch.context() as crashing:
        crashing.setattr(target, name, dies)
        assert (await shop.refund(order, relist=relist, key="once")).status_code == 500
    if crash != "before it answered":
        assert await shop.state(order) == ("refund_pending", "sold")
    await reconcile(shop)
    await shop.assert_refunded_once(order, ticket="available" if relist else "withdrawn")
    assert await reconcile(shop) == 0
    # A repeat by the client gets the reply that was lost.
    await shop.rows.execute(
        "update payments.refunds set created_at = now() - interval '31 seconds'"
    )
    again = await shop.refund(order, relist=relist, key="once")
    assert (again.status_code, again.json()["status"]) == (200, "refunded")
    assert (await shop.refund(order, relist=relist, key="once")).content == again.content
    await shop.assert_refunded_once(order, ticket="available" if relist else "withdrawn")


async def test_a_process_that_dies_before_its_first_commit_has_done_nothing(
    shop: Shop, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = await shop.paid()
    with monkeypatch.context() as crashing:
        crashing.setattr(refund_queries, "insert", dies)
        assert (await shop.refund(order)).status_code == 500
    assert await reconcile(shop) == 0
    await shop.assert_paid_once(order)
    assert await shop.refunds(order) == []


async def test_the_reconciler_finds_a_failure_whose_process_died(
    shop: Shop, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.stripe.faults(webhooks={"paused": True})
    order = await shop.paid("pm_card_pendingRefund")
    await shop.refund(order)
    await shop.stripe.settle_refund(order["id"], "fail")
    for name in ("fail", "advance"):
        with monkeypatch.context() as crashing:
            crashing.setattr(refund_queries, name, dies)
            await reconcile(shop)
        assert await shop.state(order) == ("refund_pending", "sold")
    await reconcile(shop)
    await shop.assert_paid_once(order)
    assert await shop.refunds(order) == ["failed"]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_refund_succeeds_although_stripe_repeats_its_500_for_a_day(
    shop: Shop, impatient: None, when: str
) -> None:
    await shop.stripe.faults(
        match="POST /v1/refunds", fail_next=1, fail_when=when, webhooks={"paused": True}
    )
    order = await shop.paid()
    waiting = await shop.refund(order)
    assert (waiting.status_code, waiting.json()["status"]) == (202, "refund_pending")
    assert waiting.json()["refund"]["status"] == "requested"
    await reconcile(shop)
    await shop.assert_refunded_once(order)


async def test_without_stripe_the_refund_waits_and_its_ticket_stays_sold(
    system: System, impatient: None
) -> None:
    await system.start("api")
    async with open_shop(system) as shop:
        async with system.part("stripe"):
            order = await shop.paid()
        waiting = await shop.refund(order, key="once")
        assert (waiting.status_code, waiting.json()["refund"]["status"]) == (202, "requested")
        await reconcile(shop)
        assert await shop.state(order) == ("refund_pending", "sold")
        await system.start("stripe")
        await reconcile(shop)
        await shop.assert_refunded_once(order)
        # The reply under the key is the one that was given.
        assert (await shop.refund(order, key="once")).content == waiting.content


async def test_a_hanging_stripe_holds_a_request_for_a_bounded_time(
    shop: Shop, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refunds, "REFUND_SECONDS", 0.5)
    order = await shop.paid()
    await shop.stripe.faults(match="POST /v1/refunds", hang=100, webhooks={"paused": True})
    async with asyncio.timeout(8):
        assert (await shop.refund(order)).status_code == 202
    await shop.stripe.faults(hang=0)
    await reconcile(shop)
    await shop.assert_refunded_once(order)


async def test_reconcilers_and_the_request_at_once_ask_for_one_refund(
    shop: Shop, impatient: None
) -> None:
    await shop.stripe.faults(match="POST /v1/refunds", latency_ms=300, webhooks={"paused": True})
    order = await shop.paid()
    asked = asyncio.create_task(shop.refund(order))
    await until(lambda: shop.refunds(order))
    await asyncio.gather(*(reconcile(shop) for _ in range(4)))
    assert (await asked).status_code == 200
    await shop.until_refund(order, "succeeded")
    await shop.assert_refunded_once(order)


async def test_a_refund_is_requested_once_even_after_stripes_key_expired(
    shop: Shop, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stripe's key expires after a day; the refund is found by our id in its metadata."""
    await shop.stripe.faults(webhooks={"paused": True})
    order = await shop.paid()
    with monkeypatch.context() as crashing:
        crashing.setattr(refund_queries, "finish", dies)
        await shop.refund(order)
    made = await shop.stripe.refunds(order["id"])
    with monkeypatch.context() as forgetting:
        forgetting.setattr(Provider, "request_refund", dies)
        await reconcile(shop)
    assert await shop.stripe.refunds(order["id"]) == made
    await shop.assert_refunded_once(order)


async def test_money_that_went_back_by_hand_at_stripe_is_the_orders_refund(shop: Shop) -> None:
    await shop.stripe.faults(webhooks={"paused": True})
    order = await shop.paid()
    await shop.stripe.refund_by_hand(order["id"])
    assert (await shop.refund(order)).status_code == 200
    await shop.assert_refunded_once(order)


@pytest.mark.parametrize("parts", [1, 2])
async def test_an_order_is_refunded_after_an_operator_refunded_it_at_stripe(
    shop: Shop, parts: int
) -> None:
    await shop.stripe.faults(webhooks={"paused": True})
    order = await shop.paid()
    amounts = [None] if parts == 1 else [100, order["total"] - 100]
    async with worker_context(shop.system) as context:
        for amount in amounts:
            await assert_not_refunded(shop, order)
            await shop.stripe.refund_by_hand(order["id"], amount)
            for event in 2 * await shop.stripe.events():
                await handle(shop, context, event)
    assert (await shop.stripe.intent(order["id"]))["refunded"] == order["total"]
    assert len(await shop.stripe.refunds(order["id"])) == parts
    assert await shop.state(order) == ("refunded", "withdrawn")
    assert await shop.refunds(order) == ["succeeded"]
    assert (await shop.event_types(order)).count("payment.refunded") == 1


async def assert_not_refunded(shop: Shop, order: Json) -> None:
    assert await shop.state(order) == ("completed", "sold")
    assert await shop.refunds(order) == []


async def test_a_partial_refund_at_stripe_makes_the_whole_impossible(shop: Shop) -> None:
    await shop.stripe.faults(webhooks={"paused": True})
    order = await shop.paid()
    await shop.stripe.refund_by_hand(order["id"], 100)
    assert code(await shop.refund(order)) == (409, "refund_refused")
    assert await shop.state(order) == ("completed", "sold")
    assert (await shop.stripe.intent(order["id"]))["refunded"] == 100


async def test_a_refund_that_fails_after_it_succeeded_is_owed_and_can_be_requested_again(
    shop: Shop,
) -> None:
    """The ticket is the next buyer's by then: the order stays refunded, and its buyer is owed."""
    await shop.stripe.faults(webhooks={"paused": True})
    order = await shop.paid("pm_card_refundFail")
    assert (await shop.refund(order, relist=True)).status_code == 200
    rival = shop.system.person("rival")
    taken = await factories.order(rival, order["tickets"][0]["id"])
    await shop.stripe.settle_refund(order["id"], "fail")
    async with worker_context(shop.system) as context:
        for event in 2 * await shop.stripe.events():
            await handle(shop, context, event)
    assert await shop.refunds(order) == ["failed"]
    assert await shop.state(order) == ("refunded", "held")
    assert await shop.order_status(order) == "refunded"
    assert (await shop.pay(taken, by=rival)).json()["status"] == "captured"
    again = await asyncio.gather(*(shop.refund(order) for _ in range(5)))
    assert sorted(reply.status_code for reply in again) == [200] + 4 * [409]
    assert await shop.refunds(order) == ["failed", "succeeded"]
    assert (await shop.stripe.intent(order["id"]))["refunded"] == order["total"]
    assert await shop.ticket_status(taken) == "sold"
    assert code(await shop.refund(order)) == (409, "already_refunded")


@pytest.mark.parametrize("step", ["settle", "finish"])
async def test_a_stale_payments_job_does_not_undo_a_refund(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A job reads the payment as authorised and continues after the order was refunded."""
    await shop.stripe.faults(
        match="/capture", fail_next=1, fail_when="after", webhooks={"paused": True}
    )
    order = await shop.order()
    await shop.pay(order)
    asleep, woken, real = asyncio.Event(), asyncio.Event(), getattr(queries, step)

    async def sleeps(*arguments: Any) -> Any:
        asleep.set()
        await woken.wait()
        return await real(*arguments)

    async with worker_context(shop.system) as context:
        payment_flow = context["payment_flow"]
        intent = await shop.stripe.intent(order["id"])
        with monkeypatch.context() as slow:
            slow.setattr(queries, step, sleeps)
            # A connection of its own: the job holds a transaction open, as a stopped process does.
            job = asyncio.create_task(payment_flow.resume_intent(intent["id"]))
            await asleep.wait()
        await payment_flow.resume_intent(intent["id"])
        await shop.assert_paid_once(order)
        assert (await shop.refund(order)).status_code == 200
        woken.set()
        await job
    await shop.assert_refunded_once(order)


async def test_a_refund_without_a_reply_does_not_count_as_refused(
    shop: Shop, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.stripe.faults(webhooks={"paused": True})
    order = await shop.paid("pm_card_pendingRefund")
    await shop.refund(order)

    async def lost(*_: Any) -> Any:
        raise Unreachable("APIConnectionError")

    with monkeypatch.context() as away:
        away.setattr(Provider, "retrieve_refund", lost)
        await reconcile(shop)
    assert await shop.refunds(order) == ["pending"]
    assert await shop.state(order) == ("refund_pending", "sold")


@pytest.mark.parametrize("broken", ["finish", "fail"])
async def test_the_event_of_a_refund_is_published_if_and_only_if_it_is_recorded(
    shop: Shop, impatient: None, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    await shop.stripe.faults(webhooks={"paused": True})
    order = await shop.paid("pm_card_pendingRefund")
    await shop.refund(order)
    await shop.stripe.settle_refund(order["id"], "succeed" if broken == "finish" else "fail")
    before = await shop.event_types(order)
    with monkeypatch.context() as crashing:
        crashing.setattr(refund_queries, "advance", dies)
        await reconcile(shop)
    assert await shop.event_types(order) == before
    await reconcile(shop)
    added = (await shop.event_types(order))[len(before) :]
    assert added == (
        ["order.refunded", "payment.refunded"] if broken == "finish" else ["order.updated"]
    )


async def test_sales_refunds_and_failing_banks_at_once_keep_money_and_tickets_together(
    shop: Shop,
) -> None:
    """Buy and refund tickets repeatedly; each amount at Stripe belongs to one order."""
    await shop.system.start("worker")
    await shop.stripe.faults(webhooks={"shuffle": True, "duplicate": True})
    ids = [(await factories.ticket(shop.seller))["id"] for _ in range(8)]
    chance = random.Random(7)

    async def buyer(number: int) -> None:
        person = shop.system.person(f"buyer-{number}")
        for _ in range(5):
            placed = await person.post("/api/orders", {"ticket_ids": chance.sample(ids, 2)})
            if placed.status_code == 201:
                await pay_and_refund(shop, placed.json(), person, chance)

    await asyncio.gather(*(buyer(number) for number in range(4)))
    refunded = await shop.rows.fetch("select status from payments.refunds")
    assert {row["status"] for row in refunded} <= {"succeeded", "failed"}
    assert len(refunded) >= 2
    kept = await shop.rows.fetchval(
        "select coalesce(sum(total), 0)::bigint from orders.orders where status = 'completed'"
    )
    lines = await shop.stripe.intents()
    assert sum(line["amount_received"] - line["refunded"] for line in lines) == kept
    # No relay runs here, and these stores are quick rather than lasting: all the rest must hold.
    results = (await check_invariants(shop.system.settings)).results
    broken = {result.invariant: result.violations for result in results if result.violations}
    assert broken.keys() <= {"I5", "I7", "I9"}, broken


async def pay_and_refund(shop: Shop, order: Json, buyer: Person, chance: random.Random) -> None:
    """Two refunds at the same time succeed on a good card; a slow bank may refuse them."""
    card = chance.choice(["pm_card_visa", "pm_card_pendingRefund", "pm_card_chargeDeclined"])
    if (await shop.pay(order, card, by=buyer)).status_code == 402:
        await buyer.delete(f"/api/orders/{order['id']}")
        return
    replies = await asyncio.gather(*(shop.refund(order, relist=True) for _ in range(2)))
    assert sorted(reply.status_code for reply in replies) in ([200, 409], [202, 409])
    if card == "pm_card_pendingRefund":
        await shop.stripe.settle_refund(order["id"], chance.choice(["succeed", "succeed", "fail"]))
        await until(lambda: ended(buyer, order), seconds=20)


async def ended(buyer: Person, order: Json) -> bool:
    status: str = (await buyer.get(f"/api/orders/{order['id']}")).json()["status"]
    return status != "refund_pending"
