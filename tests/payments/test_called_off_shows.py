"""Postponed, cancelled and moved shows: sales stop, money is returned, tickets may be returned."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

import workers.payments
from backend.events.resources import open_resources
from backend.payments import queries, refund_queries
from backend.payments.provider import Provider
from tests import factories
from tests.factories import SHOW, Json
from tests.payments.shop import Shop, open_shop, worker_context
from tests.payments.test_late_and_lost import paying
from tests.payments.test_refund_recovery import dies, reconcile
from tests.replies import code
from tests.system import Person, System
from workers import cancellations
from workers.cancellations import wind_up_shows

ENDED = (409, "sales_ended")
NOT_ALLOWED = (403, "refund_not_allowed")

# `tickets.reserve` takes tickets of a show that is on sale; the clause is its guard.
GUARD = "and s.status = 'on_sale'"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reconciler takes every refund that stands still, at once."""
    none = timedelta(0)
    monkeypatch.setattr(
        workers.payments, "REFUND_STALLED_AFTER", refund_queries.StallTimes(none, none)
    )


@asynccontextmanager
async def winding_up(shop: Shop) -> AsyncIterator[dict[str, Any]]:
    """The context of the worker."""
    async with (
        worker_context(shop.system) as context,
        open_resources(shop.system.settings, "tickets") as tickets,
    ):
        yield context | {"tickets": tickets}


async def wind_up(shop: Shop) -> int:
    async with winding_up(shop) as context:
        return await wind_up_shows(context)


async def decide(shop: Shop, show_id: str, decision: str, *, by: Person | None = None) -> Any:
    return await (by or shop.seller).post(f"/api/shows/{show_id}/{decision}")


async def cancel(shop: Shop, show_id: str) -> None:
    reply = await decide(shop, show_id, "cancel")
    assert (reply.status_code, reply.json()["status"]) == (200, "cancelled")


async def bought(shop: Shop, *shows: str, by: Person | None = None, card: str = "") -> Json:
    """A paid order with a ticket of each of these shows."""
    buyer = by or shop.buyer
    tickets = [(await factories.ticket(shop.seller, show))["id"] for show in shows]
    order = await factories.order(buyer, *tickets)
    assert (await shop.pay(order, card or "pm_card_visa", by=buyer)).json()["status"] == "captured"
    return order


async def status_of(shop: Shop, ticket_id: str) -> str:
    found: str = (await shop.buyer.get(f"/api/tickets/{ticket_id}")).json()["status"]
    return found


@pytest.mark.parametrize("decision", ["cancel", "postpone"])
async def test_nothing_of_a_called_off_show_is_listed_held_or_paid(
    shop: Shop, decision: str
) -> None:
    show = (await factories.show(shop.seller))["id"]
    free, held, tried = [await factories.ticket(shop.seller, show) for _ in range(3)]
    order = await factories.order(shop.buyer, held["id"])
    declined = await factories.order(shop.buyer, tried["id"])
    assert (await shop.pay(declined, "pm_card_chargeDeclined")).status_code == 402
    assert (await decide(shop, show, decision)).status_code == 200
    spec = {"show_id": show, "price": 4500, "currency": "EUR"}
    assert code(await shop.seller.post("/api/tickets", spec)) == ENDED
    rival = shop.system.person("rival")
    assert code(await rival.post("/api/orders", {"ticket_id": free["id"]})) == ENDED
    assert code(await shop.pay(order)) == ENDED
    assert code(await shop.pay(declined)) == ENDED
    assert (await shop.stripe.intent(declined["id"]))["amount_received"] == 0


async def test_only_its_owner_calls_a_show_off_and_a_cancellation_is_final(shop: Shop) -> None:
    show = (await factories.show(shop.seller))["id"]
    for decision in ("cancel", "postpone"):
        assert code(await decide(shop, show, decision, by=shop.buyer)) == (403, "not_your_show")
    for _ in range(2):
        await cancel(shop, show)
    cancelled = (409, "show_cancelled")
    assert code(await decide(shop, show, "postpone")) == cancelled
    assert code(await shop.seller.put(f"/api/shows/{show}", {"title": "Again"})) == cancelled
    with pytest.raises(Exception, match="on_sale may not follow cancelled"):
        await shop.rows.execute("update tickets.shows set status = 'on_sale'")


