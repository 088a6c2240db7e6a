"""A full Redis: what it delays arrives within ten seconds after it has memory again. One account
cannot fill it.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
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
# The largest client event and the highest rate that Pusher's protocol allows.
EVENT_BYTES, EVENTS_PER_SECOND = 9_000, 10
FLOODING_SOCKETS, FLOOD_SECONDS = 20, 4
FLOODED_BYTES = EVENT_BYTES * EVENTS_PER_SECOND * FLOODING_SOCKETS * FLOOD_SECONDS


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


async def test_consumers_that_start_while_redis_is_full_handle_what_is_on_the_stream(
    system: System,
) -> None:
    """Only then can the relay trim a stream that filled Redis itself."""
    await system.start("stripe", "api", "push", "relay")
    redis, rows = system.redis(), await system.connect()
    ticket = await factories.ticket(system.person("seller"))
    async with system.part("worker"):
        await factories.order(system.person("buyer"), ticket["id"])
        await until(lambda: all_handled(redis, rows), seconds=RECOVERY_SECONDS)
    await factories.ticket(system.person("other"))
    await until(lambda: all_published(redis, rows))
    async with stores.full(redis), system.part("worker"):
        await until(lambda: all_handled(redis, rows), seconds=RECOVERY_SECONDS)


async def test_client_events_of_one_account_do_not_fill_redis(system: System) -> None:
    """The attack: many sockets of one account send the largest client events that are allowed."""
    await system.start("stripe", "api", "push", "relay", "worker")
    redis, attacker, buyer = system.redis(), system.person("attacker"), system.person("buyer")
    show = await factories.show(system.person("seller"))
    ticket_id = (await factories.ticket(system.person("seller"), show["id"]))["id"]
    used = (await redis.info("memory"))["used_memory"]
    async with (
        page(system, show["id"]) as visitor,
        flooded(system, attacker, f"presence-show-{show['id']}"),
        stores.full(redis, limit_bytes=used + FLOODED_BYTES // 2),
    ):
        await asyncio.sleep(FLOOD_SECONDS)
        assert await redis.set("something-else", "x" * 100_000)
        await pay(buyer, ticket_id)

        async def sold() -> bool:
            return ("ticket.sold", ticket_id) in visitor.seen

        await until(sold, seconds=RECOVERY_SECONDS)


@asynccontextmanager
async def flooded(system: System, attacker: Any, channel: str) -> AsyncIterator[None]:
    """Sockets of one account that send client events at the highest rate of a socket."""
    url = f"ws://127.0.0.1:{system.ports['push']}/app/{PUSHER_KEY}?protocol=7"
    async with AsyncExitStack() as stack:
        sockets = []
        for _ in range(FLOODING_SOCKETS):
            client = RawClient(await stack.enter_async_context(connect(url, compression=None)))
            await client.established()
            form = {"socket_id": client.socket_id, "channel_name": channel}
            signed = await attacker.http.post("/api/push/auth", data=form)
            await client.send("pusher:subscribe", {"channel": channel, **signed.json()})
            await client.message("pusher_internal:subscription_succeeded")
            sockets.append(client)
        flooding = [asyncio.create_task(flood(client, channel)) for client in sockets]
        try:
            yield
        finally:
            for task in flooding:
                task.cancel()
            await asyncio.gather(*flooding, return_exceptions=True)
            # A closing handshake would wait behind the messages that the socket has not read.
            for client in sockets:
                client.socket.transport.abort()


async def flood(client: RawClient, channel: str) -> None:
    event = {"event": "client-flood", "channel": channel, "data": "x" * EVENT_BYTES}
    while True:
        await client.socket.send(json.dumps(event))
        await asyncio.sleep(1 / EVENTS_PER_SECOND)


async def pay(buyer: Any, ticket_id: str) -> Json:
    order = await factories.order(buyer, ticket_id)
    payment = await factories.payment(buyer, order["id"])
    assert payment["status"] == "captured"
    return payment


async def ready(system: System) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.get(f"http://127.0.0.1:{system.ports['push']}/readyz")


async def all_published(redis: Any, rows: Any) -> bool:
    recorded = await rows.fetchval("select count(*) from events.outbox")
    return bool(recorded == (await EventStream(redis).last()).position)


async def all_handled(redis: Any, rows: Any) -> bool:
    """Return whether every event is on the stream and was handled by every reader."""
    readers = await EventStream(redis).readers()
    last = await EventStream(redis).last()
    waiting = "select count(*) from payments.webhook_events where handled_at is null"
    return (
        await all_published(redis, rows)
        and {"expiration", "payments", "notifier"} <= readers.keys()
        and all(one.delivered == last and not one.pending for one in readers.values())
        and await rows.fetchval(waiting) == 0
    )
