"""Does each thing to the system and to the model, and compares what both say.

What a person does goes over HTTP. Time passes by moving deadlines in the database. Messages (Stripe's webhooks, the event
stream, arq's jobs) wait until the search lets them arrive: once, again, late, in any order.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from itertools import count
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import httpx
import pytest

import workers.main
import workers.payments
from backend.check import examine
from backend.events.stream import STREAM
from backend.kernel.jobs import QUEUE
from backend.payments import queries
from tests import factories
from tests.factories import Json
from tests.replies import code
from tests.search.model import (
    ENDED,
    UNPAID,
    Model,
    Order,
    Refusal,
    Ticket,
    winners_first,
)
from tests.search.paying import CALLS, Fault, Paying
from tests.search.stage import Meanwhile, Stage
from tests.system import Person
from workers import expiration

SELLERS, BUYERS = 2, 3
# What the ids of arq's jobs begin with.
WEBHOOK, ABANDON, ALARM = "webhook", workers.payments.ABANDON, expiration.EXPIRE_DUE

_WIPE = """
    do $$
    begin
        execute (
            select 'truncate ' || string_agg(format('%I.%I', schemaname, tablename), ', ') from pg_tables
            where schemaname in ('tickets', 'orders', 'payments') or (schemaname, tablename) = ('events', 'outbox')
        );
    end
    $$
