"""A seller and buyers who keep their word: each sends the same request under the same key until it is answered."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import httpx

from backend.kernel import database
from backend.kernel.database import Pool
from tests.crash.parts import LOST
from tests.factories import SHOW, Json
from tests.payments.shop import Stripe
from tests.system import PLAIN, STRIPE_KEY, Person, System

PATIENCE_SECONDS = 25.0
PAUSE_SECONDS = 0.03
HOLD_SECONDS = "2"
PASSWORD = "correct horse battery"


class Promise(NamedTuple):
    """A 2xx that somebody got."""

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
    """One system and all that was promised by it."""

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
        # What each order must end as, and what must have become of its ticket.
        self.ends: dict[str, str] = {}

    async def ask(self, by: Person, method: str, path: str, body: Any = None) -> httpx.Response:
        """The answer, whatever it takes. A lost reply, a 5xx and `in flight` are no answer."""
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
        except LOST as fault:
            self._last = repr(fault)
            return None
        self._last = f"{reply.status_code} {reply.text}"
        if reply.status_code >= 500:
            return None
        if reply.status_code == 409 and reply.json()["code"] == "idempotency_key_in_flight":
            # This client has one request at a time: the process that had the other one is dead.
            await self.forget_the_dead(by.id)
            return None
        return reply

    async def forget_the_dead(self, buyer_id: UUID) -> None:
        """An attempt whose process died is given up after half a minute, which nobody need wait for here."""
        with suppress(*database.UNAVAILABLE):
            await self.rows.execute(
                """
                update payments.payments
                set created_at = created_at - interval '40 s', reconciled_at = reconciled_at - interval '40 s'
                where buyer_id = $1
                  and (reply_status is null or status in ('started', 'requires_action', 'authorised'))
                """,
                buyer_id,
            )

    async def time_passes(self) -> None:
        """For the reconciler, when no request is under way: what stands still has stood long enough."""
        await self.rows.execute(
            """
            update payments.payments set reconciled_at = reconciled_at - interval '40 s', created_at = created_at - interval '40 s'
            where status in ('started', 'requires_action', 'authorised')
            """
        )
        await self.rows.execute(
            "update payments.webhook_events set received_at = received_at - interval '40 s' where handled_at is null"
        )

    async def play(self) -> None:
        """The whole story once, by new people."""
        seller = self.system.person("seller")
        show = await self._made(seller, "/api/shows", SHOW)
        spec = {"price": 4500, "currency": "EUR"}
        path = f"/api/shows/{show['id']}/tickets"
        listed = (await self._made(seller, path, {"tickets": [spec] * 4}))["items"]
        single, withdrawn = [
            await self._made(seller, "/api/tickets", {"show_id": show["id"], **spec})
            for _ in range(2)
        ]
        stories: list[tuple[Callable[[Person, Json], Coroutine[Any, Any, None]], Json]] = [
            (self._lets_it_lapse, single),
            (self._pays, listed[0]),
            (self._cancels, listed[1]),
            (self._is_declined_first, listed[2]),
            (self._authenticates, listed[3]),
        ]
        async with asyncio.TaskGroup() as people:
            for story, ticket in stories:
                people.create_task(story(self.system.person(story.__name__.strip("_")), ticket))
            people.create_task(self._edits_and_withdraws(seller, withdrawn))
            people.create_task(self._signs_up(f"{uuid4().hex}@example.com"))

    async def _pays(self, buyer: Person, ticket: Json) -> None:
        await self._buys(buyer, ticket, "pm_card_visa")

    async def _lets_it_lapse(self, buyer: Person, ticket: Json) -> None:
        order = await self._holds(buyer, ticket)
        self.ends[order["id"]] = "expired"
        await self._until_it_is(buyer, order, "expired")

    async def _cancels(self, buyer: Person, ticket: Json) -> None:
        while True:
            order = await self._holds(buyer, ticket)
            reply = await self.ask(buyer, "DELETE", f"/api/orders/{order['id']}")
            self.ends[order["id"]] = "cancelled" if reply.status_code == 204 else "expired"
            if reply.status_code == 204:
                return
            assert reply.json().get("order_status") == "expired", reply.text

    async def _is_declined_first(self, buyer: Person, ticket: Json) -> None:
        while True:
            order = await self._holds(buyer, ticket)
            reply = await self._pay(buyer, order, "pm_card_chargeDeclined")
            if reply.status_code == 402:
                break
            self._expired(order, reply)
        reply = await self._pay_with_patience(buyer, order, "pm_card_visa")
        assert reply.status_code == 201, reply.text
        await self._completed(buyer, order)

    async def _authenticates(self, buyer: Person, ticket: Json) -> None:
        order = await self._buys(buyer, ticket, "pm_card_authenticationRequired")
        assert self.ends[order["id"]] == "completed"

    async def _edits_and_withdraws(self, seller: Person, ticket: Json) -> None:
        path = f"/api/tickets/{ticket['id']}"
        assert (await self.ask(seller, "PUT", path, {"price": 5000})).status_code == 200
        assert (await self.ask(seller, "DELETE", path)).status_code == 204

    async def _signs_up(self, email: str) -> None:
        """A repeat that finds the account there was answered by the first, whose reply was lost."""
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

    async def _buys(self, buyer: Person, ticket: Json, method: str) -> Json:
        """Until it is bought: a hold may run out while everything is down."""
        while True:
            order = await self._holds(buyer, ticket)
            reply = await self._pay_with_patience(buyer, order, method)
            if reply.status_code == 201:
                await self._completed(buyer, order, reply.json()["status"])
                return order
            self._expired(order, reply)

    async def _holds(self, buyer: Person, ticket: Json) -> Json:
        return await self._made(buyer, "/api/orders", {"ticket_ids": [ticket["id"]]})

    async def _made(self, by: Person, path: str, body: Json) -> Json:
        reply = await self.ask(by, "POST", path, body)
        assert reply.status_code == 201, reply.text
        made: Json = reply.json()
        return made

    async def _pay(self, buyer: Person, order: Json, method: str) -> httpx.Response:
        return await self.ask(
            buyer, "POST", "/api/payments", {"order_id": order["id"], "payment_method": method}
        )

    async def _pay_with_patience(self, buyer: Person, order: Json, method: str) -> httpx.Response:
        """Again when the attempt came to nothing before the card was asked."""
        while (reply := await self._pay(buyer, order, method)).status_code == 402:
            assert reply.json()["code"] == "abandoned", reply.text
        return reply

    async def _completed(self, buyer: Person, order: Json, status: str = "") -> None:
        self.ends[order["id"]] = "completed"
        if status == "requires_action":
            await self._answers_the_bank(order)
        await self._until_it_is(buyer, order, "completed")

    async def _answers_the_bank(self, order: Json) -> None:
        (asked,) = [
            intent
            for intent in await self.stripe.intents()
            if intent["metadata"].get("order_id") == order["id"]
            and intent["status"] == "requires_action"
        ]
        path = f"/sandbox/payment_intents/{asked['id']}/authenticate"
        (await self._bank.post(path, json={"outcome": "succeed"})).raise_for_status()

    def _expired(self, order: Json, reply: httpx.Response) -> None:
        assert (reply.status_code, reply.json()["code"]) == (409, "order_expired"), reply.text
        self.ends[order["id"]] = "expired"

    async def _until_it_is(self, buyer: Person, order: Json, status: str) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                reply = await self._try(buyer, "GET", f"/api/orders/{order['id']}", None, "")
                if reply is not None and reply.json()["status"] == status:
                    return
                await asyncio.sleep(PAUSE_SECONDS)


@asynccontextmanager
async def opened(system: System) -> AsyncIterator[World]:
    """A world on this system, with Stripe's sandbox."""
    headers = {"Authorization": f"Bearer {STRIPE_KEY}"}
    async with (
        system.part("stripe"),
        httpx.AsyncClient(
            base_url=system.stripe_url, headers=headers, timeout=10, verify=PLAIN
        ) as bank,
    ):
        # Many people act at once, and some of them look at rows.
        rows = await database.open_pool(system.settings.database_url, name="tests", size=6)
        try:
            yield World(system, rows, bank)
        finally:
            await database.close_pool(rows)
