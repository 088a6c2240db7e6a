"""Payments and refunds, made at the shop and at Stripe, and applied to the model."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from uuid import UUID

import httpx

from tests.replies import code
from tests.search import refunds
from tests.search.entities import Order, Refund, Ticket
from tests.search.model import Model
from tests.search.paying import CALLS, Fault, Paying
from tests.search.requests import Requests
from tests.search.running_system import Meanwhile, RunningSystem
from tests.system import Person

REQUEST_REFUND = "POST /v1/refunds"


class PaymentActions:
    """`intents` maps the id of each of Stripe's intents to its order."""

    def __init__(self, running: RunningSystem, model: Model, requests: Requests) -> None:
        self.intents: dict[str, Order] = {}
        self._running = running
        self._model = model
        self._requests = requests

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
        """`meanwhile` runs in the payment's `pause`. `fault`: the call to Stripe that fails."""
        if (
            fault is not None
            and fault.call == "create"
            and (order.intent is not None or pause is not None)
        ):
            # The intent exists, or will exist before the pause.
            fault = None
        refusals = self._model.against_payment(person.name, order)
        paying = Paying(self._model, order, method)

        async def misbehave() -> None:
            if fault is not None:
                paying.fault = fault
                await self._running.shop.stripe.faults(
                    match=CALLS[fault.call], fail_next=1, fail_when=fault.when
                )

        async def in_the_pause() -> None:
            paying.go_to(pause)
            await self._learn_intent(order)
            if meanwhile is not None:
                await meanwhile()
            await misbehave()

        if pause is not None:
            self._running.pauses.at(pause, in_the_pause)
        elif not refusals:
            await misbehave()
        if not refusals:
            paying.begin()
        reply = await self._requests.send(
            person,
            "POST",
            "/api/payments",
            {"order_id": order.id, "payment_method": method},
            key=key,
            again=lambda key: self.pay(person, order, method, key=key),
            kept=not refusals and not (fault and fault.call == "create"),
        )
        if fault is not None:
            await self._running.shop.stripe.faults(match="", fail_next=0)
        self._running.pauses.end()
        if refusals:
            assert code(reply) in refusals, (reply.text, refusals)
            return
        expected = paying.end()
        assert _outcome(reply) == expected, (reply.text, expected)
        await self._learn_intent(order)

    async def authenticate(self, order: Order, *, succeed: bool) -> None:
        """Answer 3-D Secure as the buyer. The shop learns the result from a webhook only."""
        assert order.intent == "requires_action"
        await self._running.shop.stripe.authenticate(order.id, "succeed" if succeed else "fail")
        order.intent = "requires_capture" if succeed else "requires_payment_method"

    async def authorisation_expires(self, order: Order) -> None:
        """Expire the authorisation at Stripe, as it does after days."""
        assert order.intent == "requires_capture"
        await self._running.shop.stripe.expire(order.id)
        order.intent = "canceled"

    async def refund(
        self,
        person: Person,
        order: Order,
        *,
        relist: bool,
        tickets: Sequence[Ticket] | None = None,
        meanwhile: Callable[[str], Awaitable[object]] | None = None,
        fault: str | None = None,
        key: str | None = None,
    ) -> None:
        """`meanwhile` runs before the call to Stripe, which fails `before` or `after` it works."""
        key = key or self._requests.new_key()
        refusals = refunds.against(person.name, order, relist=relist, tickets=tickets)
        refund = (
            None if refusals else refunds.begin(person.name, order, relist=relist, tickets=tickets)
        )
        if refund and meanwhile is not None:
            self._running.pauses.at("request_refund", partial(meanwhile, key))
        if refund and fault is not None:
            await self._running.shop.stripe.faults(
                match=REQUEST_REFUND, fail_next=1, fail_when=fault
            )
        reply = await self._requests.send(
            person,
            "POST",
            f"/api/orders/{order.id}/refund",
            {"relist": relist} | _lines(tickets),
            key=key,
            again=lambda key: self.refund(person, order, relist=relist, tickets=tickets, key=key),
        )
        if refund and fault is not None:
            await self._running.shop.stripe.faults(match="", fail_next=0)
        self._running.pauses.end()
        if refund is None:
            assert code(reply) in refusals, (reply.text, refusals)
            return
        if fault is None:
            refunds.ask(order, refund)
        elif fault == "after":
            refunds.at_stripe(order, refund)
        if refund.status == "failed":
            assert code(reply) == (409, "refund_refused")
        else:
            _assert_describes(reply, order, refund)

    async def refund_in_flight(
        self,
        person: Person,
        order: Order,
        *,
        relist: bool,
        tickets: Sequence[Ticket] | None,
        key: str,
    ) -> None:
        """Send the same request while the first is in progress."""
        path, headers = f"/api/orders/{order.id}/refund", {"Idempotency-Key": key}
        body = {"relist": relist} | _lines(tickets)
        reply = await person.http.post(path, json=body, headers=headers)
        assert code(reply) == (409, "idempotency_key_in_flight")

    async def settle_refund(self, order: Order, *, succeed: bool) -> None:
        """Decide about the newest refund as the bank does after days. The shop learns it from a
        webhook or by reading.
        """
        made = refunds.settleable(order, succeed=succeed)[0]
        place = len(order.returns) - 1 - order.returns.index(made)
        outcome = "succeed" if succeed else "fail"
        await self._running.shop.stripe.settle_refund(order.id, outcome, place)
        made.status = "succeeded" if succeed else "failed"

    async def refund_by_hand(self, order: Order) -> None:
        """Refund the order, or the rest of it, by hand at Stripe, without the shop."""
        await self._running.shop.stripe.refund_by_hand(order.id)
        assert refunds.at_stripe(order, None).returned is not None

    async def _learn_intent(self, order: Order) -> None:
        for row in await self._running.shop.rows.fetch(
            "select distinct intent_id from payments.payments "
            "where order_id = $1 and intent_id is not null",
            UUID(order.id),
        ):
            self.intents[row["intent_id"]] = order


def _outcome(reply: httpx.Response) -> tuple[int, str]:
    return (201, reply.json()["status"]) if reply.status_code == 201 else code(reply)


def _assert_describes(reply: httpx.Response, order: Order, refund: Refund) -> None:
    assert reply.status_code == (200 if refund.status == "succeeded" else 202), reply.text
    body = reply.json()
    assert (body["id"], body["status"], body["version"]) == (order.id, order.status, order.version)
    described = {name: value for name, value in body["refund"].items() if name != "id"}
    money = {"amount": refund.amount, "currency": order.currency}
    lines = {"lines": sorted(ticket.id for ticket in refund.tickets)}
    assert described == {"status": refund.status, "relist": refund.relist} | money | lines


def _lines(tickets: Sequence[Ticket] | None) -> dict[str, list[str]]:
    return {} if tickets is None else {"lines": [ticket.id for ticket in tickets]}