"""


class Sent(NamedTuple):
    """A request with its Idempotency-Key. `kept`: its reply is the reply to every repeat."""

    person: Person
    method: str
    path: str
    body: Any
    headers: dict[str, str]
    reply: httpx.Response
    kept: bool
    again: Callable[[str], Awaitable[object]]

    @property
    def key(self) -> str:
        return self.headers["Idempotency-Key"]


# No notifier runs here, and the tests' stores are not durable.
NOT_HERE = {"I7", "I9"}


class Mirror:
    """One example: people, shows, tickets and orders of its own, in the system and in the model."""

    def __init__(self, on: Stage) -> None:
        self._on = on
        self.model = Model()
        self.sellers = [on.system.person(f"seller-{number}") for number in range(SELLERS)]
        self.buyers = [on.system.person(f"buyer-{number}") for number in range(BUYERS)]
        self.shows: list[str] = []
        self._sent: dict[str, Sent] = {}
        self._numbers = count()
        self._intents: dict[str, Order] = {}
        self._delivered: dict[str, Order] = {}
        self._handled: set[str] = set()
        self._ends_told: dict[Order, int] = {}
        self._to_abandon: set[Order] = set()
        self._stream_start = "-"

    async def open(self) -> None:
        """Nothing that an earlier example left on the queue or the stream is this one's."""
        await self._on.orders.redis.delete(QUEUE)
        newest = await self._on.orders.redis.xrevrange(STREAM, count=1)
        if newest:
            self._stream_start = f"({newest[0][0].decode()}"

    @property
    def sent(self) -> list[Sent]:
        """The newest request of each key."""
        return list(self._sent.values())

    @property
    def people(self) -> list[Person]:
        return [*self.sellers, *self.buyers]

    @property
    def orders(self) -> list[Order]:
        return self.model.orders

    # What sellers do.

    async def create_show(self, owner: Person) -> str:
        show_id: str = (await factories.show(owner))["id"]
        self.shows.append(show_id)
        return show_id

    async def list_tickets(
        self, seller: Person, show_id: str, prices: Sequence[int], currency: str, *, key: str | None = None
    ) -> list[Ticket]:
        """One by the route for one, several by the route for many."""
        specs = [{"price": price, "currency": currency} for price in prices]
        path, body = f"/api/shows/{show_id}/tickets", dict[str, Any](tickets=specs)
        if len(specs) == 1:
            path, body = "/api/tickets", specs[0] | {"show_id": show_id}
        reply = await self._send(seller, "POST", path, body, key=key)
        assert reply.status_code == 201, reply.text
        made = reply.json()["items"] if len(specs) > 1 else [reply.json()]
        tickets = [Ticket(each["id"], show_id, seller.name, each["price"], currency) for each in made]
        assert [ticket.price for ticket in tickets] == list(prices)
        for ticket in tickets:
            self.model.list_ticket(ticket)
        return tickets

    async def edit(
        self,
        person: Person,
        ticket: Ticket,
        price: int,
        currency: str,
        behind: int | None,
        *,
        key: str | None = None,
    ) -> None:
        """`behind`: how old the version is that If-Match names; without it there is none."""
        if_match = None if behind is None else ticket.version - behind
        refusals = self.model.against_change(person.name, ticket, if_match)
        body = {"price": price, "currency": currency}
        reply = await self._send(
            person,
            "PUT",
            f"/api/tickets/{ticket.id}",
            body,
            if_match=if_match,
            key=key,
            again=lambda key: self.edit(person, ticket, price, currency, behind, key=key),
        )
        if _accepted(reply, 200, refusals):
            self.model.edit(ticket, price=price, currency=currency)

    async def withdraw(
        self, person: Person, ticket: Ticket, behind: int | None, *, key: str | None = None
    ) -> None:
        if_match = None if behind is None else ticket.version - behind
        refusals = self.model.against_change(person.name, ticket, if_match)
        reply = await self._send(
            person,
            "DELETE",
            f"/api/tickets/{ticket.id}",
            if_match=if_match,
            key=key,
            again=lambda key: self.withdraw(person, ticket, behind, key=key),
        )
        if _accepted(reply, 204, refusals):
            self.model.withdraw(ticket)

    # What buyers do.

    async def place(self, buyer: Person, tickets: Sequence[Ticket], *, key: str | None = None) -> list[Order]:
        """The new order, if there is one."""
        refusals = self.model.against_order(buyer.name, tickets)
        ids = [ticket.id for ticket in tickets]
        body: Json = {"ticket_ids": ids} if len(ids) > 1 else {"ticket_id": ids[0]}
        reply = await self._send(
            buyer, "POST", "/api/orders", body, key=key, again=lambda key: self.place(buyer, tickets, key=key)
        )
        if not _accepted(reply, 201, refusals):
            return []
        return [self.model.place(reply.json()["id"], buyer.name, tickets)]

    async def cancel(self, person: Person, order: Order, *, key: str | None = None) -> None:
        refusals = self.model.against_cancel(person.name, order)
        reply = await self._send(
            person,
            "DELETE",
            f"/api/orders/{order.id}",
            key=key,
            again=lambda key: self.cancel(person, order, key=key),
        )
        if _accepted(reply, 204, refusals):
            self.model.cancel(order)

    async def pay(
        self,
        person: Person,
        order: Order,
        method: str,
        *,
        pause: str | None = None,
        meanwhile: Meanwhile | None = None,
        fault: Fault | None = None,
        key: str | None = None,
    ) -> None:
        """`meanwhile` happens at the payment's `pause`. `fault`: the call to Stripe that gets no answer, and when."""
        if fault is not None and fault.call == "create" and (order.intent is not None or pause is not None):
            # There is one, or there will be before the pause.
            fault = None
        refusals = self.model.against_payment(person.name, order)
        paying = Paying(self.model, order, method)

        async def misbehave() -> None:
            if fault is not None:
                paying.fault = fault
                await self._on.shop.stripe.faults(match=CALLS[fault.call], fail_next=1, fail_when=fault.when)

        async def in_the_pause() -> None:
            paying.go_to(pause)
            await self._learn_intent(order)
            if meanwhile is not None:
                await meanwhile()
            await misbehave()

        if pause is not None:
            self._on.pauses.at(pause, in_the_pause)
        elif not refusals:
            await misbehave()
        if not refusals:
            paying.begin()
        reply = await self._send(
            person,
            "POST",
            "/api/payments",
            {"order_id": order.id, "payment_method": method},
            key=key,
            again=lambda key: self.pay(person, order, method, key=key),
            kept=not refusals and not (fault and fault.call == "create"),
        )
        if fault is not None:
            await self._on.shop.stripe.faults(match="", fail_next=0)
        self._on.pauses.end()
        if refusals:
            assert code(reply) in refusals, (reply.text, refusals)
            return
        expected = paying.end()
        assert _outcome(reply) == expected, (reply.text, expected)
        await self._learn_intent(order)

    async def authenticate(self, order: Order, *, succeed: bool) -> None:
        """The buyer's part of 3-D Secure; the shop hears of it by a message only."""
        assert order.intent == "requires_action"
        await self._on.shop.stripe.authenticate(order.id, "succeed" if succeed else "fail")
        order.intent = "requires_capture" if succeed else "requires_payment_method"

    # What time does.

    async def lapse(self, order: Order) -> None:
        """An unpaid order's time is up."""
        await self._on.shop.rows.execute(
            """
            with o as (
                update orders.orders set expires_at = now() - interval '2 seconds'
                where id = $1 and status in ('pending', 'awaiting_payment') returning id
            ), p as (
                update payments.payments set deadline_at = now() - interval '2 seconds'
                where order_id in (select id from o) and status in ('started', 'requires_action', 'authorised')
            )
            update tickets.tickets set held_until = now() - interval '2 seconds'
            where order_id in (select id from o) and status = 'held'
            """,
            UUID(order.id),
        )
        self.model.lapse(order)

    async def expire_due(self, batch: int) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(expiration, "BATCH", batch)
            await expiration.expire_due(self._on.jobs)
        self.model.expire_due()

    async def authorisation_expires(self, order: Order) -> None:
        """At Stripe, after days."""
        assert order.intent == "requires_capture"
        await self._on.shop.stripe.expire(order.id)
        order.intent = "canceled"

    # Messages.

    async def deliver_webhooks(self, picks: Sequence[int]) -> None:
        """Some of Stripe's events, new or old, in this order; their jobs wait on the queue."""
        told = [event for event in await self._on.shop.stripe.events() if _intent_of(event) in self._intents]
        for pick in picks if told else ():
            event = told[-1 - pick % len(told)]
            reply = await self._on.shop.deliver(event)
            assert reply.status_code == 200, reply.text
            self._delivered[event["id"]] = self._intents[_intent_of(event)]

    async def consume_events(self) -> None:
        """What committed goes to the stream and its consumers: all that is new, then once more all there is."""
        await self._publish()
        for consumer in self._on.consumers:
            await consumer._ensure_groups()
            while await consumer._read({STREAM: ">"}, block=None):
                pass
            entries = await self._on.orders.redis.xrange(STREAM, min=self._stream_start)
            for _ in range(2):
                assert await consumer.handle(entries) == 0
        self._to_abandon |= {order for order in self.orders if order.ends > self._ends_told.get(order, 0)}
        self._ends_told |= {order: order.ends for order in self.orders}
        waiting = {name for name in await self.jobs() if name.startswith(ABANDON)}
        assert waiting == {f"{ABANDON}:{order.id}" for order in self._to_abandon}

    async def jobs(self) -> list[str]:
        """What is on the queue, but for alarms of ends that are far away."""
        names = [name.decode() for name in await self._on.orders.redis.zrange(QUEUE, 0, -1)]
        return sorted(name for name in names if not name.startswith(ALARM))

    async def run_job(self, name: str, *, times: int = 1) -> None:
        """As arq does, which may run a job twice."""
        await self._on.orders.redis.zrem(QUEUE, name)
        await self._on.orders.redis.delete(f"arq:job:{name}")
        kind, _, subject = name.partition(":")
        for _ in range(times):
            if kind == ABANDON:
                await workers.payments.abandon_payment(self._on.jobs, subject)
                self.model.abandon(self._order(subject))
                self._to_abandon.discard(self._order(subject))
            else:
                assert kind == WEBHOOK
                await self._handle_webhook(subject)

    async def run_all_jobs(self) -> None:
        await self.consume_events()
        for job in await self.jobs():
            await self.run_job(job)

    async def reconcile(self) -> None:
        """The reconciler's turn, for which everything stands still long enough."""
        still = self.model.unresolved()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(workers.payments, "PATIENCE", queries.Patience(*3 * [timedelta(0)]))
            await workers.payments.reconcile_payments(self._on.jobs)
        won = await self._captured(still)
        for order in winners_first(still, won):
            status = order.attempt.status if order.attempt else ""
            self.model.look(order, abandoned=status == "started" or order.lapsed)

    # What must change nothing.

    async def repeat(self, sent: Sent) -> None:
        """The same request under the same key: a kept reply byte for byte, else as if it were new."""
        if not sent.kept:
            if sent.reply.status_code == 409:
                await sent.again(sent.key)
            return
        reply = await sent.person.http.request(sent.method, sent.path, json=sent.body, headers=sent.headers)
        assert (reply.status_code, reply.content) == (sent.reply.status_code, sent.reply.content)
        assert reply.headers["Idempotent-Replayed"] == "true"

    async def reuse_key(self, sent: Sent) -> None:
        """Another request under a key whose reply is kept."""
        assert sent.kept
        path = sent.path if sent.body is not None else f"{sent.path}?other=1"
        reply = await sent.person.http.request(
            sent.method, path, json=_another(sent.body), headers=sent.headers
        )
        assert code(reply) == (422, "idempotency_key_reused")

    async def stale_calls(self, order: Order) -> None:
        """All that could still arrive for an order that ended, as the roles that say it."""
        assert order.status in ENDED
        order_id, nobody = UUID(order.id), uuid4()
        for call in (
            "tickets.release($1, $2)",
            "tickets.extend($1, now() + interval '1 h', $2)",
            "tickets.sell($1, $2)",
            "cardinality(orders.close(array[$1::uuid], 'cancelled', $2))",
            "cardinality(orders.close(array[$1::uuid], 'expired', $2))",
        ):
            assert await self._on.as_orders.fetchval(f"select {call}", order_id, nobody) == 0, call
        for call in ("orders.finish($1, $2, $2)", "orders.fail($1, $2, $2)"):
            assert await self._on.as_payments.fetchval(f"select {call}", order_id, nobody) is False, call

    # Comparing.

    async def compare(self) -> None:
        """What the API, the payments' rows and Stripe's ledger show is what the model has."""
        await self._compare_what_the_api_shows()
        await self._compare_payments()

    async def end(self) -> None:
        """Let everything come to rest; compare; look at the whole history."""
        for order in self.orders:
            if order.status in UNPAID:
                await self.lapse(order)
        await self.expire_due(1000)
        for _ in range(2):
            await self.reconcile()
        for _ in range(2):
            await self.run_all_jobs()
        await self.compare()
        assert self.model.unresolved() == []
        assert {order.status for order in self.orders} <= {"completed", *ENDED}
        for order in self.orders:
            assert (order.status == "completed") == (order.received > 0)
            assert order.capturable == 0
        await self._publish()
        await self._assert_history_is_whole()
        findings = await examine(self._on.system.settings)
        assert [one for one in findings if one.offenders and one.invariant not in NOT_HERE] == []

    async def close(self, *, wipe: bool) -> None:
        """`wipe`: this example went wrong, and what it left must not be the next one's fault."""
        for person in self.people:
            await person.http.aclose()
        if wipe:
            await self._on.shop.rows.execute(_WIPE)

    async def _compare_what_the_api_shows(self) -> None:
        with_orders = [person for person in self.people if any(o.buyer == person.name for o in self.orders)]
        anybody = self.buyers[0]
        withdrawn = "&status=withdrawn"
        replies = await self._on.reader.get(
            *((anybody, f"/api/shows/{show_id}") for show_id in self.shows),
            *((anybody, f"/api/tickets?limit=100&show_id={show_id}") for show_id in self.shows),
            *((anybody, f"/api/tickets?limit=100&show_id={show_id}{withdrawn}") for show_id in self.shows),
            *((person, "/api/orders?limit=100") for person in with_orders),
        )
        shows = replies[: len(self.shows)]
        lists = [one for reply in replies[len(self.shows) :] for one in reply["items"]]
        for show in shows:
            counts = self.model.counts(show["id"])
            assert {name: show[name] for name in counts._fields} == counts._asdict()
        assert {one["id"]: _ticket_shown(one) for one in lists if "seller_id" in one} == {
            ticket.id: _ticket_expected(ticket) for ticket in self.model.tickets
        }
        assert {one["id"]: _order_shown(one) for one in lists if "buyer_id" in one} == {
            order.id: _order_expected(order) for order in self.orders
        }

    async def _compare_payments(self) -> None:
        paid = [order for order in self.orders if order.attempts]
        if not paid:
            return
        rows = await self._on.shop.rows.fetch(
            """
            select order_id::text, array_agg(status order by attempt) as statuses from payments.payments
            where order_id = any ($1) group by order_id
            """,
            [UUID(order.id) for order in paid],
        )
        attempts = {order.id: [attempt.status for attempt in order.attempts] for order in paid}
        assert {row["order_id"]: row["statuses"] for row in rows} == attempts
        money: dict[str, tuple[int, int]] = {}
        for intent in await self._ledger(sum(len(order.attempts) for order in paid)):
            order_id = intent["metadata"].get("order_id")
            received, capturable = money.get(order_id, (0, 0))
            money[order_id] = (
                received + intent["amount_received"] - intent["refunded"],
                capturable + intent["amount_capturable"],
            )
        expected = {order.id: (order.received, order.capturable) for order in paid}
        assert {order_id: money.get(order_id, (0, 0)) for order_id in expected} == expected

    async def _assert_history_is_whole(self) -> None:
        """Each subject's events are numbered from one, without a gap, up to what its row has."""
        gaps = await self._on.shop.rows.fetch(
            """
            select o.subject, array_agg(o.type || ' ' || o.version order by o.id) as told
            from events.outbox o group by o.subject
            having array_agg(o.version order by o.id) <> array(select generate_series(1, count(o.id)))
            """
        )
        assert [tuple(row) for row in gaps] == []
        newest = {
            row["subject"]: row["version"]
            for row in await self._on.shop.rows.fetch(
                "select subject::text, max(version) as version from events.outbox group by subject"
            )
        }
        versions = {ticket.id: ticket.version for ticket in self.model.tickets}
        versions |= {order.id: order.version for order in self.orders}
        assert {subject: newest[subject] for subject in versions} == versions

    async def _publish(self) -> None:
        while await self._on.relay.turn(self._on.relay_connection):
            pass

    async def _handle_webhook(self, event_id: str) -> None:
        await workers.payments.handle_webhook(self._on.jobs, event_id)
        if event_id not in self._handled:
            self._handled.add(event_id)
            self.model.look(self._delivered[event_id])

    async def _learn_intent(self, order: Order) -> None:
        for row in await self._on.shop.rows.fetch(
            "select distinct intent_id from payments.payments where order_id = $1 and intent_id is not null",
            UUID(order.id),
        ):
            self._intents[row["intent_id"]] = order

    async def _ledger(self, newest: int) -> list[Json]:
        reply = await self._on.shop.stripe._http.get("/sandbox/ledger", params={"limit": newest})
        lines: list[Json] = reply.json()["data"]
        return lines

    async def _captured(self, orders: Sequence[Order]) -> set[str]:
        rows = await self._on.shop.rows.fetch(
            "select order_id::text from payments.payments where status = 'captured' and order_id = any ($1)",
            [UUID(order.id) for order in orders],
        )
        return {row["order_id"] for row in rows}

    async def _send(
        self,
        person: Person,
        method: str,
        path: str,
        body: Any = None,
        *,
        if_match: int | None = None,
        key: str | None = None,
        again: Callable[[str], Awaitable[object]] | None = None,
        kept: bool = False,
    ) -> httpx.Response:
        """A request under a key, which is remembered. `kept`: also when it is a refusal."""
        key = key or f"key-{next(self._numbers)}"
        headers = {"Idempotency-Key": key}
        if if_match is not None:
            headers["If-Match"] = f'"{if_match}"'
        reply = await person.http.request(method, path, json=body, headers=headers)
        self._sent[key] = Sent(
            person, method, path, body, headers, reply, kept or reply.is_success, again or _never
        )
        return reply

    def _order(self, order_id: str) -> Order:
        return next(order for order in self.orders if order.id == order_id)


