"""Refunding some lines of an order: permissions, amounts, order and tickets, races and crashes."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

import workers.payments
from backend.payments import queries, refund_queries
from backend.payments.provider import Provider
from tests import factories
from tests.factories import Json
from tests.payments.shop import Shop, open_shop, worker_context
from tests.payments.test_refund_recovery import dies, handle, reconcile
from tests.replies import code
from tests.system import Person, System

ALREADY = (409, "already_refunded")
UNDER_WAY = (409, "refund_in_progress")
NO_LINE = (404, "order_line_not_found")

# `orders.choose_lines` without its guard: it takes the chosen lines in any status.
UNGUARDED_CHOICE = """
    create or replace function orders.choose_lines(
        p_order uuid, p_seller uuid, p_lines uuid[],
        out outcome text, out lines uuid[], out amount bigint, out is_owed boolean
    )
    language sql stable
    as $$
        select null, array_agg(l.ticket_id), sum(l.price + l.fee), false from orders.lines l
        where l.order_id = p_order and l.ticket_id = any (p_lines)
    $$;
    drop index payments.refund_lines_one_live
"""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reconciler takes every refund that stands still, at once."""
    none = timedelta(0)
    monkeypatch.setattr(
        workers.payments, "REFUND_STALLED_AFTER", refund_queries.StallTimes(none, none)
    )


async def mixed(shop: Shop, other: Person) -> tuple[Json, str, str]:
    """A paid order with a ticket of each seller: the shop's, and the other's."""
    mine, theirs = await factories.ticket(shop.seller), await factories.ticket(other, price=3333)
    order = await factories.order(shop.buyer, mine["id"], theirs["id"])
    assert (await shop.pay(order)).json()["status"] == "captured"
    return order, mine["id"], theirs["id"]


async def read(shop: Shop, order: Json) -> Json:
    found: Json = (await shop.buyer.get(f"/api/orders/{order['id']}")).json()
    return found


async def lines(shop: Shop, order: Json) -> dict[str, str]:
    return {line["id"]: line["status"] for line in (await read(shop, order))["tickets"]}


async def ticket_statuses(shop: Shop, order: Json) -> dict[str, str]:
    return {
        line["id"]: (await shop.buyer.get(f"/api/tickets/{line['id']}")).json()["status"]
        for line in order["tickets"]
    }


async def returned(shop: Shop, order: Json) -> int:
    """The amount that Stripe has returned, or will."""
    intent = await shop.stripe.intent(order["id"])
    amount: int = intent["refunded"] + intent["refund_pending"]
    return amount


async def test_each_seller_of_a_cart_refunds_its_own_tickets(shop: Shop) -> None:
    other = shop.system.person("other")
    order, mine, theirs = await mixed(shop, other)
    costs = {line["id"]: line["price"] + line["fee"] for line in order["tickets"]}
    first = await shop.refund(order)
    assert first.status_code == 200
    body = first.json()
    assert (body["status"], body["refund"]["lines"], body["refund"]["amount"]) == (
        "completed",
        [mine],
        costs[mine],
    )
    # The reply has nothing of the other seller.
    assert [line["id"] for line in body["tickets"]] == [mine]
    assert (body["total"], body["refunded"]) == (costs[mine], costs[mine])
    assert theirs not in first.text
    assert await lines(shop, order) == {mine: "refunded", theirs: "sold"}
    assert await ticket_statuses(shop, order) == {mine: "withdrawn", theirs: "sold"}
    assert (await read(shop, order))["refunded"] == costs[mine]
    assert await shop.attempts(order) == ["captured"]
    assert code(await shop.refund(order)) == ALREADY
    assert (await shop.refund(order, by=other)).json()["status"] == "refunded"
    assert await shop.order_status(order) == "refunded"
    assert await shop.attempts(order) == ["refunded"]
    assert await returned(shop, order) == order["total"]
    types = await shop.event_types(order)
    assert (types.count("order.refunded"), types.count("payment.refunded")) == (1, 1)


async def test_a_buyer_refunds_one_ticket_after_the_other(system: System) -> None:
    system.configure(REFUND_WINDOW_SECONDS="3600")
    await system.start("stripe", "api")
    async with open_shop(system) as shop:
        order = await shop.paid(tickets=3, price=3333)
        ids = [line["id"] for line in order["tickets"]]
        for done, ticket in enumerate(ids, start=1):
            refunded = await shop.refund(order, by=shop.buyer, lines=[ticket])
            assert refunded.status_code == 200
            state = "refunded" if done == 3 else "completed"
            assert await shop.order_status(order) == state
            assert [*(await lines(shop, order)).values()].count("refunded") == done
        assert await returned(shop, order) == order["total"]
        assert len(await shop.stripe.refunds(order["id"])) == 3


