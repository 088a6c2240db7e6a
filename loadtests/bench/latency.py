"""The latency from a buyer's click to the message in a shopper's browser, on an idle machine.

The floor is a message sent through the HTTP API of the same gateway to the same client: no
database, no outbox, no relay, no notifier.
"""

import asyncio
import time
from datetime import datetime
from typing import Any
from uuid import uuid4

import httpx
import pusher

from loadtests.bench.push_client import Match, PushClient, connected
from loadtests.bench.results import milliseconds, publish
from loadtests.instance import instance

PURCHASES = 60
HELD = 40
HOLD_SECONDS = 60


async def measure() -> None:
    with instance(
        MAX_OPEN_ORDERS="1000", MAX_TICKETS_PER_SHOW="1000", HOLD_SECONDS=str(HOLD_SECONDS)
    ) as environment:
        async with (
            httpx.AsyncClient(base_url=environment["API_URL"], timeout=10) as seller,
            httpx.AsyncClient(base_url=environment["API_URL"], timeout=10) as buyer,
        ):
            await _sign_up(seller)
            await _sign_up(buyer)
            show_id, tickets = await _list(seller, PURCHASES + HELD)
            url, key = environment["PUSH_URL"], environment["PUSHER_KEY"]
            async with connected(url, key, f"show-{show_id}") as watcher:
                floor = await _trigger(environment, watcher, f"show-{show_id}")
                held, paid = await _buy(buyer, watcher, tickets[:PURCHASES])
                late = await _expire(buyer, watcher, tickets[PURCHASES:])
    rows: dict[str, dict[str, Any]] = {
        "floor: HTTP trigger to watcher, ms": milliseconds(floor),
        "order to ticket.held at a watcher, ms": milliseconds(held),
        "pay to reply (create, confirm, settle, capture, finish), ms": milliseconds(paid),
        f"end of a {HOLD_SECONDS} s hold to ticket.released at a watcher, ms": milliseconds(late),
    }
    rows["order to ticket.held at a watcher, ms"]["times the floor"] = round(
        rows["order to ticket.held at a watcher, ms"]["p50"]
        / rows["floor: HTTP trigger to watcher, ms"]["p50"],
        1,
    )
    publish("latency", rows)


async def _buy(
    buyer: httpx.AsyncClient, watcher: PushClient, tickets: list[str]
) -> tuple[list[float], list[float]]:
    held, paid = [], []
    for ticket_id in tickets:
        arrival = watcher.arrival(_about("ticket.held", ticket_id))
        began = time.perf_counter()
        order = _ok(await buyer.post("/api/orders", json={"ticket_id": ticket_id}))
        held.append(await asyncio.wait_for(arrival, 10) - began)
        began = time.perf_counter()
        body = {"order_id": order["id"], "payment_method": "pm_card_visa"}
        assert _ok(await buyer.post("/api/payments", json=body))["status"] == "captured"
        paid.append(time.perf_counter() - began)
        await asyncio.sleep(0.05)
    return held, paid


async def _expire(buyer: httpx.AsyncClient, watcher: PushClient, tickets: list[str]) -> list[float]:
    """Lateness against the order's own `expires_at`, by the offset of this clock to Postgres's."""
    waiting = []
    for ticket_id in tickets:
        arrival = watcher.arrival(_about("ticket.released", ticket_id))
        began = time.perf_counter()
        order = _ok(await buyer.post("/api/orders", json={"ticket_id": ticket_id}))
        # The hold began while the request was under way: take its middle.
        middle = (began + time.perf_counter()) / 2
        span = datetime.fromisoformat(order["expires_at"]) - datetime.fromisoformat(
            order["server_now"]
        )
        waiting.append((arrival, middle + span.total_seconds()))
        await asyncio.sleep(0.137)
    return [await asyncio.wait_for(arrival, HOLD_SECONDS + 20) - due for arrival, due in waiting]


async def _trigger(environment: Any, watcher: PushClient, channel: str) -> list[float]:
    client = pusher.Pusher(
        app_id=environment["PUSHER_APP_ID"],
        key=environment["PUSHER_KEY"],
        secret=environment["PUSHER_SECRET"],
        host="127.0.0.1",
        port=int(environment["PUSHER_PORT"]),
        ssl=False,
    )
    taken = []
    for number in range(PURCHASES):
        arrival = watcher.arrival(_floor(number))
        began = time.perf_counter()
        await asyncio.to_thread(client.trigger, channel, "floor", {"n": number})
        taken.append(await asyncio.wait_for(arrival, 10) - began)
    return taken


def _floor(number: int) -> Match:
    return lambda event, data: event == "floor" and data["n"] == number


def _about(wanted: str, ticket_id: str) -> Match:
    return lambda event, data: event == wanted and data["ticket"]["id"] == ticket_id


async def _sign_up(client: httpx.AsyncClient) -> None:
    email = f"{uuid4().hex}@bench.example"
    _ok(await client.post("/api/users/signup", json={"email": email, "password": uuid4().hex}))


async def _list(seller: httpx.AsyncClient, count: int) -> tuple[str, list[str]]:
    show = {
        "title": "Bench",
        "venue": "Hall",
        "city": "Here",
        "starts_at": "2035-01-01T20:00:00Z",
        "timezone": "Europe/Amsterdam",
    }
    show_id = _ok(await seller.post("/api/shows", json=show))["id"]
    offers = {"tickets": [{"price": 4500, "currency": "EUR"}] * count}
    listed = _ok(await seller.post(f"/api/shows/{show_id}/tickets", json=offers))
    await asyncio.sleep(1)
    return show_id, [ticket["id"] for ticket in listed["items"]]


def _ok(response: httpx.Response) -> Any:
    if response.status_code not in {200, 201}:
        raise SystemExit(f"{response.request.url}: {response.status_code} {response.text}")
    return response.json()
