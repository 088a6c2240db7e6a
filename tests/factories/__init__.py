"""One function for each noun, with defaults for all that a test does not set."""

from typing import Any
from uuid import uuid4

from tests.system import Person

Json = dict[str, Any]

SHOW: Json = {
    "title": "Harbour Lights",
    "venue": "Harbour Hall",
    "city": "Rotterdam",
    "starts_at": "2030-12-04T20:00:00+01:00",
    "timezone": "Europe/Amsterdam",
    "category": "concert",
}


async def show(owner: Person, **fields: Any) -> Json:
    response = await owner.post("/api/shows", SHOW | fields)
    assert response.status_code == 201, response.text
    made: Json = response.json()
    return made


async def ticket(seller: Person, show_id: str | None = None, **fields: Any) -> Json:
    show_id = show_id or (await show(seller))["id"]
    response = await seller.post(
        "/api/tickets", {"show_id": show_id, "price": 4500, "currency": "EUR"} | fields
    )
    assert response.status_code == 201, response.text
    made: Json = response.json()
    return made


async def order(buyer: Person, *ticket_ids: str) -> Json:
    response = await buyer.post("/api/orders", {"ticket_ids": list(ticket_ids)}, key=str(uuid4()))
    assert response.status_code == 201, response.text
    made: Json = response.json()
    return made


async def payment(buyer: Person, order_id: str, method: str = "pm_card_visa") -> Json:
    response = await buyer.post("/api/payments", {"order_id": order_id, "payment_method": method})
    assert response.status_code == 201, response.text
    made: Json = response.json()
    return made