async def test_without_lines_a_later_refund_returns_the_rest(shop: Shop) -> None:
    order = await shop.paid(tickets=3)
    ids = [line["id"] for line in order["tickets"]]
    await shop.refund(order, lines=ids[:1])
    rest = (await shop.refund(order, relist=True)).json()
    assert rest["refund"]["lines"] == sorted(ids[1:])
    assert (rest["status"], rest["refunded"]) == ("refunded", order["total"])
    assert await ticket_statuses(shop, order) == {
        ids[0]: "withdrawn",
        ids[1]: "available",
        ids[2]: "available",
    }


@pytest.mark.parametrize(
    ("currency", "prices", "step"),
    [
        ("EUR", [3333, 3333, 3334, 51], 1),
        ("KWD", [5130, 1230, 990, 770, 310], 10),
        ("ISK", [15300, 20700, 99900], 100),
        ("JPY", [101, 51, 97, 333], 1),
        ("UGX", [2507, 3333, 7771], 1),
    ],
)
async def test_the_refunds_of_all_lines_add_up_to_the_total(
    shop: Shop, currency: str, prices: list[int], step: int
) -> None:
    listed = [
        await factories.ticket(shop.seller, price=price, currency=currency) for price in prices
    ]
    order = await factories.order(shop.buyer, *(ticket["id"] for ticket in listed))
    assert sum(line["fee"] for line in order["tickets"]) == order["fee"]
    assert all(line["fee"] >= 0 for line in order["tickets"])
    assert all((line["price"] + line["fee"]) % step == 0 for line in order["tickets"])
    assert (await shop.pay(order)).json()["status"] == "captured"
    amounts = [
        (await shop.refund(order, lines=[line["id"]])).json()["refund"]["amount"]
        for line in order["tickets"]
    ]
    assert sum(amounts) == order["total"]
    # The fee of a line differs from its own percentage by less than a step.
    assert all(
        abs(line["fee"] - line["price"] * order["fee"] / order["subtotal"]) < step
        for line in order["tickets"]
    )
    await shop.assert_refunded_lines(order)


async def test_a_seller_does_not_refund_another_sellers_line(shop: Shop) -> None:
    other = shop.system.person("other")
    order, mine, theirs = await mixed(shop, other)
    foreign = (await factories.ticket(shop.seller))["id"]
    refused = [
        await shop.refund(order, lines=chosen)
        for chosen in ([theirs], [mine, theirs], [foreign], [str(uuid4())])
    ]
    assert {code(reply) for reply in refused} == {NO_LINE}
    assert len({reply.content for reply in refused}) == 1
    assert code(await shop.refund(order, by=shop.system.person("stranger"), lines=[mine])) == (
        404,
        "order_not_found",
    )
    await shop.assert_paid_once(order)


async def test_a_line_is_refunded_once(shop: Shop) -> None:
    order = await shop.paid(tickets=2)
    first, second = (line["id"] for line in order["tickets"])
    assert (await shop.refund(order, lines=[first])).status_code == 200
    assert code(await shop.refund(order, lines=[first])) == ALREADY
    assert code(await shop.refund(order, lines=[first, second])) == ALREADY
    assert await lines(shop, order) == {first: "refunded", second: "sold"}
    assert len(await shop.stripe.refunds(order["id"])) == 1


@pytest.mark.parametrize("chosen", [[], ["nothing"], "all", [None], {"id": 1}])
async def test_lines_are_a_list_of_ids(shop: Shop, chosen: Any) -> None:
    order = await shop.paid()
    assert (await shop.refund(order, lines=chosen)).status_code == 422
    await shop.assert_paid_once(order)


async def test_a_line_that_is_named_twice_is_refused(shop: Shop) -> None:
    order = await shop.paid()
    twice = 2 * [order["tickets"][0]["id"]]
    assert code(await shop.refund(order, lines=twice)) == (422, "duplicate_ticket")


async def test_the_buyer_reads_the_reason_of_a_refund(shop: Shop) -> None:
    order = await shop.paid(tickets=2)
    first, second = (line["id"] for line in order["tickets"])
    await shop.refund(order, lines=[first], reason="  Wrong   seat\u200b ")
    reasons = {line["id"]: line["refund_reason"] for line in (await read(shop, order))["tickets"]}
    assert reasons == {first: "Wrong seat", second: None}
    for bad in ("\x00", "x" * 201, "p\u0430ypal", 7):
        assert (await shop.refund(order, lines=[second], reason=bad)).status_code == 422