async def test_a_show_is_cancelled_within_a_week_of_its_end(shop: Shop) -> None:
    shows = [(await factories.show(shop.seller))["id"] for _ in range(2)]
    for show, days in zip(shows, (6, 8), strict=True):
        await shop.rows.execute(
            "update tickets.shows set starts_at = now() - make_interval(days => $2) where id = $1",
            UUID(show),
            days,
        )
    assert code(await decide(shop, shows[0], "postpone")) == (409, "show_over")
    await cancel(shop, shows[0])
    assert code(await decide(shop, shows[1], "cancel")) == (409, "show_over")


async def test_a_cancelled_show_returns_every_sale_of_it_and_no_other(shop: Shop) -> None:
    show, other = [(await factories.show(shop.seller))["id"] for _ in range(2)]
    rival = shop.system.person("rival")
    whole, mixed = await bought(shop, show, show), await bought(shop, show, other, by=rival)
    free, held = [await factories.ticket(shop.seller, show) for _ in range(2)]
    hidden = await factories.ticket(shop.seller, show)
    await shop.seller.post(f"/api/tickets/{hidden['id']}/hide")
    pending = await factories.order(shop.buyer, held["id"])
    await cancel(shop, show)
    assert await wind_up(shop) == 2
    assert await shop.state(whole) == ("refunded", "withdrawn")
    await shop.assert_refunded_lines(whole)
    reply = (await rival.get(f"/api/orders/{mixed['id']}")).json()
    assert reply["status"] == "completed"
    assert {line["show_id"]: line["status"] for line in reply["tickets"]} == {
        show: "refunded",
        other: "sold",
    }
    assert reply["show_changed"][show]["status"] == "cancelled"
    assert await status_of(shop, free["id"]) == "withdrawn"
    assert await status_of(shop, hidden["id"]) == "withdrawn"
    # A hold that still runs is withdrawn after it.
    assert await status_of(shop, held["id"]) == "held"
    wound_up = "select wound_up_at is not null from tickets.shows where id = $1"
    assert not await shop.rows.fetchval(wound_up, UUID(show))
    await shop.make_overdue(pending)
    assert await wind_up(shop) == 0
    assert await status_of(shop, held["id"]) == "withdrawn"
    assert await shop.rows.fetchval(wound_up, UUID(show))
    counts = (await shop.buyer.get(f"/api/shows/{show}")).json()
    assert (counts["available"], counts["held"], counts["sold"]) == (0, 0, 0)
    assert len(await shop.stripe.refunds(whole["id"])) == 1


async def test_many_sales_are_returned_in_batches(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancellations, "RETURNED", 3)
    monkeypatch.setattr(cancellations, "WITHDRAWN", 2)
    show = (await factories.show(shop.seller))["id"]
    orders = [await bought(shop, show) for _ in range(7)]
    for _ in range(5):
        await factories.ticket(shop.seller, show)
    await cancel(shop, show)
    assert [await wind_up(shop) for _ in range(4)] == [3, 3, 1, 0]
    for order in orders:
        await shop.assert_refunded_once(order)


async def test_workers_at_once_return_each_sale_once(shop: Shop) -> None:
    show = (await factories.show(shop.seller))["id"]
    orders = [await bought(shop, show) for _ in range(6)]
    await cancel(shop, show)
    await asyncio.gather(*(wind_up(shop) for _ in range(4)))
    for order in orders:
        await shop.assert_refunded_once(order)


@pytest.mark.parametrize("relist", [False, True])
async def test_a_refund_by_the_seller_and_the_cancellation_return_the_money_once(
    shop: Shop, relist: bool
) -> None:
    show = (await factories.show(shop.seller))["id"]
    orders = [await bought(shop, show, show) for _ in range(4)]
    await cancel(shop, show)
    await asyncio.gather(*(shop.refund(order, relist=relist) for order in orders), wind_up(shop))
    await wind_up(shop)
    for order in orders:
        assert await shop.state(order) == ("refunded", "withdrawn")
        await shop.assert_refunded_lines(order)


