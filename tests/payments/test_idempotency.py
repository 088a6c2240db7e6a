"""POST /api/payments under an Idempotency-Key: one attempt, one reply."""

import asyncio
from typing import Any

import pytest

from backend.payments.idempotency_queries import RowKeys
from tests import factories
from tests.factories import Json
from tests.payments.shop import Shop, until
from tests.replies import code

CHALLENGED = "pm_card_authenticationRequired"


@pytest.mark.parametrize(
    "method", ["pm_card_visa", "pm_card_chargeDeclined", "pm_card_authenticationRequired"]
)
async def test_a_repeat_gets_the_same_reply_byte_for_byte(shop: Shop, method: str) -> None:
    order = await shop.order()
    first = await shop.pay(order, method, key="once")
    again = await shop.pay(order, method, key="once")
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["content-type"] == first.headers["content-type"]
    assert (first.headers.get("Idempotent-Replayed"), again.headers.get("Idempotent-Replayed")) == (
        None,
        "true",
    )
    assert len(await shop.attempts(order)) == 1


async def test_a_key_with_another_body_is_refused(shop: Shop) -> None:
    order = await shop.order()
    await shop.pay(order, "pm_card_chargeDeclined", key="once")
    other = await shop.pay(order, "pm_card_visa", key="once")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert await shop.attempts(order) == ["failed"]


async def test_a_repeat_while_the_first_is_in_flight_is_a_conflict(shop: Shop) -> None:
    order = await shop.order()
    await shop.stripe.faults(match="/confirm", latency_ms=300)
    first = asyncio.create_task(shop.pay(order, key="once"))
    await until(lambda: shop.attempts(order))
    early = await shop.pay(order, key="once")
    assert (early.status_code, early.json()["code"]) == (409, "idempotency_key_in_flight")
    assert (await first).json()["status"] == "captured"
    assert (await shop.pay(order, key="once")).content == (await first).content


async def test_a_key_is_its_users_own(shop: Shop) -> None:
    order = await shop.order()
    await shop.pay(order, key="once")
    stranger = shop.system.person("stranger")
    assert (await shop.pay(order, by=stranger, key="once")).status_code == 404


async def test_a_refusal_before_any_attempt_is_not_kept(shop: Shop) -> None:
    order = await shop.order()
    await shop.pay(order, "pm_card_authenticationRequired")
    assert (await shop.pay(order, key="later")).json()["code"] == "payment_in_progress"
    await shop.stripe.authenticate(order["id"], "fail")
    await shop.rows.execute("update payments.payments set status = 'failed'")
    assert (await shop.pay(order, key="later")).json()["status"] == "captured"


async def test_a_repeat_after_the_process_died_goes_on_with_the_attempt(shop: Shop) -> None:
    order = await shop.order()
    await shop.stripe.faults(
        match="/confirm", fail_next=1, fail_when="after", webhooks={"paused": True}
    )
    await shop.pay(order, key="once")
    # As a process leaves it that dies before it could answer.
    await shop.rows.execute(
        """
        update payments.payments
        set reply_status = null, reply_body = null, created_at = now() - interval '31 seconds'
        """
    )
    assert (await shop.pay(order, key="once")).json()["status"] == "captured"
    await shop.assert_paid_once(order)


async def unanswered(shop: Shop, order: Json, method: str, crash: pytest.MonkeyPatch) -> None:
    """Pay under the key `once`, kill the process before its reply, and let half a minute pass."""

    async def dies(*_: Any) -> Any:
        raise SystemError("kill -9")

    with crash.context() as crashing:
        crashing.setattr(RowKeys, "store", dies)
        assert (await shop.pay(order, method, key="once")).status_code == 500
    await shop.rows.execute(
        "update payments.payments set created_at = now() - interval '31 seconds'"
    )


async def test_a_conflict_after_an_attempt_is_not_remembered(shop: Shop) -> None:
    order = await shop.order()
    await shop.stripe.faults(match="/confirm", latency_ms=300)
    first = asyncio.create_task(shop.pay(order, key="once"))
    await until(lambda: shop.attempts(order))
    await shop.make_overdue(order)
    await factories.order(shop.system.person("rival"), order["tickets"][0]["id"])
    again = [await first, await shop.pay(order, key="once")]
    assert [code(reply) for reply in again] == [(409, "order_expired")] * 2
    assert [reply.headers.get("Idempotent-Replayed") for reply in again] == [None, None]
    assert await shop.attempts(order) == ["voided"]
    await shop.assert_nothing_taken(order)


async def test_a_repeat_after_a_voided_attempt_pays_an_order_that_still_waits(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = await shop.order()
    await shop.stripe.faults(webhooks={"paused": True})
    await unanswered(shop, order, CHALLENGED, monkeypatch)
    await shop.stripe.cancel(order["id"])
    assert code(await shop.pay(order, CHALLENGED, key="once")) == (409, "order_expired")
    begun = await shop.pay(order, CHALLENGED, key="once")
    assert (begun.status_code, begun.json()["status"]) == (201, "requires_action")
    assert (await shop.pay(order, CHALLENGED, key="once")).content == begun.content
    assert await shop.attempts(order) == ["voided", "requires_action"]


async def test_a_repeat_after_a_voided_attempt_does_not_pay_a_paid_order_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = await shop.order()
    await shop.stripe.faults(webhooks={"paused": True})
    await unanswered(shop, order, CHALLENGED, monkeypatch)
    await shop.stripe.cancel(order["id"])
    assert code(await shop.pay(order, CHALLENGED, key="once")) == (409, "order_expired")
    assert (await shop.pay(order, key="other")).json()["status"] == "captured"
    assert code(await shop.pay(order, CHALLENGED, key="once")) == (409, "order_already_paid")
    assert await shop.attempts(order) == ["voided", "captured"]
    assert (
        sum(intent["amount_received"] for intent in await shop.stripe.intents()) == order["total"]
    )


async def test_a_repeat_does_not_pay_a_refunded_order_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = await shop.order()
    await unanswered(shop, order, "pm_card_visa", monkeypatch)
    assert (await shop.refund(order)).status_code == 200
    again = [await shop.pay(order, key="once") for _ in range(3)]
    assert {reply.status_code for reply in again} == {409}
    assert {reply.headers.get("Idempotent-Replayed") for reply in again} == {None}
    await shop.assert_refunded_once(order)
