"""A seller, a buyer, and the two sides of a payment: our rows and the provider's ledger."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx
import msgspec
from arq.constants import in_progress_key_prefix

from backend.check import check_invariants
from backend.events.resources import open_resources
from backend.kernel import correlation
from backend.kernel.jobs import open_jobs
from backend.payments.payment_flow import PaymentFlow
from backend.payments.provider import Provider
from backend.stripe_sandbox.webhooks import sign
from tests import factories
from tests.factories import Json
from tests.system import STRIPE_KEY, WEBHOOK_SECRET, Person, System, until


class Stripe:
    """The sandbox's controls beside Stripe's own API."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def faults(self, **knobs: Any) -> None:
        (await self._http.post("/sandbox/faults", json=knobs)).raise_for_status()

    async def intents(self) -> list[Json]:
        """The ledger, newest first."""
        found: list[Json] = (
            (await self._http.get("/sandbox/ledger")).raise_for_status().json()["data"]
        )
        return found

    async def intent(self, order_id: str) -> Json:
        """The order's intent, of which there is one."""
        (found,) = [
            line for line in await self.intents() if line["metadata"].get("order_id") == order_id
        ]
        return found

    async def is_intent(self, order_id: str, status: str) -> bool:
        found = [
            line for line in await self.intents() if line["metadata"].get("order_id") == order_id
        ]
        return bool(found) and found[0]["status"] == status

    async def authenticate(self, order_id: str, outcome: str = "succeed") -> None:
        intent = await self.intent(order_id)
        path = f"/sandbox/payment_intents/{intent['id']}/authenticate"
        (await self._http.post(path, json={"outcome": outcome})).raise_for_status()

    async def expire(self, order_id: str) -> None:
        intent = await self.intent(order_id)
        (
            await self._http.post(f"/sandbox/payment_intents/{intent['id']}/expire")
        ).raise_for_status()

    async def capture(self, order_id: str) -> None:
        """Capture at Stripe, as an operator may."""
        intent = await self.intent(order_id)
        (await self._http.post(f"/v1/payment_intents/{intent['id']}/capture")).raise_for_status()

    async def cancel(self, order_id: str) -> None:
        """Cancel at Stripe, as an operator may."""
        intent = await self.intent(order_id)
        (await self._http.post(f"/v1/payment_intents/{intent['id']}/cancel")).raise_for_status()

    async def refunds(self, order_id: str) -> list[Json]:
        """The order's refunds at Stripe, newest first."""
        intent = await self.intent(order_id)
        reply = await self._http.get("/v1/refunds", params={"payment_intent": intent["id"]})
        found: list[Json] = reply.raise_for_status().json()["data"]
        return found

    async def settle_refund(self, order_id: str, outcome: str, place: int = 0) -> None:
        """Settle a refund, the newest first, as a bank does days later: succeed or fail."""
        refund = (await self.refunds(order_id))[place]
        path = f"/sandbox/refunds/{refund['id']}/settle"
        (await self._http.post(path, json={"outcome": outcome})).raise_for_status()

    async def refund_by_hand(self, order_id: str, amount: int | None = None) -> None:
        intent = await self.intent(order_id)
        given = {} if amount is None else {"amount": str(amount)}
        reply = await self._http.post("/v1/refunds", data={"payment_intent": intent["id"]} | given)
        reply.raise_for_status()

    async def create_foreign_intent(self) -> str:
        """An intent that another merchant's code made."""
        reply = await self._http.post(
            "/v1/payment_intents", data={"amount": "900", "currency": "usd"}
        )
        intent_id: str = reply.raise_for_status().json()["id"]
        return intent_id

    async def events(self) -> list[Json]:
        """All events, oldest first."""
        found: list[Json] = (await self._http.get("/v1/events", params={"limit": 100})).json()[
            "data"
        ]
        return found[::-1]


