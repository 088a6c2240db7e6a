"""A seller and a buyer; they complete a sale through an ingress."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx

from backend.kernel.principal import SESSION_COOKIE
from tests.embedded.running import sign_up
from tests.factories import SHOW
from tests.push.watcher import Endpoint, Watcher

# Statuses of a call to a service that was just killed.
TRIED_SECONDS = 45.0


class Market:
    """A seller with a show and a buyer, connected through the ingress."""

    def __init__(self, seller: httpx.AsyncClient, buyer: httpx.AsyncClient) -> None:
        self.seller = seller
        self.buyer = buyer
        self.show_id = self.email = self.private = ""
        self.push: dict[str, Any] = {}

    async def open(self) -> None:
        await sign_up(self.seller, f"seller-{uuid4().hex[:12]}")
        buyer = await sign_up(self.buyer, f"buyer-{uuid4().hex[:12]}")
        self.email, self.private = buyer["email"], f"private-user-{buyer['id']}"
        self.show_id = (await _created(self.seller.post("/api/shows", json=SHOW)))["id"]
        self.push = (await self.buyer.get("/api/push/config")).json()

    async def ticket(self) -> str:
        body = {"show_id": self.show_id, "price": 4500, "currency": "EUR"}
        ticket_id: str = (await _created(self.seller.post("/api/tickets", json=body)))["id"]
        return ticket_id

    async def order(self, ticket_id: str) -> str:
        order_id: str = (
            await _created(self.buyer.post("/api/orders", json={"ticket_id": ticket_id}))
        )["id"]
        return order_id

    async def pay(self, order_id: str) -> None:
        """Pay as a page does: repeat under the same key until the order is completed."""
        key = str(uuid4())
        body = {"order_id": order_id, "payment_method": "pm_card_visa"}
        async with asyncio.timeout(TRIED_SECONDS):
            while await self.status(order_id) != "completed":
                await _answer(
                    self.buyer, "POST", "/api/payments", json=body, headers={"Idempotency-Key": key}
                )
                await asyncio.sleep(0.3)

    def watcher(self, port: int, *, host: str = "127.0.0.1") -> Watcher:
        """The buyer's browser, subscribed to the show and to the buyer's private channel."""
        return Watcher(
            host=host,
            port=port,
            key=self.push["key"],
            channels=[f"show-{self.show_id}", self.private],
            auth=Endpoint(
                f"http://{host}:{port}/api/push/auth",
                {"Authorization": f"Bearer {self.buyer.cookies[SESSION_COOKIE]}"},
            ),
        )

    async def status(self, order_id: str) -> str:
        found = await _answer(self.buyer, "GET", f"/api/orders/{order_id}")
        return (
            str(found.json()["status"])
            if found is not None and found.status_code == 200
            else "unknown"
        )


async def _created(asking: Any) -> dict[str, Any]:
    response: httpx.Response = await asking
    assert response.status_code == 201, response.text
    found: dict[str, Any] = response.json()
    return found


async def _answer(
    person: httpx.AsyncClient, method: str, path: str, **more: Any
) -> httpx.Response | None:
    """A reply, or None while no server accepts the connection."""
    try:
        return await person.request(method, path, **more)
    except httpx.HTTPError:
        return None