async def test_a_payment_that_races_with_the_cancellation_is_voided(shop: Shop) -> None:
    order = await shop.order()
    payment = await paying(shop, order, slow="/confirm")
    await cancel(shop, order["tickets"][0]["show_id"])
    assert code(await payment) == (409, "order_expired")
    await shop.assert_nothing_taken(order)
    await shop.make_overdue(order)
    await wind_up(shop)
    assert await shop.ticket_status(order) == "withdrawn"


async def test_without_its_guard_a_payment_that_races_with_the_cancellation_is_captured(
    shop: Shop,
) -> None:
    """The negative control of the test above. Then the money is returned."""
    reserve = await shop.rows.fetchval("select pg_get_functiondef('tickets.reserve'::regproc)")
    assert GUARD in reserve
    await shop.rows.execute(reserve.replace(GUARD, ""))
    order = await shop.order()
    payment = await paying(shop, order, slow="/confirm")
    await cancel(shop, order["tickets"][0]["show_id"])
    assert (await payment).json()["status"] == "captured"
    await wind_up(shop)
    await shop.assert_refunded_once(order)


async def test_an_outage_of_stripe_delays_the_returns_and_piles_up_nothing(
    system: System, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancellations, "RETURNED", 2)
    monkeypatch.setattr(cancellations, "MAX_WAITING", 2)
    await system.start("api")
    async with open_shop(system) as shop:
        async with system.part("stripe"):
            show = (await factories.show(shop.seller))["id"]
            orders = [await bought(shop, show) for _ in range(5)]
        await cancel(shop, show)
        assert [await wind_up(shop) for _ in range(3)] == [2, 0, 0]
        await system.start("stripe")
        while await reconcile(shop) or await wind_up(shop):
            pass
        for order in orders:
            await shop.assert_refunded_once(order)


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (refund_queries, "insert"),
        (Provider, "refunds_of"),
        (Provider, "request_refund"),
        (refund_queries, "finish"),
        (refund_queries, "advance"),
        (queries, "advance"),
    ],
)
async def test_a_worker_that_dies_is_continued(
    shop: Shop, impatient: None, monkeypatch: pytest.MonkeyPatch, target: Any, name: str
) -> None:
    await shop.stripe.faults(webhooks={"paused": True})
    show = (await factories.show(shop.seller))["id"]
    orders = [await bought(shop, show) for _ in range(2)]
    await cancel(shop, show)
    with monkeypatch.context() as crashing:
        crashing.setattr(target, name, dies)
        await asyncio.gather(wind_up(shop), return_exceptions=True)
    while await wind_up(shop) or await reconcile(shop):
        pass
    for order in orders:
        await shop.assert_refunded_once(order)


async def test_a_refused_return_is_tried_again_after_an_hour(shop: Shop) -> None:
    show = (await factories.show(shop.seller))["id"]
    order = await bought(shop, show, card="pm_card_createDispute")
    await cancel(shop, show)
    assert [await wind_up(shop) for _ in range(3)] == [1, 0, 0]
    assert await shop.refunds(order) == ["failed"]
    await shop.rows.execute(
        "update orders.lines set refund_failed_at = refund_failed_at - interval '61 minutes'"
    )
    assert await wind_up(shop) == 1
    assert await shop.refunds(order) == ["failed", "failed"]


