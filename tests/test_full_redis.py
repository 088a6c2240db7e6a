"""A full Redis: what it delays arrives within ten seconds after it has memory again."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from websockets.asyncio.client import connect

from backend.events.stream import STREAM, EventStream
from tests import factories, stores
from tests.factories import Json
from tests.push.servers import RawClient
from tests.system import PUSHER_KEY, System, until

RECOVERY_SECONDS = 10
# Longer than the longest delay of a supervised task.
FULL_SECONDS = 6


class Page:
    """A page of a show: the `ticket.*` messages that it received."""

    def __init__(self, client: RawClient) -> None:
        self._client = client
        self.seen: list[tuple[str, str]] = []
        self.seqs: list[int] = []

    async def receive(self) -> None:
        while True:
            message = await self._client.message_of("ticket.")
            self.seen.append((message["event"], message["data"]["ticket"]["id"]))
            self.seqs.append(message["data"]["_seq"])


@asynccontextmanager
async def page(system: System, show_id: str) -> AsyncIterator[Page]:
    url = f"ws://127.0.0.1:{system.ports['push']}/app/{PUSHER_KEY}?protocol=7"
    async with connect(url, compression=None) as socket:
        client = RawClient(socket)
        await client.established()
        await client.subscribe(f"show-{show_id}")
        found = Page(client)
        receiving = asyncio.create_task(found.receive())
        try:
            yield found
        finally:
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)


async def test_every_event_is_delivered_soon_after_a_full_redis_has_memory(
    system: System,
) -> None:
    system.configure(HOLD_SECONDS="3")
    await system.start("stripe", "api", "push", "relay", "worker")
    redis, rows = system.redis(), await system.connect()
    seller, buyer = system.person("seller"), system.person("buyer")
    show = await factories.show(seller)
    tickets = [(await factories.ticket(seller, show["id"]))["id"] for _ in range(3)]
    paid, cancelled, unpaid = tickets
    async with page(system, show["id"]) as visitor:
        async with stores.full(redis):
            await pay(buyer, paid)
            order = await factories.order(buyer, cancelled)
            assert (await buyer.delete(f"/api/orders/{order['id']}")).status_code == 204
            await factories.order(buyer, unpaid)
            await asyncio.sleep(FULL_SECONDS)
            waiting = await rows.fetchval("select count(*) from events.outbox")
            assert waiting > await redis.xlen(STREAM)
            assert (await ready(system)).status_code == 200
        freed = time.monotonic()
        wanted = {
            *(("ticket.held", ticket) for ticket in tickets),
            ("ticket.sold", paid),
            ("ticket.released", cancelled),
            ("ticket.released", unpaid),
        }

        async def arrived() -> bool:
            return wanted <= set(visitor.seen)

        await until(arrived, seconds=RECOVERY_SECONDS)
        await until(lambda: all_handled(redis, rows), seconds=RECOVERY_SECONDS)
        assert time.monotonic() - freed < RECOVERY_SECONDS
        # Each message once, in order, on the socket that was open all the time.
        assert len(visitor.seen) == len(set(visitor.seen))
        assert visitor.seqs == list(range(visitor.seqs[0], visitor.seqs[0] + len(visitor.seqs)))


async def pay(buyer: Any, ticket_id: str) -> Json:
    order = await factories.order(buyer, ticket_id)
    payment = await factories.payment(buyer, order["id"])
    assert payment["status"] == "captured"
    return payment


async def ready(system: System) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.get(f"http://127.0.0.1:{system.ports['push']}/readyz")


async def all_handled(redis: Any, rows: Any) -> bool:
    """Return whether every event is on the stream and was handled by every reader."""
    readers = await EventStream(redis).readers()
    last = await EventStream(redis).last()
    waiting = "select count(*) from payments.webhook_events where handled_at is null"
    return (
        await rows.fetchval("select count(*) from events.outbox") == last.position
        and {"expiration", "payments", "notifier"} <= readers.keys()
        and all(one.delivered == last and not one.pending for one in readers.values())
        and await rows.fetchval(waiting) == 0
    )
