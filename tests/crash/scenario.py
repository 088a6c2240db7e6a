"""A seller and buyers that repeat each request under the same idempotency key until they get a
reply.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import httpx

from backend.kernel import database
from backend.kernel.database import Pool
from tests.crash.processes import LOST
from tests.factories import SHOW, Json
from tests.payments.shop import Stripe
from tests.system import PLAIN, STRIPE_KEY, Person, System

# A payment whose process died during its challenge is taken up after 15 seconds, an interrupted
# resumption 10 seconds later, and I2 allows 60.
PATIENCE_SECONDS = 45.0
PAUSE_SECONDS = 0.03
HOLD_SECONDS = "2"
PASSWORD = "correct horse battery"


class Promise(NamedTuple):
    """A 2xx reply that a client received."""

    by: Person
    method: str
    path: str
    body: Any
    key: str
    status: int
    content: bytes

    @property
    def json(self) -> Json:
        found: Json = httpx.Response(200, content=self.content).json()
        return found


class World:
    """One system, the promises it made by its replies, and the expected ends of its orders."""

    def __init__(self, system: System, rows: Pool, bank: httpx.AsyncClient) -> None:
        self.system = system
        self.rows = rows
        self.stripe = Stripe(bank)
        self.visitor = system.anonymous()
        self.redis = system.redis()
        self._bank = bank
        self._last = "not answered"
        self.promises: list[Promise] = []
        self.accounts: list[str] = []
        # The expected final status of each order.
        self.ends: dict[str, str] = {}

    async def request(self, by: Person, method: str, path: str, body: Any = None) -> httpx.Response:
        """Repeat a request until it is answered.

        A lost reply, a 5xx or `idempotency_key_in_flight` is no answer.
        """
        key = str(uuid4())
        clock = asyncio.get_running_loop().time
        end = clock() + PATIENCE_SECONDS
        while (reply := await self._try(by, method, path, body, key)) is None:
            assert clock() < end, f"{method} {path} {body}: {self._last}"
            await asyncio.sleep(PAUSE_SECONDS)
        if reply.is_success:
            self.promises.append(
                Promise(by, method, path, body, key, reply.status_code, reply.content)
            )
        return reply

    async def _try(
        self, by: Person, method: str, path: str, body: Any, key: str
    ) -> httpx.Response | None:
        try:
            reply = await by.http.request(
                method, path, json=body, headers={"Idempotency-Key": key} if key else {}
            )
        except LOST as error:
            self._last = repr(error)
            return None
        self._last = f"{reply.status_code} {reply.text}"
        if reply.status_code >= 500:
            return None
        if reply.status_code == 409 and reply.json()["code"] == "idempotency_key_in_flight":
            # This client sends one request at a time, so the process that handled the first try is
            # dead.
            await self.abandon_dead_attempts(by.id)
            return None
        return reply

    async def abandon_dead_attempts(self, buyer_id: UUID) -> None:
        """Make attempts of dead processes overdue, instead of waiting half a minute."""
        with suppress(*database.UNAVAILABLE):
            await self.rows.execute(
                """
                update payments.payments
                set created_at = created_at - interval '40 s',
                    reconciled_at = reconciled_at - interval '40 s'
                where buyer_id = $1
                  and (reply_status is null
                      or status in ('started', 'requires_action', 'authorised'))
                """,
                buyer_id,
            )

    async def make_overdue(self) -> None:
        """Make unfinished payments and webhooks overdue, while no request is in progress."""
        await self.rows.execute(
            """
            update payments.payments
                set reconciled_at = reconciled_at - interval '40 s',
                created_at = created_at - interval '40 s'
            where status in ('started', 'requires_action', 'authorised')
            """
        )
        await self.rows.execute(
            "update payments.webhook_events set received_at = received_at - interval '40 s' where"
            " handled_at is null"
        )

    async def play(self) -> None:
        """Run the whole scenario once, with new users."""
        seller = self.system.person("seller")
        show = await self._create(seller, "/api/shows", SHOW)
        spec = {"price": 4500, "currency": "EUR"}
        path = f"/api/shows/{show['id']}/tickets"
        listed = (await self._create(seller, path, {"tickets": [spec] * 4}))["items"]
        single, withdrawn = [
            await self._create(seller, "/api/tickets", {"show_id": show["id"], **spec})
            for _ in range(2)
        ]
        journeys: list[tuple[Callable[[Person, Json], Coroutine[Any, Any, None]], Json]] = [
            (self._lets_the_hold_expire, single),
            (self._pays, listed[0]),
            (self._cancels, listed[1]),
            (self._is_declined_first, listed[2]),
            (self._pays_with_3d_secure, listed[3]),
        ]
        async with asyncio.TaskGroup() as tasks:
            for journey, ticket in journeys:
                tasks.create_task(journey(self.system.person(journey.__name__.strip("_")), ticket))
            tasks.create_task(self._edits_and_withdraws(seller, withdrawn))
            tasks.create_task(self._signs_up(f"{uuid4().hex}@example.com"))

    async def _pays(self, buyer: Person, ticket: Json) -> None:
        await self._buy(buyer, ticket, "pm_card_visa")

    async def _lets_the_hold_expire(self, buyer: Person, ticket: Json) -> None:
        order = await self._hold(buyer, ticket)
        self.ends[order["id"]] = "expired"
        await self._wait_for_status(buyer, order, "expired")

    async def _cancels(self, buyer: Person, ticket: Json) -> None:
        while True:
            order = await self._hold(buyer, ticket)
            reply = await self.request(buyer, "DELETE", f"/api/orders/{order['id']}")
            self.ends[order["id"]] = "cancelled" if reply.status_code == 204 else "expired"
            if reply.status_code == 204:
                return
            assert reply.json().get("order_status") == "expired", reply.text

    async def _is_declined_first(self, buyer: Person, ticket: Json) -> None:
        while True:
            order = await self._hold(buyer, ticket)
            reply = await self._pay(buyer, order, "pm_card_chargeDeclined")
            if reply.status_code == 402:
                break
            self._record_expiry(order, reply)
        reply = await self._pay_unless_abandoned(buyer, order, "pm_card_visa")
        assert reply.status_code == 201, reply.text
        await self._wait_until_completed(buyer, order)

    async def _pays_with_3d_secure(self, buyer: Person, ticket: Json) -> None:
        order = await self._buy(buyer, ticket, "pm_card_authenticationRequired")
        assert self.ends[order["id"]] == "completed"

    async def _edits_and_withdraws(self, seller: Person, ticket: Json) -> None:
        path = f"/api/tickets/{ticket['id']}"
        assert (await self.request(seller, "PUT", path, {"price": 5000})).status_code == 200
        assert (await self.request(seller, "DELETE", path)).status_code == 204

    async def _signs_up(self, email: str) -> None:
        """Sign up. A repeat after a lost reply may find that the first try created the account."""
        body = {"email": email, "password": PASSWORD}
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    reply = await self.visitor.post("/api/users/signup", json=body)
                except LOST:
                    reply = httpx.Response(503)
                if reply.status_code < 500:
                    break
                await asyncio.sleep(PAUSE_SECONDS)
        assert reply.status_code == 201 or reply.json()["code"] == "email_taken", reply.text
        self.accounts.append(email)

    async def _buy(self, buyer: Person, ticket: Json, method: str) -> Json:
        """Repeat until the ticket is bought: a hold may expire while processes are down."""
        while True:
            order = await self._hold(buyer, ticket)
            reply = await self._pay_unless_abandoned(buyer, order, method)
            if reply.status_code == 201:
                await self._wait_until_completed(buyer, order, reply.json()["status"])
                return order
            self._record_expiry(order, reply)

    async def _hold(self, buyer: Person, ticket: Json) -> Json:
        return await self._create(buyer, "/api/orders", {"ticket_ids": [ticket["id"]]})

    async def _create(self, by: Person, path: str, body: Json) -> Json:
        reply = await self.request(by, "POST", path, body)
        assert reply.status_code == 201, reply.text
        created: Json = reply.json()
        return created

    async def _pay(self, buyer: Person, order: Json, method: str) -> httpx.Response:
        return await self.request(
            buyer, "POST", "/api/payments", {"order_id": order["id"], "payment_method": method}
        )

    async def _pay_unless_abandoned(
        self, buyer: Person, order: Json, method: str
    ) -> httpx.Response:
        """Pay, and repeat while the attempt was abandoned before the card was charged."""
        while (reply := await self._pay(buyer, order, method)).status_code == 402:
            assert reply.json()["reason"] == "unavailable", reply.text
        return reply

    async def _wait_until_completed(self, buyer: Person, order: Json, status: str = "") -> None:
        self.ends[order["id"]] = "completed"
        if status == "requires_action":
            await self._authenticate(order)
        await self._wait_for_status(buyer, order, "completed")

    async def _authenticate(self, order: Json) -> None:
        (intent_id,) = [
            intent["id"]
            for intent in await self.stripe.intents()
            if intent["metadata"].get("order_id") == order["id"]
            and intent["status"] == "requires_action"
        ]
        path = f"/sandbox/payment_intents/{intent_id}/authenticate"
        (await self._bank.post(path, json={"outcome": "succeed"})).raise_for_status()

    def _record_expiry(self, order: Json, reply: httpx.Response) -> None:
        assert (reply.status_code, reply.json()["code"]) == (409, "order_expired"), reply.text
        self.ends[order["id"]] = "expired"

    async def _wait_for_status(self, buyer: Person, order: Json, status: str) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                reply = await self._try(buyer, "GET", f"/api/orders/{order['id']}", None, "")
                if reply is not None and reply.json()["status"] == status:
                    return
                await asyncio.sleep(PAUSE_SECONDS)


@asynccontextmanager
async def open_world(system: System) -> AsyncIterator[World]:
    """A world on this system, with Stripe's sandbox."""
    headers = {"Authorization": f"Bearer {STRIPE_KEY}"}
    async with (
        system.part("stripe"),
        httpx.AsyncClient(
            base_url=system.stripe_url, headers=headers, timeout=10, verify=PLAIN
        ) as bank,
    ):
        # Many users act at once, and some read rows.
        rows = await database.open_pool(system.settings.database_url, name="tests", size=6)
        try:
            yield World(system, rows, bank)
        finally:
            await database.close_pool(rows)
