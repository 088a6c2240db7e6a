"""Simulated users browse, sign up, list, hold, pay and cancel; the outcome of each request is kept.

No request is repeated, so each failure is visible.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple
from uuid import uuid4

import httpx

from tests import factories
from tests.factories import Json
from tests.system import Person, System

# Expected refusals: a ticket of another buyer, an ended hold, a declined card.
ANSWERS = frozenset({200, 201, 204, 402, 409})
THINK_SECONDS = 0.03
STOCK = 40
# Settings with which few simulated users make the load of many, for minutes.
ENVIRONMENT = {
    "HOLD_SECONDS": "3",
    "MAX_OPEN_ORDERS": "100",
    "MAX_TICKETS_PER_SHOW": "10000",
}


class Failure(NamedTuple):
    """`status` is None when no reply came."""

    method: str
    path: str
    status: int | None
    error: str


class Crowd:
    def __init__(self, system: System, show_id: str) -> None:
        self.answers: Counter[tuple[str, str, int]] = Counter()
        self.failures: list[Failure] = []
        self._system = system
        self._show_id = show_id
        self._stopping = False

    def created(self, route: str) -> int:
        """The number of POSTs to this route that got a 201."""
        return self.answers["POST", route, 201]

    def stop(self) -> None:
        """Let every user complete the current step, then stop."""
        self._stopping = True

    async def play(self, seller: Person, *, buyers: int) -> None:
        """Run until `stop` is called."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._again(lambda: self._sell(seller)))
            tasks.create_task(self._again(self._join))
            for number in range(buyers):
                buyer = self._system.person(f"buyer{number}")
                tasks.create_task(self._again(partial(self._visit, buyer)))

    async def _again(self, visit: Callable[[], Awaitable[None]]) -> None:
        while not self._stopping:
            await visit()
            await asyncio.sleep(random.uniform(0, 2 * THINK_SECONDS))

    async def _sell(self, seller: Person) -> None:
        """Keep some tickets on sale, so that the show never sells out."""
        show = await self._request(seller, "GET", "/api/shows/{id}", id=self._show_id)
        if show is not None and show["available"] < STOCK:
            spec = {"price": 4500, "currency": "EUR"}
            await self._request(
                seller,
                "POST",
                "/api/shows/{id}/tickets",
                {"tickets": [spec] * STOCK},
                id=self._show_id,
            )

    async def _join(self) -> None:
        """A new user opens the shop and signs up."""
        visitor = self._system.person("visitor")
        await self._request(visitor, "GET", "/shop.json")
        body = {"email": f"{uuid4().hex}@example.com", "password": "correct horse battery"}
        await self._request(visitor, "POST", "/api/users/signup", body)
        await self._request(visitor, "GET", "/api/users/currentuser")
        await visitor.http.aclose()

    async def _visit(self, buyer: Person) -> None:
        tickets = await self._request(
            buyer, "GET", f"/api/tickets?status=available&limit=50&show_id={self._show_id}"
        )
        if not tickets or not tickets["items"]:
            return
        ticket_id = random.choice(tickets["items"])["id"]
        order = await self._request(buyer, "POST", "/api/orders", {"ticket_id": ticket_id})
        if order is None:
            return
        match random.random():
            case chance if chance < 0.6:
                body = {"order_id": order["id"], "payment_method": "pm_card_visa"}
                await self._request(buyer, "POST", "/api/payments", body)
            case chance if chance < 0.7:
                body = {"order_id": order["id"], "payment_method": "pm_card_chargeDeclined"}
                await self._request(buyer, "POST", "/api/payments", body)
            case chance if chance < 0.9:
                await self._request(buyer, "DELETE", "/api/orders/{id}", id=order["id"])
        await self._request(buyer, "GET", "/api/orders/{id}", id=order["id"])

    async def _request(
        self, by: Person, method: str, route: str, body: Json | None = None, **ids: str
    ) -> Any:
        """Return the reply's body, or None when the request was refused or failed."""
        path = route.format(**ids)
        headers = {"Idempotency-Key": str(uuid4())} if method != "GET" else {}
        try:
            reply = await by.http.request(method, path, json=body, headers=headers)
        except httpx.TransportError as error:
            self.failures.append(Failure(method, path, None, repr(error)))
            return None
        if reply.status_code not in ANSWERS:
            self.failures.append(Failure(method, path, reply.status_code, reply.text[:300]))
            return None
        self.answers[method, route.partition("?")[0], reply.status_code] += 1
        return reply.json() if reply.is_success and reply.content else None


@asynccontextmanager
async def playing(system: System, *, buyers: int) -> AsyncIterator[Crowd]:
    """Simulated users of one show while the block runs; at its end they complete a step."""
    seller = system.person("crowd-seller")
    crowd = Crowd(system, (await factories.show(seller))["id"])
    task = asyncio.create_task(crowd.play(seller, buyers=buyers))
    try:
        yield crowd
    finally:
        crowd.stop()
        await task