async def test_a_pending_refund_of_a_line_leaves_the_others_alone(shop: Shop) -> None:
    await shop.stripe.faults(webhooks={"paused": True})
    order = await shop.paid("pm_card_pendingRefund", tickets=2)
    first, second = (line["id"] for line in order["tickets"])
    pending = await shop.refund(order, lines=[first])
    assert (pending.status_code, pending.json()["status"]) == (202, "completed")
    assert await lines(shop, order) == {first: "refund_pending", second: "sold"}
    assert await ticket_statuses(shop, order) == {first: "sold", second: "sold"}
    assert (await read(shop, order))["refunded"] == 0
    sales = (await shop.seller.get("/api/sales")).json()["items"]
    assert {sale["ticket_id"]: (sale["status"], sale["refund_pending"]) for sale in sales} == {
        first: ("sold", True),
        second: ("sold", False),
    }
    assert code(await shop.refund(order, lines=[first])) == UNDER_WAY
    assert code(await shop.refund(order, lines=[first, second])) == UNDER_WAY
    # The rest may be refunded meanwhile: then the order waits for both.
    assert (await shop.refund(order)).json()["status"] == "refund_pending"
    async with worker_context(shop.system) as context:
        await shop.stripe.settle_refund(order["id"], "fail")
        for event in await shop.stripe.events():
            await handle(shop, context, event)
        assert await lines(shop, order) == {first: "refund_pending", second: "sold"}
        assert await shop.order_status(order) == "completed"
        await shop.stripe.settle_refund(order["id"], "succeed", 1)
        for event in await shop.stripe.events():
            await handle(shop, context, event)
    assert await lines(shop, order) == {first: "refunded", second: "sold"}
    assert await shop.refunds(order) == ["succeeded", "failed"]
    await shop.assert_refunded_lines(order)


async def test_refunds_of_different_lines_at_once_all_succeed(shop: Shop) -> None:
    order = await shop.paid(tickets=6, price=3333)
    replies = await asyncio.gather(
        *(shop.refund(order, lines=[line["id"]], relist=True) for line in order["tickets"])
    )
    assert {reply.status_code for reply in replies} == {200}
    assert await shop.state(order) == ("refunded", "available")
    assert await returned(shop, order) == order["total"]
    assert await shop.attempts(order) == ["refunded"]
    types = await shop.event_types(order)
    assert (types.count("order.refunded"), types.count("payment.refunded")) == (1, 1)
    await shop.assert_refunded_lines(order)


async def test_of_many_refunds_of_a_line_at_once_one_is_made(shop: Shop) -> None:
    order = await shop.paid(tickets=2)
    first, second = (line["id"] for line in order["tickets"])
    replies = await asyncio.gather(*(shop.refund(order, lines=[first]) for _ in range(12)))
    assert sorted(reply.status_code for reply in replies) == [200] + 11 * [409]
    assert await lines(shop, order) == {first: "refunded", second: "sold"}
    await shop.assert_refunded_lines(order)


async def test_without_its_guards_a_line_is_refunded_twice(shop: Shop) -> None:
    """The negative control of the test above."""
    await shop.rows.execute(UNGUARDED_CHOICE)
    order = await shop.paid(tickets=2)
    first = order["tickets"][0]
    await asyncio.gather(*(shop.refund(order, lines=[first["id"]]) for _ in range(2)))
    assert await returned(shop, order) == 2 * (first["price"] + first["fee"])


async def test_overlapping_choices_at_once_return_each_line_once(shop: Shop) -> None:
    order = await shop.paid(tickets=3)
    a, b, c = (line["id"] for line in order["tickets"])
    choices = [[a, b], [b, c], [c, a], [a], [b], [c]]
    await asyncio.gather(
        shop.refund(order), *(shop.refund(order, lines=chosen) for chosen in choices)
    )
    await shop.refund(order)
    assert await returned(shop, order) == order["total"]
    assert await shop.order_status(order) == "refunded"
    await shop.assert_refunded_lines(order)


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (Provider, "refunds_of"),
        (Provider, "request_refund"),
        (refund_queries, "finish"),
        (refund_queries, "advance"),
        (queries, "advance"),
        (refund_queries, "order"),
    ],
)
async def test_a_process_that_dies_while_it_refunds_lines_is_survived(
    shop: Shop, impatient: None, monkeypatch: pytest.MonkeyPatch, target: Any, name: str
) -> None:
    """The reconciler continues both refunds of the order from the rows and from Stripe."""
    await shop.stripe.faults(webhooks={"paused": True})
    order = await shop.paid(tickets=3)
    a, b, c = (line["id"] for line in order["tickets"])
    with monkeypatch.context() as crashing:
        crashing.setattr(target, name, dies)
        for chosen in ([a], [b, c]):
            reply = await shop.refund(order, lines=chosen, key=chosen[0])
            assert reply.status_code in {200, 500}
    await reconcile(shop)
    assert await shop.state(order) == ("refunded", "withdrawn")
    assert await shop.refunds(order) == ["succeeded", "succeeded"]
    assert await shop.attempts(order) == ["refunded"]
    assert len(await shop.stripe.refunds(order["id"])) == 2
    assert await returned(shop, order) == order["total"]
    assert await reconcile(shop) == 0
    await shop.assert_refunded_lines(order)
    await shop.rows.execute(
        "update payments.refunds set created_at = now() - interval '31 seconds'"
    )
    again = await shop.refund(order, lines=[a], key=a)
    assert (again.status_code, again.json()["refund"]["lines"]) == (200, [a])