async def test_a_postponed_show_is_on_sale_again_with_a_new_date(shop: Shop) -> None:
    show = (await factories.show(shop.seller))["id"]
    order, ticket = await bought(shop, show), await factories.ticket(shop.seller, show)
    assert (await decide(shop, show, "postpone")).json()["status"] == "postponed"
    assert (await shop.seller.put(f"/api/shows/{show}", {"title": "Later"})).json()["status"] == (
        "postponed"
    )
    past = await shop.seller.put(f"/api/shows/{show}", {"starts_at": "2020-01-01T20:00:00Z"})
    assert past.status_code == 422
    assert (await shop.order_reply(order))["show_changed"][show]["status"] == "postponed"
    moved = await shop.seller.put(f"/api/shows/{show}", {"starts_at": "2031-05-01T20:00:00Z"})
    assert moved.json()["status"] == "on_sale"
    assert (await shop.buyer.post("/api/orders", {"ticket_id": ticket["id"]})).status_code == 201
    assert await wind_up(shop) == 0
    assert await shop.order_status(order) == "completed"


async def test_a_holder_of_a_postponed_show_returns_its_tickets(shop: Shop) -> None:
    show, other = [(await factories.show(shop.seller))["id"] for _ in range(2)]
    order = await bought(shop, show, other)
    assert code(await shop.refund(order, by=shop.buyer)) == NOT_ALLOWED
    await decide(shop, show, "postpone")
    tickets = {line["show_id"]: line["id"] for line in order["tickets"]}
    assert (await shop.order_reply(order))["returnable"] == [tickets[show]]
    for chosen in ([tickets[other]], [*tickets.values()]):
        assert code(await shop.refund(order, by=shop.buyer, lines=chosen)) == NOT_ALLOWED
    returned = await shop.refund(order, by=shop.buyer, lines=[tickets[show]])
    assert returned.status_code == 200
    assert (await shop.order_reply(order))["returnable"] == []
    await shop.assert_refunded_lines(order)


@pytest.mark.parametrize(
    ("change", "is_returnable"),
    [
        ({"title": "Another name"}, False),
        ({"starts_at": "2030-12-04T20:29:00+01:00"}, False),
        ({"starts_at": "2030-12-04T20:30:00+01:00"}, True),
        ({"starts_at": "2030-12-04T19:30:00+01:00"}, True),
        ({"venue": "HARBOUR HALL "}, False),
        ({"venue": "Town Hall"}, True),
        ({"city": "Amsterdam"}, True),
    ],
)
async def test_a_holder_returns_tickets_of_a_show_at_another_time_or_place(
    shop: Shop, change: Json, is_returnable: bool
) -> None:
    show = (await factories.show(shop.seller))["id"]
    order = await bought(shop, show)
    assert (await shop.seller.put(f"/api/shows/{show}", change)).status_code == 200
    ids = [line["id"] for line in order["tickets"]]
    assert (await shop.order_reply(order))["returnable"] == (ids if is_returnable else [])
    reply = await shop.refund(order, by=shop.buyer)
    if not is_returnable:
        assert code(reply) == NOT_ALLOWED
        return
    assert reply.status_code == 200
    await shop.assert_refunded_once(order)
    # Nobody relists as the buyer, and the seller's next price is free.
    assert await shop.ticket_status(order) == "withdrawn"


async def test_a_changed_show_is_returned_until_it_starts_and_by_its_earlier_buyers_only(
    shop: Shop,
) -> None:
    show = (await factories.show(shop.seller))["id"]
    early = await bought(shop, show)
    await shop.seller.put(f"/api/shows/{show}", {"venue": "Town Hall"})
    late = await bought(shop, show)
    assert code(await shop.refund(late, by=shop.buyer)) == NOT_ALLOWED
    await shop.rows.execute(
        "update tickets.shows set starts_at = now() - interval '1 s' where id = $1", UUID(show)
    )
    assert (await shop.order_reply(early))["returnable"] == []
    assert code(await shop.refund(early, by=shop.buyer)) == NOT_ALLOWED


async def test_a_show_that_moves_back_is_as_bought(shop: Shop) -> None:
    show = (await factories.show(shop.seller))["id"]
    order = await bought(shop, show)
    for venue, count in (("Town Hall", 1), (SHOW["venue"], 0)):
        await shop.seller.put(f"/api/shows/{show}", {"venue": venue})
        assert len((await shop.order_reply(order))["returnable"]) == count
