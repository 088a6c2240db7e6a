"""A seller and a buyer over the public API: shows, tickets, orders, and their present state."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx

from tests.embedded.running import sign_up
from tests.shop.instance import Running

Json = dict[str, Any]


class Market:
    def __init__(self, up: Running, seller: httpx.AsyncClient, buyer: httpx.AsyncClient) -> None:
        self.up = up
        self.seller = seller
        self.buyer = buyer

    async def open(self) -> None:
        await sign_up(self.seller, f"seller-{uuid4().hex[:8]}")
        await sign_up(self.buyer, f"buyer-{uuid4().hex[:8]}")

    async def show(self, title: str = "Harbour Lights", **fields: Any) -> str:
        body = {
            "title": title,
            "venue": "Harbour Hall",
            "city": "Rotterdam",
            "starts_at": (datetime.now(UTC) + timedelta(days=9)).isoformat(),
            "timezone": "Europe/Amsterdam",
            "category": "concert",
        }
        show_id: str = _created(await self.seller.post("/api/shows", json=body | fields))["id"]
        return show_id

    async def tickets(self, show_id: str, count: int = 6, **fields: Any) -> list[str]:
        specs = [
            {
                "price": 4500 + 500 * (seat % 3),
                "currency": "EUR",
                "section": "Balcony",
                "row": "A",
                "seat": str(seat),
            }
            | fields
            for seat in range(1, count + 1)
        ]
        listed = _created(
            await self.seller.post(f"/api/shows/{show_id}/tickets", json={"tickets": specs})
        )
        return [ticket["id"] for ticket in listed["items"]]

    async def hold(self, *ticket_ids: str) -> Json:
        return _created(await self.buyer.post("/api/orders", json={"ticket_ids": ticket_ids}))

    async def cancel(self, order: Json) -> None:
        response = await self.buyer.delete(f"/api/orders/{order['id']}")
        assert response.status_code == 204, response.text

    async def pay(self, order: Json) -> None:
        _created(
            await self.buyer.post(
                "/api/payments", json={"order_id": order["id"], "payment_method": "pm_card_visa"}
            )
        )

    async def ticket(self, ticket_id: str) -> Json:
        found: Json = (await self.buyer.get(f"/api/tickets/{ticket_id}")).json()
        return found

    async def as_shown(self, show_id: str) -> dict[str, tuple[str, str]]:
        """The availability and the price of each ticket, from the API, as a page must show them."""
        listed = (
            await self.buyer.get("/api/tickets", params={"show_id": show_id, "limit": 100})
        ).json()
        assert listed["next_cursor"] is None
        return {
            ticket["id"]: (AVAILABILITIES[ticket["status"]], f"€{ticket['price'] / 100:.2f}")
            for ticket in listed["items"]
        }


AVAILABILITIES = {"available": "free", "held": "held", "reserved": "paying", "sold": "sold"}


def _created(response: httpx.Response) -> Json:
    assert response.status_code == 201, response.text
    created: Json = response.json()
    return created
