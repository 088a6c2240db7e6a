"""Compares the system with the model: the API, the payments, Stripe's ledger and the events."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from backend.check import check_invariants
from tests.factories import Json
from tests.search.entities import PAID, Order, Ticket
from tests.search.model import Model
from tests.search.running_system import RunningSystem
from tests.system import Person

# No notifier runs here, and the stores of the tests are not durable.
NOT_HERE = {"I7", "I9"}


class Money(NamedTuple):
    """The payment of an order in Stripe's ledger."""

    received: int
    capturable: int
    refunded: int
    refund_pending: int

    def and_of(self, intent: Json) -> "Money":
        return Money(
            self.received + intent["amount_received"],
            self.capturable + intent["amount_capturable"],
            self.refunded + intent["refunded"],
            self.refund_pending + intent["refund_pending"],
        )


class Comparison:
    def __init__(
        self, running: RunningSystem, model: Model, people: Sequence[Person], shows: Sequence[str]
    ) -> None:
        self._running = running
        self._model = model
        self._people = people
        self._shows = shows

    async def compare_state(self) -> None:
        await self._compare_api()
        await self._payments()

    async def compare_history(self) -> None:
        """Asserts that all invariants hold and that the versions of each subject's events run from
        1 to that of its row, without a gap.
        """
        gaps = await self._running.shop.rows.fetch(
            """
            select o.subject, array_agg(o.type || ' ' || o.version order by o.id) as events
            from events.outbox o group by o.subject
            having array_agg(o.version order by o.id)
                <> array(select generate_series(1, count(o.id)))
            """
        )
        assert [tuple(row) for row in gaps] == []
        newest = {
            row["subject"]: row["version"]
            for row in await self._running.shop.rows.fetch(
                "select subject::text, max(version) as version from events.outbox group by subject"
            )
        }
        versions = {ticket.id: ticket.version for ticket in self._model.tickets}
        versions |= {order.id: order.version for order in self._model.orders}
        assert {subject: newest[subject] for subject in versions} == versions
        await self._told_of_refunds()
        results = (await check_invariants(self._running.system.settings)).results
        assert [one for one in results if one.violations and one.invariant not in NOT_HERE] == []

    async def _told_of_refunds(self) -> None:
        """Asserts that each refunded order has one refund event, however many requests found it."""
        rows = await self._running.shop.rows.fetch(
            """
            select coalesce(data ->> 'order_id', subject::text) as order_id,
                array_agg(type order by id) as types
            from events.outbox where type in ('order.refunded', 'payment.refunded') group by 1
            """
        )
        recorded = {row["order_id"]: row["types"] for row in rows}
        for order in self._model.orders:
            expected = (
                ["order.refunded", "payment.refunded"] if order.status == "refunded" else None
            )
            assert recorded.get(order.id) == expected, order

    async def _compare_api(self) -> None:
        buyers = {order.buyer for order in self._model.orders}
        anybody = self._people[-1]
        withdrawn = "&status=withdrawn"
        replies = await self._running.reader.get(
            *((anybody, f"/api/shows/{show_id}") for show_id in self._shows),
            *((anybody, f"/api/tickets?limit=100&show_id={show_id}") for show_id in self._shows),
            *(
                (anybody, f"/api/tickets?limit=100&show_id={show_id}{withdrawn}")
                for show_id in self._shows
            ),
            *(
                (person, "/api/orders?limit=100")
                for person in self._people
                if person.name in buyers
            ),
        )
        shows = replies[: len(self._shows)]
        lists = [one for reply in replies[len(self._shows) :] for one in reply["items"]]
        for show in shows:
            counts = self._model.counts(show["id"])
            assert {name: show[name] for name in counts._fields} == counts._asdict()
        assert {one["id"]: _ticket_shown(one) for one in lists if "seller_id" in one} == {
            ticket.id: _ticket_expected(ticket) for ticket in self._model.tickets
        }
        assert {one["id"]: _order_shown(one) for one in lists if "buyer_id" in one} == {
            order.id: _order_expected(order) for order in self._model.orders
        }

    async def _payments(self) -> None:
        paid = [order for order in self._model.orders if order.attempts]
        if not paid:
            return
        rows = await self._running.shop.rows.fetch(
            """
            select order_id::text, array_agg(status order by attempt) as statuses
                from payments.payments
            where order_id = any ($1) group by order_id
            """,
            [UUID(order.id) for order in paid],
        )
        attempts = {order.id: [attempt.status for attempt in order.attempts] for order in paid}
        assert {row["order_id"]: row["statuses"] for row in rows} == attempts
        await self._refunds(paid)
        await self._money(paid)

    async def _refunds(self, paid: Sequence[Order]) -> None:
        rows = await self._running.shop.rows.fetch(
            """
            select order_id::text, status, relist, amount, currency from payments.refunds
            where order_id = any ($1) order by order_id, number
            """,
            [UUID(order.id) for order in paid],
        )
        expected = [
            (order.id, refund.status, refund.relist, refund.amount, order.currency)
            for order in sorted(paid, key=lambda order: order.id)
            for refund in order.refunds
        ]
        assert [tuple(row) for row in rows] == expected

    async def _money(self, paid: Sequence[Order]) -> None:
        found = {order.id: Money(0, 0, 0, 0) for order in paid}
        for intent in await self._ledger(sum(len(order.attempts) for order in paid)):
            order_id = intent["metadata"].get("order_id")
            if order_id in found:
                found[order_id] = found[order_id].and_of(intent)
        assert found == {
            order.id: Money(
                order.received,
                order.capturable,
                order.returned("succeeded"),
                order.returned("pending"),
            )
            for order in paid
        }

    async def _ledger(self, newest: int) -> list[Json]:
        reply = await self._running.shop.stripe._http.get(
            "/sandbox/ledger", params={"limit": newest}
        )
        lines: list[Json] = reply.json()["data"]
        return lines


def _ticket_shown(ticket: Json) -> tuple[Any, ...]:
    held = ticket["held_until"] is not None
    return ticket["status"], ticket["price"], ticket["currency"], ticket["version"], held


def _ticket_expected(ticket: Ticket) -> tuple[Any, ...]:
    status = ticket.shown_status
    return status, ticket.price, ticket.currency, ticket.version, status == "held"


def _order_shown(order: Json) -> tuple[Any, ...]:
    prices = {line["id"]: (line["price"], line["status"]) for line in order["tickets"]}
    money = (order["subtotal"], order["fee"], order["total"], order["refunded"], order["currency"])
    return order["status"], prices, money, order["version"], order["seconds_left"] > 0


def _order_expected(order: Order) -> tuple[Any, ...]:
    prices = {
        ticket.id: (price, order.lines[ticket] if order.status in PAID else None)
        for ticket, price in order.prices.items()
    }
    refunded = order.cost([*order.lines_in("refunded"), *order.lines_in("owed")])
    money = (order.subtotal, order.fee, order.total, refunded, order.currency)
    return order.shown_status, prices, money, order.version, order.is_open