class Shop:
    def __init__(self, system: System, connection: Any, stripe: Stripe) -> None:
        self.system = system
        self.stripe = stripe
        self.rows = connection
        self.seller = system.person("seller")
        self.buyer = system.person("buyer")

    async def order(self, *, tickets: int = 1, **fields: Any) -> Json:
        listed = [await factories.ticket(self.seller, **fields) for _ in range(tickets)]
        return await factories.order(self.buyer, *(ticket["id"] for ticket in listed))

    async def pay(
        self,
        order: Json,
        method: str = "pm_card_visa",
        *,
        by: Person | None = None,
        key: str | None = None,
    ) -> httpx.Response:
        body = {"order_id": order["id"], "payment_method": method}
        return await (by or self.buyer).post("/api/payments", body, key=key)

    async def paid(self, method: str = "pm_card_visa", *, tickets: int = 1, **fields: Any) -> Json:
        order = await self.order(tickets=tickets, **fields)
        assert (await self.pay(order, method)).json()["status"] == "captured"
        return order

    async def refund(
        self,
        order: Json,
        *,
        by: Person | None = None,
        relist: bool = False,
        key: str | None = None,
        **fields: Any,
    ) -> httpx.Response:
        """`fields` are the other fields of the body, such as `lines`."""
        return await (by or self.seller).post(
            f"/api/orders/{order['id']}/refund", {"relist": relist} | fields, key=key
        )

    async def refunds(self, order: Json) -> list[str]:
        """The statuses of our refunds of this order, oldest first."""
        rows = await self.rows.fetch(
            "select status from payments.refunds where order_id = $1 order by number",
            UUID(order["id"]),
        )
        return [row["status"] for row in rows]

    async def until_refund(self, order: Json, status: str) -> None:
        """Wait for the newest refund's status, and until no webhook job runs."""
        redis = self.system.redis()
        waiting = "select count(*) from payments.webhook_events where handled_at is null"

        async def done() -> bool:
            if (await self.refunds(order))[-1:] != [status] or await self.rows.fetchval(waiting):
                return False
            return not await redis.keys(f"{in_progress_key_prefix}webhook:*")

        await until(done, seconds=10)

    async def order_reply(self, order: Json) -> Json:
        found: Json = (await self.buyer.get(f"/api/orders/{order['id']}")).json()
        return found

    async def order_status(self, order: Json) -> str:
        status: str = (await self.buyer.get(f"/api/orders/{order['id']}")).json()["status"]
        return status

    async def ticket_status(self, order: Json) -> str:
        """The one status that all the order's tickets have."""
        paths = [f"/api/tickets/{ticket['id']}" for ticket in order["tickets"]]
        (status,) = {(await self.buyer.get(path)).json()["status"] for path in paths}
        return str(status)

    async def state(self, order: Json) -> tuple[str, str]:
        return await self.order_status(order), await self.ticket_status(order)

    async def attempts(self, order: Json) -> list[str]:
        rows = await self.rows.fetch(
            "select status from payments.payments where order_id = $1 order by attempt",
            UUID(order["id"]),
        )
        return [row["status"] for row in rows]

    async def is_attempt(self, order: Json, status: str) -> bool:
        return (await self.attempts(order))[-1:] == [status]

    async def event_types(self, order: Json) -> list[str]:
        """The types of the outbox's order and payment events of this order."""
        rows = await self.rows.fetch(
            """
            select type from events.outbox
            where subject = $1::uuid
               or data ->> 'order_id' = $1::uuid::text and type like 'payment.%'
            order by id
            """,
            UUID(order["id"]),
        )
        return [row["type"] for row in rows]

    async def make_overdue(self, order: Json) -> None:
        """Move the end of the hold into the past, without expiring the order."""
        async with self.rows.transaction():
            await self.rows.execute(
                "update tickets.tickets set held_until = now() - interval '1 ms' "
                "where order_id = $1",
                UUID(order["id"]),
            )
            await self.rows.execute(
                "update orders.orders set expires_at = now() - interval '1 ms' where id = $1",
                UUID(order["id"]),
            )

    async def assert_paid_once(self, order: Json) -> None:
        """Money captured, order completed, tickets sold: each once and for the same amount."""
        intent = await self.stripe.intent(order["id"])
        assert (intent["status"], intent["amount_received"]) == ("succeeded", order["total"])
        assert intent["currency"].upper() == order["currency"]
        assert intent["refunded"] == 0
        assert await self.state(order) == ("completed", "sold")
        assert (await self.attempts(order)).count("captured") == 1
        types = await self.event_types(order)
        assert (types.count("order.completed"), types.count("payment.captured")) == (1, 1)

    async def assert_refunded_once(self, order: Json, *, ticket: str = "withdrawn") -> None:
        """All the money back, order refunded, tickets off it: each once."""
        intent = await self.stripe.intent(order["id"])
        assert (intent["amount_received"], intent["refunded"]) == (order["total"], order["total"])
        given = [refund["amount"] for refund in await self.stripe.refunds(order["id"])]
        assert given == [order["total"]]
        assert await self.state(order) == ("refunded", ticket)
        assert await self.refunds(order) == ["succeeded"]
        assert await self.attempts(order) == ["refunded"]
        types = await self.event_types(order)
        assert (types.count("order.refunded"), types.count("payment.refunded")) == (1, 1)
        live = "select count(*) from orders.lines where order_id = $1 and live"
        assert await self.rows.fetchval(live, UUID(order["id"])) == 0

    async def assert_refunded_lines(self, order: Json) -> None:
        """The money at Stripe is that of the sold lines, and `gittix check` finds no other fault
        with payments.
        """
        intent = await self.stripe.intent(order["id"])
        kept = await self.rows.fetchval(
            "select coalesce(sum(price + fee), 0)::bigint from orders.lines "
            "where order_id = $1 and status = 'sold'",
            UUID(order["id"]),
        )
        pending = intent["refund_pending"]
        assert intent["amount_received"] - intent["refunded"] - pending == kept
        results = (await check_invariants(self.system.settings)).results
        assert {one.invariant: one.violations for one in results if one.violations}.keys() <= {
            "I5",
            "I7",
            "I9",
        }

    async def assert_nothing_taken(self, order: Json) -> None:
        for intent in await self.stripe.intents():
            if intent["metadata"].get("order_id") == order["id"]:
                assert (intent["amount_received"], intent["amount_capturable"]) == (0, 0)
        assert "captured" not in await self.attempts(order)

    async def deliver(
        self, event: Json, *, at: float | None = None, secret: str = WEBHOOK_SECRET
    ) -> httpx.Response:
        """Send one of Stripe's events, signed."""
        body = msgspec.json.encode(event)
        return await self.send_webhook(
            body, sign(body, secret, int(time.time() if at is None else at))
        )

    async def send_webhook(self, body: bytes, signature: str) -> httpx.Response:
        return await self.system.anonymous().post(
            "/api/payments/webhook", content=body, headers={"Stripe-Signature": signature}
        )


@asynccontextmanager
async def open_shop(system: System) -> AsyncIterator[Shop]:
    headers = {"Authorization": f"Bearer {STRIPE_KEY}"}
    async with httpx.AsyncClient(base_url=system.stripe_url, headers=headers, timeout=10) as http:
        yield Shop(system, await system.connect(), Stripe(http))


@asynccontextmanager
async def worker_context(system: System) -> AsyncIterator[dict[str, Any]]:
    """The context that arq passes to the jobs of payments, with a bound correlation id."""
    settings = system.settings
    provider = Provider(settings.stripe_api_key, settings.stripe_api_base)
    jobs = open_jobs(settings.redis_url, name="tests-jobs")
    try:
        with correlation.bound():
            async with open_resources(settings, "payments") as stores:
                yield {
                    "payments": stores,
                    "payment_flow": PaymentFlow(stores, provider),
                    "redis": jobs,
                }
    finally:
        await provider.close()
        await jobs.aclose()


__all__ = ["Shop", "Stripe", "open_shop", "until", "worker_context"]
