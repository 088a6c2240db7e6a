"""Webhooks: signed posts that the official library accepts, in order, at least once."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pusher
import pytest

from backend.kernel.supervisor import running
from backend.push import webhooks
from backend.push.facts import FACTS
from backend.push.push_log import connect
from backend.push.webhooks import WebhookQueue, WebhookSender
from tests.push.servers import APP_ID, KEY, SECRET, RedisServer, running_gateway, until


class Receiver:
    """An HTTP server that records what it accepts, verified by the official library."""

    def __init__(self) -> None:
        self.status = 200
        self.seconds = 0.0
        self.tries: list[tuple[float, int]] = []
        self.events: list[dict[str, Any]] = []
        self.sizes: list[int] = []
        self.url = ""

    def take(self, key: str, signature: str, body: bytes) -> int:
        signing = pusher.Pusher(app_id=APP_ID, key=KEY, secret=SECRET)
        found = signing.validate_webhook(key, signature, body.decode())
        assert found is not None, "the library refuses this webhook"
        self.tries.append((time.monotonic(), found["time_ms"]))
        time.sleep(self.seconds)
        if self.status == 200:
            self.events += found["events"]
            self.sizes.append(len(found["events"]))
        return self.status

    def names(self) -> list[str]:
        return [event["name"] for event in self.events]


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = 500
            try:
                status = receiver.take(
                    self.headers["x-pusher-key"], self.headers["x-pusher-signature"], body
                )
            finally:
                self.send_response(status)
                self.send_header("location", receiver.url)
                self.send_header("content-length", "0")
                self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr(webhooks, "FIRST_DELAY_SECONDS", 0.05)
    with receiving() as found:
        yield found


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Any]:
    client = connect(redis_server.url, timeout_seconds=2)
    yield client
    await client.aclose()


def queue_of(redis: Any, *urls: str) -> WebhookQueue:
    return WebhookQueue(redis, urls, timeout_seconds=2)


def sender_of(redis: Any, url: str) -> WebhookSender:
    return WebhookSender(redis, url, key=KEY, secret=SECRET, timeout_seconds=2)


def working(*tasks: WebhookQueue | WebhookSender) -> AbstractAsyncContextManager[None]:
    """Run these, as the gateway does."""
    return running(*((f"webhooks-{number}", one.run) for number, one in enumerate(tasks)))


def numbered(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"name": f"event-{number}"} for number in range(start, start + count)]


async def test_a_client_event_is_posted_to_every_url(
    redis_server: RedisServer, receiver: Receiver
) -> None:
    with receiving() as second:
        async with running_gateway(
            redis_server.url, client_events=True, webhook_urls=(receiver.url, second.url)
        ) as gateway:
            async with gateway.raw() as ann:
                await ann.established()
                await ann.subscribe("presence-room", "ann")
                await ann.send("client-typing", {"é": 1}, channel="presence-room")
                await until(lambda: bool(receiver.events and second.events))
            expected = {
                "name": "client_event",
                "channel": "presence-room",
                "event": "client-typing",
                "data": json.dumps({"é": 1}, ensure_ascii=False),
                "socket_id": ann.socket_id,
                "user_id": "ann",
            }
            found = [event for event in receiver.events if event["name"] == "client_event"]
            assert json.loads(found[0].pop("data")) == json.loads(expected.pop("data"))
            assert found == [expected]


async def test_events_arrive_in_order_in_requests_of_a_hundred(
    redis: Any, redis_server: RedisServer, receiver: Receiver
) -> None:
    queue = queue_of(redis, receiver.url)
    queue.record(*numbered(250))
    async with working(queue, sender_of(redis, receiver.url)):
        await until(lambda: len(receiver.events) >= 250)
        await until(lambda: not redis_server.client().exists(*webhooks._keys(receiver.url)))
    assert receiver.names() == [event["name"] for event in numbered(250)]
    assert max(receiver.sizes) == webhooks.MAX_EVENTS


@pytest.mark.parametrize("status", [500, 410, 307])
async def test_a_failure_is_tried_again_with_a_new_time_and_loses_nothing(
    redis: Any, receiver: Receiver, status: int
) -> None:
    receiver.status = status
    queue = queue_of(redis, receiver.url)
    queue.record(*numbered(2))
    async with working(queue, sender_of(redis, receiver.url)):
        await until(lambda: len(receiver.tries) >= 3)
        queue.record(*numbered(1, 2))
        receiver.status = 200
        await until(lambda: len(receiver.events) >= 3)
    assert receiver.names() == ["event-0", "event-1", "event-2"]
    times = [stamp for _, stamp in receiver.tries]
    assert times == sorted(times)
    assert times[0] < times[2]


async def test_an_event_is_dropped_when_it_fails_after_five_minutes(
    redis: Any, receiver: Receiver
) -> None:
    receiver.status = 500
    stream, size = webhooks._keys(receiver.url)
    old = int((time.time() - webhooks.RETRY_SECONDS - 1) * 1_000)
    await redis.xadd(stream, {"e": '{"name":"old"}'}, id=f"{old}-0")
    await redis.incrby(size, 14)
    queue = queue_of(redis, receiver.url)
    queue.record({"name": "new"})
    before = webhooks.POSTED.labels("dropped")._value.get()
    async with working(queue, sender_of(redis, receiver.url)):
        # Even the old event has one try.
        await until(lambda: webhooks.POSTED.labels("dropped")._value.get() == before + 1)
        receiver.status = 200
        await until(lambda: bool(receiver.events))
    assert receiver.names()[-1] == "new"
    assert len(receiver.tries) >= 2


async def test_one_gateway_posts_and_another_takes_over(
    redis: Any, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "LEASE_MS", 400)
    queue = queue_of(redis, receiver.url)
    first, second = sender_of(redis, receiver.url), sender_of(redis, receiver.url)
    async with working(queue):
        async with working(first, second):
            for start in range(0, 100, 10):
                queue.record(*numbered(10, start))
                await asyncio.sleep(0.02)
            await until(lambda: len(receiver.events) >= 100)
        assert receiver.names() == [event["name"] for event in numbered(100)]
        # A killed gateway keeps its lease until it ends.
        while not await first._lease.hold(400):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        queue.record({"name": "later"})
        async with working(second):
            await until(lambda: "later" in receiver.names())


async def test_a_full_queue_drops_its_oldest_events(
    redis: Any, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "MAX_QUEUE_BYTES", 1_000)
    queue = queue_of(redis, receiver.url)
    queue.record(*({"name": f"{number:03}", "data": "x" * 80} for number in range(50)))
    async with working(queue):
        await until(lambda: not queue._waiting)
    async with working(sender_of(redis, receiver.url)):
        await until(lambda: bool(receiver.events))
        await asyncio.sleep(0.1)
    assert 5 < len(receiver.events) < 12
    assert receiver.names()[-1] == "049"


async def test_events_wait_for_redis_in_bounded_memory(
    own_redis: RedisServer, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "MAX_WAITING_BYTES", 1_000)
    client = connect(own_redis.url, timeout_seconds=2)
    queue = queue_of(client, receiver.url)
    own_redis.kill()
    async with working(queue):
        queue.record(*numbered(500))
        await asyncio.sleep(0.2)
    assert 0 < queue._bytes <= 1_000
    own_redis.start()
    async with working(queue, sender_of(client, receiver.url)):
        await until(lambda: bool(receiver.events))
    assert receiver.names()[0] == "event-0"
    await client.aclose()


async def test_a_slow_receiver_is_given_up_and_blocks_no_other(
    redis: Any, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "POST_SECONDS", 0.2)
    with receiving() as slow:
        slow.seconds = 1
        queue = queue_of(redis, slow.url, receiver.url)
        queue.record(*numbered(1))
        before = webhooks.FAILED._value.get()
        async with working(queue, sender_of(redis, slow.url), sender_of(redis, receiver.url)):
            await until(lambda: webhooks.FAILED._value.get() > before)
            assert receiver.names() == ["event-0"]


async def test_without_urls_nothing_is_recorded(redis: Any) -> None:
    queue = queue_of(redis)
    queue.record(*numbered(5))
    assert not queue._waiting


async def test_the_transitions_of_two_gateways_are_posted_once(
    redis_server: RedisServer, receiver: Receiver
) -> None:
    options: dict[str, Any] = {
        "webhook_urls": (receiver.url,),
        "record_facts": True,
        "subscription_counts": True,
        "debounce_seconds": 0.3,
    }
    async with (
        running_gateway(redis_server.url, **options) as first,
        running_gateway(redis_server.url, **options) as second,
    ):
        async with first.raw() as ann, second.raw() as bob, second.raw() as reader:
            for client in (ann, bob, reader):
                await client.established()
            await ann.subscribe("presence-room", "ann")
            await bob.subscribe("presence-room", "bob")
            await reader.subscribe("show-1")
            await until(lambda: "subscription_count" in receiver.names())
        await until(lambda: receiver.names().count("channel_vacated") == 2)
    of_room = [event for event in receiver.events if event["channel"] == "presence-room"]
    assert of_room[0] == {"name": "channel_occupied", "channel": "presence-room"}
    assert of_room[-1] == {"name": "channel_vacated", "channel": "presence-room"}
    members = sorted((event["name"], event["user_id"]) for event in of_room[1:-1])
    assert members == [
        (name, user) for name in ("member_added", "member_removed") for user in ("ann", "bob")
    ]
    of_show = [event for event in receiver.events if event["channel"] == "show-1"]
    assert of_show[0] == {"name": "channel_occupied", "channel": "show-1"}
    counted = {"name": "subscription_count", "channel": "show-1", "subscription_count": 1}
    assert counted in of_show


async def test_facts_are_copied_once_over_a_restart(redis: Any, receiver: Receiver) -> None:
    async def record(*channels: str) -> None:
        for channel in channels:
            await redis.xadd(FACTS, {"name": "channel_occupied", "channel": channel})

    await record("a", "b")
    await redis.xadd(FACTS, {"name": "of_a_newer_gateway", "channel": "x"})
    queue = queue_of(redis, receiver.url)
    assert await queue._copy_some_facts() == 3
    await record("c")
    again = queue_of(redis, receiver.url)
    assert await again._copy_some_facts() == 1
    assert await again._copy_some_facts() == 0
    async with working(sender_of(redis, receiver.url)):
        await until(lambda: len(receiver.events) == 3)
    assert [event["channel"] for event in receiver.events] == ["a", "b", "c"]


async def test_a_cache_miss_is_posted(redis_server: RedisServer, receiver: Receiver) -> None:
    async with (
        running_gateway(
            redis_server.url, webhook_urls=(receiver.url,), record_facts=True
        ) as gateway,
        gateway.raw() as client,
    ):
        await client.established()
        await client.subscribe("cache-show-1")
        await client.message("pusher:cache_miss")
        await until(lambda: "cache_miss" in receiver.names())
    assert {"name": "cache_miss", "channel": "cache-show-1"} in receiver.events