def _ticket_shown(ticket: Json) -> tuple[Any, ...]:
    held = ticket["held_until"] is not None
    return ticket["status"], ticket["price"], ticket["currency"], ticket["version"], held


def _ticket_expected(ticket: Ticket) -> tuple[Any, ...]:
    status = ticket.shown_status
    return status, ticket.price, ticket.currency, ticket.version, status == "held"


def _order_shown(order: Json) -> tuple[Any, ...]:
    prices = {line["id"]: line["price"] for line in order["tickets"]}
    money = (order["subtotal"], order["fee"], order["total"], order["currency"])
    return order["status"], prices, money, order["version"], order["seconds_left"] > 0


def _order_expected(order: Order) -> tuple[Any, ...]:
    prices = {ticket.id: price for ticket, price in order.prices.items()}
    money = (order.subtotal, order.fee, order.total, order.currency)
    return order.shown_status, prices, money, order.version, order.is_open


def _accepted(reply: httpx.Response, status: int, refusals: set[Refusal]) -> bool:
    """Whether it was done, as it must be when nothing speaks against it."""
    if refusals:
        assert not reply.is_success, (reply.text, refusals)
        assert code(reply) in refusals, (reply.text, refusals)
        return False
    assert reply.status_code == status, reply.text
    return True


def _outcome(reply: httpx.Response) -> tuple[int, str]:
    return (201, reply.json()["status"]) if reply.status_code == 201 else code(reply)


def _another(body: Any) -> Any:
    """A body that asks for something else."""
    match body:
        case None:
            return None
        case {"payment_method": _}:
            return body | {"payment_method": "pm_card_amex"}
        case {"tickets": tickets}:
            return {"tickets": 2 * tickets}
        case {"price": price}:
            return body | {"price": price + 1}
    return {"ticket_id": str(uuid4())}


def _intent_of(event: Json) -> str:
    subject = event["data"]["object"]
    return subject["id"] if subject["object"] == "payment_intent" else subject.get("payment_intent") or ""


async def _never(_key: str) -> None:
    raise AssertionError("this request is never refused for the moment")