async def test_a_key_belongs_to_its_lines(shop: Shop) -> None:
    order = await shop.paid(tickets=2)
    first, second = (line["id"] for line in order["tickets"])
    done = await shop.refund(order, lines=[first], key="once")
    assert (await shop.refund(order, lines=[first], key="once")).content == done.content
    assert code(await shop.refund(order, lines=[second], key="once")) == (
        422,
        "idempotency_key_reused",
    )
    assert await lines(shop, order) == {first: "refunded", second: "sold"}


async def test_an_operators_refund_of_the_rest_refunds_the_order(shop: Shop) -> None:
    await shop.stripe.faults(webhooks={"paused": True})
    order = await shop.paid(tickets=2)
    await shop.refund(order, lines=[order["tickets"][0]["id"]])
    await shop.stripe.refund_by_hand(order["id"])
    async with worker_context(shop.system) as context:
        for event in 2 * await shop.stripe.events():
            await handle(shop, context, event)
    assert await shop.state(order) == ("refunded", "withdrawn")
    assert await shop.refunds(order) == ["succeeded", "succeeded"]
    assert await returned(shop, order) == order["total"]
    await shop.assert_refunded_lines(order)


async def test_refunds_of_lines_adopt_an_operators_refund_of_the_whole(shop: Shop) -> None:
    await shop.stripe.faults(webhooks={"paused": True})
    order = await shop.paid(tickets=2)
    await shop.stripe.refund_by_hand(order["id"])
    for line in order["tickets"]:
        assert (await shop.refund(order, lines=[line["id"]])).status_code == 200
    assert len(await shop.stripe.refunds(order["id"])) == 1
    assert await shop.order_status(order) == "refunded"
    assert await returned(shop, order) == order["total"]
    await shop.assert_refunded_lines(order)


async def test_a_line_whose_money_the_bank_returned_is_owed_and_can_be_refunded_again(
    shop: Shop,
) -> None:
    await shop.stripe.faults(webhooks={"paused": True})
    order = await shop.paid("pm_card_refundFail", tickets=2)
    first, second = (line["id"] for line in order["tickets"])
    assert (await shop.refund(order, lines=[first], relist=True)).status_code == 200
    await shop.stripe.settle_refund(order["id"], "fail")
    async with worker_context(shop.system) as context:
        for event in 2 * await shop.stripe.events():
            await handle(shop, context, event)
    assert await lines(shop, order) == {first: "refunded", second: "sold"}
    again = await asyncio.gather(*(shop.refund(order, lines=[first]) for _ in range(4)))
    assert sorted(reply.status_code for reply in again) == [200] + 3 * [409]
    assert await shop.refunds(order) == ["failed", "succeeded"]
    assert code(await shop.refund(order, lines=[first])) == ALREADY
    await shop.refund(order)
    assert await shop.attempts(order) == ["refunded"]
    assert await returned(shop, order) == order["total"]


async def test_the_events_of_a_partial_refund_have_the_lines(shop: Shop) -> None:
    order = await shop.paid(tickets=2)
    first, second = order["tickets"]
    await shop.refund(order, lines=[first["id"]])
    events = await shop.rows.fetch(
        "select type, data from events.outbox where subject = $1 order by id desc limit 2",
        UUID(order["id"]),
    )
    assert [event["type"] for event in events] == ["order.updated", "order.updated"]
    statuses = [{line["id"]: line["status"] for line in e["data"]["tickets"]} for e in events]
    assert statuses == [
        {first["id"]: "refunded", second["id"]: "sold"},
        {first["id"]: "refund_pending", second["id"]: "sold"},
    ]
    assert [event["data"]["refunded"] for event in events] == [first["price"] + first["fee"], 0]
    refunded = await shop.rows.fetch(
        "select subject::text from events.outbox where type = 'ticket.withdrawn' "
        "and (data ->> 'refunded')::boolean"
    )
    assert [event["subject"] for event in refunded] == [first["id"]]
