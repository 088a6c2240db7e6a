"""One test for each invariant of docs/design.md, each aimed at the guard that its docstring
names.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests import factories
from tests.events.log import numbers, publish, record
from tests.payments.shop import Shop, open_shop, until, worker_context
from tests.push.watcher import Watcher
from tests.system import PUSHER_KEY, System
from workers.payments import handle_webhook


@pytest.fixture
async def shop(system: System) -> AsyncIterator[Shop]:
    async with open_shop(system) as shop:
        await system.start("stripe", "api")
        yield shop


async def test_i1_a_ticket_is_on_one_live_order_line(shop: Shop) -> None:
    """Guards: the guarded update in `tickets.hold`, and behind it the index
    `lines_one_live_per_ticket`.
    """
    ticket = await factories.ticket(shop.seller)
    buyers = [shop.system.person(f"buyer-{number}") for number in range(20)]
    replies = await asyncio.gather(
        *(buyer.post("/api/orders", {"ticket_id": ticket["id"]}) for buyer in buyers)
    )
    assert sorted(reply.status_code for reply in replies) == [201] + 19 * [409]
    live = "select count(*) from orders.lines where live and ticket_id = $1"
    assert await shop.rows.fetchval(live, UUID(ticket["id"])) == 1
    # With the first guard off, the second holds.
    await shop.rows.execute(
        "update tickets.tickets"
        " set status = 'available', order_id = null, held_until = null, version = version + 1"
    )
    late = await buyers[0].post("/api/orders", {"ticket_id": ticket["id"]})
    assert (late.status_code, late.json()["code"]) == (409, "ticket_unavailable")
    assert await shop.rows.fetchval(live, UUID(ticket["id"])) == 1


async def test_i2_money_is_captured_if_and_only_if_its_order_completed(shop: Shop) -> None:
    """Guard: `orders.settle` decides between authorisation and capture; the losing payment is
    voided before the reply.
    """
    won, lost = await shop.order(), await shop.order()
    assert (await shop.pay(won)).json()["status"] == "captured"
    await shop.stripe.faults(match="/confirm", latency_ms=300)
    late = asyncio.create_task(shop.pay(lost))
    await until(lambda: shop.attempts(lost))
    await shop.make_overdue(lost)
    await factories.order(shop.system.person("rival"), lost["tickets"][0]["id"])
    assert (await late).json()["code"] == "order_expired"
    await shop.assert_paid_once(won)
    assert (await shop.stripe.intent(lost["id"]))["status"] == "canceled"
    assert sum(intent["amount_received"] for intent in await shop.stripe.intents()) == won["total"]


async def test_i3_a_hold_past_its_time_is_available_with_every_worker_stopped(shop: Shop) -> None:
    """Guard: `tickets.is_free` and `effective_status` use the row's time in reads, counts and
    holds.
    """
    order = await shop.order()
    (line,) = order["tickets"]
    await shop.make_overdue(order)
    assert await shop.state(order) == ("expired", "available")
    show = (await shop.buyer.get(f"/api/shows/{line['show_id']}")).json()
    assert (show["available"], show["held"], show["from_price"]) == (1, 0, line["price"])
    found = (await shop.buyer.get("/api/tickets", status="available")).json()["items"]
    assert [ticket["id"] for ticket in found] == [line["id"]]
    taken = await factories.order(shop.system.person("next"), line["id"])
    assert taken["status"] == "pending"
    assert "order.expired" in await shop.event_types(order)


async def test_i4_a_stale_write_changes_nothing(shop: Shop) -> None:
    """Guard: each function of tickets names the order that it expects to hold the ticket."""
    first = await shop.order()
    assert (await shop.buyer.delete(f"/api/orders/{first['id']}")).status_code == 204
    second = await factories.order(shop.system.person("next"), first["tickets"][0]["id"])
    before = await _rows(shop)
    orders, payments = await shop.system.connect("orders"), await shop.system.connect("payments")
    stale, nobody = UUID(first["id"]), uuid4()
    for call in (
        "tickets.release($1, orders.tickets_of($1))",
        "tickets.extend($1, orders.tickets_of($1), now() + interval '1 h')",
        "tickets.sell($1, orders.tickets_of($1))",
    ):
        assert await orders.fetchval(f"select {call}", stale) == 0
    assert (
        await orders.fetchval(
            "select tickets.reserve($1, array[$2::uuid], array[4500::bigint], 'EUR')",
            stale,
            UUID(first["tickets"][0]["id"]),
        )
        is False
    )
    assert await orders.fetchval("select orders.close(array[$1::uuid], 'expired')", stale) == []
    assert (
        await payments.fetchval("select orders.settle($1, $2, 4725, 'EUR')", stale, nobody)
        == "refused"
    )
    assert await payments.fetchval("select orders.finish($1, $2)", stale, nobody) is False
    assert await payments.fetchval("select orders.fail($1, $2)", stale, nobody) is False
    # Nor may another payment finish or fail an order that it did not win.
    assert (
        await payments.fetchval("select orders.fail($1, $2)", UUID(second["id"]), nobody) is False
    )
    assert await _rows(shop) == before


async def test_i5_committed_events_are_published_after_redis_was_lost_and_no_others(
    system: System,
) -> None:
    """Guard: the relay continues from the last id of the stream, with committed rows only."""
    rows = await system.connect()
    await record(rows, 1, 2)
    await publish(system)
    rolled_back = rows.transaction()
    await rolled_back.start()
    await record(rows, 3)
    await rolled_back.rollback()
    await system.redis().flushall()
    await record(rows, 4)
    await publish(system)
    assert await numbers(system.redis()) == [1, 2, 4]


async def test_i6_a_request_a_job_or_a_webhook_twice_gives_the_result_of_once(shop: Shop) -> None:
    """Guards: the stored reply of a key, `advance` out of named statuses, Stripe's event id,
    `release_due`.

    A consumer's inbox has its own tests, in tests/events.
    """
    await shop.stripe.faults(webhooks={"paused": True})
    ticket = await factories.ticket(shop.seller)
    body = {"ticket_ids": [ticket["id"]]}
    placed = [await shop.buyer.post("/api/orders", body, key="order") for _ in range(2)]
    assert placed[0].content == placed[1].content
    order = placed[0].json()
    paid = [await shop.pay(order, key="payment") for _ in range(2)]
    assert paid[0].content == paid[1].content
    before = await _rows(shop)
    async with worker_context(shop.system) as context:
        for event in 2 * await shop.stripe.events():
            await shop.deliver(event)
            await handle_webhook(context, event["id"])
        orders = await shop.system.connect("orders")
        for _ in range(2):
            assert await orders.fetchval("select orders.expire_due(100)") == 0
    assert await _rows(shop) == before
    await shop.assert_paid_once(order)


async def test_i7_the_state_from_messages_equals_a_fresh_read(shop: Shop) -> None:
    """Guard: an event has the full state and an increased version, appended in the transaction of
    the change.
    """
    system = await shop.system.start("push", "relay", "worker")
    show = await factories.show(shop.seller)
    channel = f"show-{show['id']}"
    async with Watcher(
        host="127.0.0.1", port=system.ports["push"], key=PUSHER_KEY, channels=[channel, "shows"]
    ) as watcher:
        await watcher.subscribed(channel, seconds=10)
        tickets = [await factories.ticket(shop.seller, show["id"]) for _ in range(4)]
        paid, cancelled, _ = [
            await factories.order(shop.buyer, ticket["id"]) for ticket in tickets[:3]
        ]
        await shop.pay(paid)
        await shop.buyer.delete(f"/api/orders/{cancelled['id']}")

        async def same() -> bool:
            shown: dict[str, Any] = {}
            for seen in watcher.seen:
                if seen.channel == channel and seen.event.startswith("ticket."):
                    ticket = seen.data["ticket"]
                    # A page applies newer versions only.
                    if ticket["version"] > shown.get(ticket["id"], {"version": 0})["version"]:
                        shown[ticket["id"]] = ticket
            fresh = (await shop.buyer.get("/api/tickets", show_id=show["id"])).json()["items"]
            names = ("status", "version", "held_until", "price")
            return {
                ticket_id: [state[name] for name in names] for ticket_id, state in shown.items()
            } == {ticket["id"]: [ticket[name] for name in names] for ticket in fresh}

        await until(same)

        async def counted() -> bool:
            counts = [seen.data["show"] for seen in watcher.events("show.availability")]
            fresh = (await shop.buyer.get(f"/api/shows/{show['id']}")).json()
            return bool(counts) and counts[-1] == {name: fresh[name] for name in counts[-1]}

        await until(counted)


async def test_i8_another_users_order_and_a_missing_one_get_the_same_reply(shop: Shop) -> None:
    """Guard: every query of an order names its buyer."""
    order = await shop.order()
    stranger = shop.system.person("stranger")
    before = await _rows(shop)
    replies = []
    for order_id in (order["id"], str(uuid4())):
        replies += [
            await stranger.get(f"/api/orders/{order_id}"),
            await stranger.delete(f"/api/orders/{order_id}"),
            await shop.pay({"id": order_id}, by=stranger),
        ]
    assert {reply.status_code for reply in replies} == {404}
    bodies = [reply.json() for reply in replies]
    assert bodies[:3] == bodies[3:]
    assert (await stranger.get("/api/orders")).json()["items"] == []
    assert await _rows(shop) == before


async def test_i9_a_reply_is_sent_after_its_commit(shop: Shop) -> None:
    """Guard: a handler replies after the commit of its transaction, outbox included; the outbox
    needs no Redis.

    Durability through kill -9 is Postgres's, and tried with real processes in the chaos runs.
    """
    await shop.system.redis().flushall()
    order = await shop.order()
    assert (await shop.pay(order)).status_code == 201
    # Another connection reads all of it without waiting.
    assert await shop.rows.fetchval("select status from orders.orders") == "completed"
    assert await shop.rows.fetchval("select status from tickets.tickets") == "sold"
    assert "order.completed" in await shop.event_types(order)
    await publish(shop.system)
    written = await shop.rows.fetchval("select count(*) from events.outbox")
    assert await shop.system.redis().xlen("gittix:events") == written


async def test_i10_times_are_postgress_and_money_is_minor_units(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards: no deadline uses a process's clock; amounts are integers from the price to Stripe."""
    with monkeypatch.context() as wrong:
        real = time.time
        wrong.setattr(time, "time", lambda: real() + 200)
        order = await shop.order(price=1999, currency="USD")
    left = await shop.rows.fetchval("select expires_at - clock_timestamp() from orders.orders")
    assert 50 < left.total_seconds() <= 60
    assert (order["subtotal"], order["fee"], order["total"]) == (1999, 100, 2099)
    await shop.pay(order)
    intent = await shop.stripe.intent(order["id"])
    assert (intent["amount_received"], intent["currency"]) == (2099, "usd")
    kinds = await shop.rows.fetch(
        """
        select table_schema, table_name, column_name from information_schema.columns
        where table_schema in ('tickets', 'orders', 'payments')
          and data_type in ('real', 'double precision', 'numeric', 'money',
                            'timestamp without time zone')
        """
    )
    # The wall time of a show's venue, beside the instant in starts_at.
    assert [tuple(kind) for kind in kinds] == [("tickets", "shows", "local_start")]


async def _rows(shop: Shop) -> list[Any]:
    """All rows that a purchase changes."""
    return [
        *await shop.rows.fetch(
            "select id, status, order_id, version from tickets.tickets order by id"
        ),
        *await shop.rows.fetch("select id, status, version from orders.orders order by id"),
        *await shop.rows.fetch("select id, status, version from payments.payments order by id"),
        *await shop.rows.fetch("select id from events.outbox order by id"),
    ]
