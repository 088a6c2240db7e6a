"""Refunding a whole order: permissions, money, order and tickets, and the published events."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests import factories
from tests.factories import Json
from tests.payments.shop import Shop, open_shop, until
from tests.replies import code
from tests.system import System

ALREADY = (409, "already_refunded")
UNDER_WAY = (409, "refund_in_progress")
NO_ORDER = (404, "order_not_found")


async def rows(shop: Shop) -> list[Any]:
    """Everything that a refused refund must leave alone."""
    return [
        *await shop.rows.fetch("select id, status, version from tickets.tickets order by id"),
        *await shop.rows.fetch("select id, status, version from orders.orders order by id"),
        *await shop.rows.fetch("select id, status, version from payments.payments order by id"),
        *await shop.rows.fetch("select id, status, version from payments.refunds order by id"),
        *await shop.rows.fetch("select id from events.outbox order by id"),
    ]


async def change_window(shop: Shop, order: Json, seconds: int) -> None:
    """Let the order have been paid this long ago."""
    await shop.rows.execute(
        "update payments.payments set captured_at = now() - make_interval(secs => $2) "
        "where order_id = $1",
        UUID(order["id"]),
        seconds,
    )


async def test_a_seller_refunds_an_order_and_keeps_its_tickets(shop: Shop) -> None:
    order = await shop.paid(tickets=2)
    refunded = await shop.refund(order)
    assert refunded.status_code == 200
    body = refunded.json()
    assert (body["id"], body["status"], body["total"]) == (order["id"], "refunded", order["total"])
    assert body["version"] == await shop.rows.fetchval("select version from orders.orders")
    refund = body["refund"]
    assert (refund["status"], refund["amount"], refund["currency"], refund["relist"]) == (
        "succeeded",
        order["total"],
        "EUR",
        False,
    )
    await shop.assert_refunded_once(order)
    assert (await shop.event_types(order))[-3:] == [
        "order.updated",
        "order.refunded",
        "payment.refunded",
    ]
    assert (await shop.buyer.get("/api/tickets")).json()["items"] == []


async def test_a_relisted_ticket_is_free_at_its_price_under_its_old_seller_and_can_be_sold_again(
    shop: Shop,
) -> None:
    order = await shop.paid(tickets=2, price=7700)
    assert (await shop.refund(order, relist=True)).json()["refund"]["relist"] is True
    await shop.assert_refunded_once(order, ticket="available")
    for line in order["tickets"]:
        ticket = (await shop.buyer.get(f"/api/tickets/{line['id']}")).json()
        assert (ticket["price"], ticket["seller_id"]) == (7700, str(shop.seller.id))
    rival = shop.system.person("rival")
    again = await factories.order(rival, *(line["id"] for line in order["tickets"]))
    assert (await shop.pay(again, by=rival)).json()["status"] == "captured"
    assert (await shop.stripe.intent(again["id"]))["amount_received"] == again["total"]
    assert await shop.order_status(order) == "refunded"


async def test_a_reply_to_the_seller_does_not_contain_the_buyer(shop: Shop) -> None:
    order = await shop.paid()
    refunded = await shop.refund(order)
    assert str(shop.buyer.id) not in refunded.text
    assert {ticket["id"] for ticket in refunded.json()["tickets"]} == {order["tickets"][0]["id"]}


async def test_the_buyer_reads_that_the_refund_is_under_way_and_then_done(shop: Shop) -> None:
    order = await shop.paid("pm_card_pendingRefund")
    assert (await shop.refund(order)).status_code == 202
    assert await shop.state(order) == ("refund_pending", "sold")
    await shop.system.start("worker")
    await shop.stripe.settle_refund(order["id"], "succeed")
    await shop.until_refund(order, "succeeded")
    await shop.assert_refunded_once(order)


async def test_another_users_order_and_a_missing_one_get_the_same_reply(shop: Shop) -> None:
    order = await shop.paid()
    stranger = shop.system.person("stranger")
    before = await rows(shop)
    refused = [
        await shop.refund(order, by=stranger),
        await shop.refund(order, by=stranger, relist=True),
        await shop.refund({"id": str(uuid4())}, by=stranger),
        await shop.refund({"id": str(uuid4())}),
        await shop.refund({"id": "nothing"}),
    ]
    assert {code(reply) for reply in refused} == {NO_ORDER}
    assert len({reply.content for reply in refused}) == 1
    assert await rows(shop) == before
    assert await shop.stripe.refunds(order["id"]) == []


async def test_refunding_requires_a_session(shop: Shop) -> None:
    order = await shop.paid()
    reply = await shop.system.anonymous().post(f"/api/orders/{order['id']}/refund", json={})
    assert reply.status_code == 401


async def test_a_buyer_has_no_right_to_a_refund_unless_the_house_gives_one(shop: Shop) -> None:
    order = await shop.paid()
    before = await rows(shop)
    assert code(await shop.refund(order, by=shop.buyer)) == (403, "refund_not_allowed")
    assert code(await shop.refund(order, by=shop.buyer, relist=True)) == (403, "relist_not_allowed")
    assert await rows(shop) == before


async def test_a_buyer_may_refund_within_the_window_and_not_relist(system: System) -> None:
    system.configure(REFUND_WINDOW_SECONDS="3600")
    await system.start("stripe", "api")
    async with open_shop(system) as shop:
        early, late = await shop.paid(), await shop.paid()
        await change_window(shop, early, 3500)
        await change_window(shop, late, 3700)
        assert code(await shop.refund(late, by=shop.buyer)) == (403, "refund_not_allowed")
        assert code(await shop.refund(early, by=shop.buyer, relist=True)) == (
            403,
            "relist_not_allowed",
        )
        assert (await shop.refund(early, by=shop.buyer)).status_code == 200
        await shop.assert_refunded_once(early)
        await shop.assert_paid_once(late)


async def test_only_a_completed_order_is_refunded(shop: Shop) -> None:
    pending, cancelled = await shop.order(), await shop.order()
    await shop.buyer.delete(f"/api/orders/{cancelled['id']}")
    before = await rows(shop)
    for order, status in ((pending, "pending"), (cancelled, "cancelled")):
        for person in (shop.seller, shop.buyer):
            refused = await shop.refund(order, by=person)
            assert code(refused) == (409, "order_not_refundable")
            assert refused.json()["order_status"] == status
    assert await rows(shop) == before


async def test_a_confirmed_order_is_not_refundable_before_its_capture(shop: Shop) -> None:
    await shop.stripe.faults(match="/capture", fail_next=1, webhooks={"paused": True})
    order = await shop.order()
    await shop.pay(order)
    assert await shop.order_status(order) == "confirmed"
    assert code(await shop.refund(order)) == (409, "order_not_refundable")


async def test_a_refunded_order_is_not_refunded_again(shop: Shop) -> None:
    order = await shop.paid()
    await shop.refund(order)
    before = await rows(shop)
    for relist in (False, True):
        assert code(await shop.refund(order, relist=relist)) == ALREADY
    assert code(await shop.refund(order, by=shop.buyer)) == ALREADY
    assert await rows(shop) == before
    await shop.assert_refunded_once(order)


async def test_a_refunded_order_cannot_be_paid_or_cancelled(shop: Shop) -> None:
    order = await shop.paid()
    await shop.refund(order)
    assert code(await shop.pay(order)) == (409, "order_already_paid")
    assert code(await shop.buyer.delete(f"/api/orders/{order['id']}")) == (
        409,
        "order_not_cancellable",
    )
    await shop.assert_refunded_once(order)


async def test_a_refund_under_way_refuses_another(shop: Shop) -> None:
    order = await shop.paid("pm_card_pendingRefund")
    assert (await shop.refund(order)).json()["refund"]["status"] == "pending"
    assert code(await shop.refund(order)) == UNDER_WAY
    assert code(await shop.refund(order, relist=True)) == UNDER_WAY
    assert len(await shop.stripe.refunds(order["id"])) == 1


@pytest.mark.parametrize("relist", [False, True])
async def test_of_twenty_parallel_refunds_one_is_made(shop: Shop, relist: bool) -> None:
    order = await shop.paid(tickets=2)
    replies = await asyncio.gather(*(shop.refund(order, relist=relist) for _ in range(20)))
    assert sorted(reply.status_code for reply in replies) == [200] + 19 * [409]
    assert {code(reply) for reply in replies if reply.status_code == 409} <= {ALREADY, UNDER_WAY}
    await shop.assert_refunded_once(order, ticket="available" if relist else "withdrawn")


async def test_the_seller_and_the_buyer_at_once_make_one_refund(system: System) -> None:
    system.configure(REFUND_WINDOW_SECONDS="3600")
    await system.start("stripe", "api")
    async with open_shop(system) as shop:
        order = await shop.paid()
        replies = await asyncio.gather(
            *(shop.refund(order, by=by) for by in 5 * [shop.seller, shop.buyer])
        )
        assert sorted(reply.status_code for reply in replies) == [200] + 9 * [409]
        await shop.assert_refunded_once(order)


async def test_a_disputed_charge_is_not_refunded_and_the_order_stays_completed(shop: Shop) -> None:
    order = await shop.paid("pm_card_createDispute")
    refused = await shop.refund(order, key="once")
    assert (code(refused), refused.json()["stripe_code"]) == (
        (409, "refund_refused"),
        "charge_disputed",
    )
    assert await shop.refunds(order) == ["failed"]
    assert await shop.stripe.refunds(order["id"]) == []
    await shop.assert_paid_once(order)
    assert (await shop.event_types(order))[-2:] == ["order.updated", "order.updated"]
    # A refusal is not stored under the key: its cause may pass.
    assert code(await shop.refund(order, key="once")) == (409, "refund_refused")
    assert await shop.refunds(order) == ["failed", "failed"]


async def test_a_repeat_gets_the_same_reply_byte_for_byte(shop: Shop) -> None:
    order = await shop.paid()
    first = await shop.refund(order, key="once")
    again = await shop.refund(order, key="once")
    assert (
        (again.status_code, again.content)
        == (first.status_code, first.content)
        == (200, first.content)
    )
    assert again.headers["content-type"] == first.headers["content-type"] == "application/json"
    replayed = [reply.headers.get("Idempotent-Replayed") for reply in (first, again)]
    assert replayed == [None, "true"]
    await shop.assert_refunded_once(order)


async def test_a_key_with_another_body_order_or_route_is_refused(shop: Shop) -> None:
    order, other = await shop.paid(), await shop.paid()
    await shop.refund(order, key="once")
    reused = (422, "idempotency_key_reused")
    assert code(await shop.refund(order, relist=True, key="once")) == reused
    assert code(await shop.refund(other, key="once")) == reused
    assert code(await shop.pay(other, by=shop.seller, key="once")) == reused
    third = await shop.order()
    await shop.pay(third, key="paid")
    assert code(await shop.refund(third, by=shop.buyer, key="paid")) == reused
    await shop.assert_paid_once(other)


async def test_a_key_is_its_users_own(shop: Shop) -> None:
    order = await shop.paid()
    await shop.refund(order, key="once")
    assert code(await shop.refund(order, by=shop.system.person("stranger"), key="once")) == NO_ORDER
    assert code(await shop.refund(order, by=shop.buyer, key="once")) == ALREADY


async def test_a_refusal_before_any_refund_is_not_kept(shop: Shop) -> None:
    order = await shop.order()
    assert code(await shop.refund(order, key="later")) == (409, "order_not_refundable")
    await shop.pay(order)
    assert (await shop.refund(order, key="later")).status_code == 200


async def test_a_repeat_while_the_first_is_in_flight_is_a_conflict(shop: Shop) -> None:
    order = await shop.paid()
    await shop.stripe.faults(match="POST /v1/refunds", latency_ms=600)
    first = asyncio.create_task(shop.refund(order, key="once"))
    await until(lambda: shop.refunds(order))
    early = await shop.refund(order, key="once")
    assert code(early) == (409, "idempotency_key_in_flight")
    assert int(early.headers["Retry-After"]) > 0
    assert (await first).status_code == 200
    assert (await shop.refund(order, key="once")).content == (await first).content


async def test_the_same_key_many_times_at_once_is_one_refund(shop: Shop) -> None:
    order = await shop.paid()
    replies = await asyncio.gather(*(shop.refund(order, key="once") for _ in range(10)))
    refusals = {code(reply) for reply in replies if reply.status_code != 200}
    assert refusals <= {(409, "idempotency_key_in_flight")}
    assert len({reply.content for reply in replies if reply.status_code == 200}) == 1
    await shop.assert_refunded_once(order)


async def test_a_key_can_be_used_again_after_a_day(shop: Shop) -> None:
    first, second = await shop.paid(), await shop.paid()
    assert (await shop.refund(first, key="daily")).status_code == 200
    assert (await shop.refund(second, key="daily")).status_code == 422
    await shop.rows.execute("update payments.refunds set created_at = now() - interval '25 hours'")
    assert (await shop.refund(second, key="daily")).status_code == 200
    await shop.assert_refunded_once(second)


async def test_the_events_of_a_refund_name_the_tickets_order(shop: Shop) -> None:
    order = await shop.paid()
    await shop.refund(order)
    event = await shop.rows.fetchrow(
        "select data from events.outbox where type = 'ticket.withdrawn' order by id desc limit 1"
    )
    data = event["data"]
    assert (data["status"], data["order_id"]) == ("withdrawn", None)
    assert (data["previous_order_id"], data["refunded"]) == (order["id"], True)
    versions = await shop.rows.fetch(
        "select array_agg(version order by id) as versions from events.outbox "
        "where type not like 'show.%' group by subject"
    )
    assert all(row["versions"] == list(range(1, len(row["versions"]) + 1)) for row in versions)


async def test_availability_counts_the_tickets_of_a_refund(shop: Shop) -> None:
    kept, relisted = await shop.paid(), await shop.paid()
    await shop.refund(kept)
    await shop.refund(relisted, relist=True)
    counts = []
    for order in (kept, relisted):
        show = (await shop.buyer.get(f"/api/shows/{order['tickets'][0]['show_id']}")).json()
        counts.append((show["available"], show["held"], show["sold"]))
    assert counts == [(0, 0, 0), (1, 0, 0)]
