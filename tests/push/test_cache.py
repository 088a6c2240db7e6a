"""Cache channels over two gateways: hits, misses, order, lifetime and bounds."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from backend.push import cache, push_log
from backend.push.cache_script import CACHE, ENDS, MAX_BYTES, MAX_CHANNELS
from backend.push.cluster_script import FACTS
from backend.push.facts import read_fact
from backend.push.push_log import Message
from backend.push.push_log_backend import PushLogBackend
from backend.push.signature import channel_text, sign
from tests.push.delays import hold_replies
from tests.push.servers import (
    KEY,
    SECRET,
    RawClient,
    RedisServer,
    RunningGateway,
    running_gateway,
    until,
)

KINDS = ["cache-a", "private-cache-a", "private-encrypted-cache-a", "presence-cache-a"]


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Redis]:
    async with push_log.connect(redis_server.url, timeout_seconds=5) as connected:
        yield connected


async def subscribe(client: RawClient, channel: str) -> Any:
    """Subscribe. Returns the first message after the reply that belongs to the channel."""
    user = "one" if channel.startswith("presence-") else None
    await client.established()
    if "encrypted" in channel:
        # The official library demands the key of the encryption.
        token = sign(SECRET, channel_text(client.socket_id, channel, None))
        request = {"channel": channel, "auth": f"{KEY}:{token}"}
        await client.send("pusher:subscribe", request)
        await client.message("pusher_internal:subscription_succeeded")
    else:
        await client.subscribe(channel, user)
    async with asyncio.timeout(5):
        return json.loads(await client.socket.recv())


@pytest.mark.parametrize("channel", KINDS)
async def test_a_new_subscriber_gets_the_last_event_from_any_gateway(
    redis_server: RedisServer, channel: str
) -> None:
    async with (
        running_gateway(redis_server.url) as one,
        running_gateway(redis_server.url) as other,
    ):
        async with other.raw() as client:
            missed = await subscribe(client, channel)
            assert missed == {"event": "pusher:cache_miss", "channel": channel, "data": "{}"}
        for data in ("first", "second"):
            await one.call("trigger", channel, "n", data) if "encrypted" not in channel else (
                await one.gateway.publish(Message((channel,), "n", data))
            )
        await until(lambda: other.gateway.caches.delivered >= 2)
        async with other.raw() as client:
            found = await subscribe(client, channel)
            assert found == {"event": "n", "channel": channel, "data": "second"}
            await one.gateway.publish(Message((channel,), "n", "third"))
            assert (await client.message("n"))["data"] == "third"


async def test_other_channels_have_no_cache(gateway: RunningGateway, redis: Redis) -> None:
    await gateway.call("trigger", ["a", "private-a", "encrypted-cache-a"], "n", "x")
    assert not await redis.exists(CACHE)
    async with gateway.raw() as client:
        await client.established()
        await client.subscribe("a")
        await client.send("pusher:ping", {})
        assert json.loads(await client.socket.recv())["event"] == "pusher:pong"


async def test_events_of_clients_are_delivered_and_never_kept(
    chatty: RunningGateway, redis: Redis
) -> None:
    channel = "private-cache-a"
    await chatty.call("trigger", channel, "n", "kept")
    async with chatty.raw() as sender, chatty.raw() as receiver, chatty.raw() as late:
        await subscribe(sender, channel)
        await subscribe(receiver, channel)
        await sender.send("client-x", {"a": 1}, channel=channel)
        await receiver.message("client-x")
        assert (await subscribe(late, channel))["data"] == "kept"


async def test_messages_during_the_read_follow_the_cached_event(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = "cache-a"
    await gateway.call("trigger", channel, "n", "1")
    await until(lambda: gateway.gateway.caches.delivered == 1)
    arrived, go_on = hold_replies(monkeypatch, cache.Caches, "read")
    async with gateway.raw() as client:
        await client.established()
        await client.send("pusher:subscribe", {"channel": channel})
        await arrived.wait()
        await gateway.call("trigger", channel, "n", "2")
        await until(lambda: gateway.gateway.caches.delivered == 2)
        go_on.set()
        assert [(await client.message("n"))["data"] for _ in range(2)] == ["1", "2"]


async def test_an_event_that_is_still_to_be_delivered_is_not_sent_twice(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, ready, go_on = "cache-a", asyncio.Event(), asyncio.Event()
    read = cache.Caches.read

    async def slow(*arguments: Any, **named: Any) -> Any:
        ready.set()
        await go_on.wait()
        return await read(*arguments, **named)

    monkeypatch.setattr(cache.Caches, "read", slow)
    async with gateway.raw() as client:
        await client.established()
        await client.send("pusher:subscribe", {"channel": channel})
        await ready.wait()
        await gateway.call("trigger", channel, "n", "1")
        go_on.set()
        assert (await client.message("n"))["data"] == "1"
        await gateway.call("trigger", channel, "n", "2")
        assert (await client.message("n"))["data"] == "2"


async def test_the_api_returns_the_event_and_its_lifetime(redis_server: RedisServer) -> None:
    async with running_gateway(redis_server.url, cache_seconds=100) as gateway:
        empty = await gateway.call("channel_info", "cache-a", ["cache"])
        assert empty == {"occupied": False, "cache": None}
        await gateway.call("trigger", "cache-a", "n", "x")
        found = await gateway.call("channel_info", "cache-a", ["cache"])
        assert found["cache"]["data"] == "x"
        assert 90 < found["cache"]["ttl"] <= 100
        with pytest.raises(Exception, match="a has no cache"):
            await gateway.call("channel_info", "a", ["cache"])


async def test_an_event_with_an_idempotency_key_is_kept_too(gateway: RunningGateway) -> None:
    for _ in range(2):
        sent = [Message(("cache-a",), "n", "x")]
        await gateway.gateway.publish_once("key", b"request", sent)
    found = await gateway.gateway.caches.read("cache-a")
    assert found is not None
    assert (found.number, found.data) == (1, "x")


async def test_an_event_ends_after_its_lifetime(redis_server: RedisServer, redis: Redis) -> None:
    async with running_gateway(redis_server.url, cache_seconds=0.2) as gateway:
        await gateway.call("trigger", "cache-a", "n", "x")
        await asyncio.sleep(0.3)
        async with gateway.raw() as client:
            assert (await subscribe(client, "cache-a"))["event"] == "pusher:cache_miss"
        assert not await redis.exists(CACHE, ENDS)


async def test_a_miss_is_a_fact_once_until_the_window_ends(
    redis_server: RedisServer, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_gateway(redis_server.url, record_facts=True) as gateway:
        for _ in range(3):
            async with gateway.raw() as client:
                await subscribe(client, "cache-a")
        await gateway.call("channel_info", "cache-b", ["cache"])
        facts = [read_fact(*one) for one in await redis.xrange(FACTS)]
        assert [one.channel for one in facts if one.name == "cache_miss"] == ["cache-a"]
        await redis.zadd(cache.MISSES, {"cache-a": 1})
        async with gateway.raw() as client:
            await subscribe(client, "cache-a")
        facts = [read_fact(*one) for one in await redis.xrange(FACTS)]
        assert [one.channel for one in facts if one.name == "cache_miss"] == ["cache-a"] * 2


async def test_without_redis_a_subscriber_gets_a_miss(own_redis: RedisServer) -> None:
    async with (
        running_gateway(own_redis.url, redis_timeout_seconds=0.5) as gateway,
        gateway.raw() as client,
    ):
        await client.established()
        own_redis.kill()
        await client.subscribe("cache-a")
        assert (await client.message("pusher:cache_miss"))["data"] == "{}"
        own_redis.start()


@pytest.mark.parametrize(("size", "channels"), [(10, MAX_CHANNELS + 500), (10_000, 2_500)])
async def test_the_cache_is_bounded_and_the_oldest_events_are_dropped_first(
    redis_server: RedisServer, redis: Redis, size: int, channels: int
) -> None:
    backend = PushLogBackend(redis_server.url)
    before = (await redis.info("memory"))["used_memory"]
    for start in range(0, channels, 50):
        await backend.append(
            *[Message((f"cache-{at}",), "n", "x" * size) for at in range(start, start + 50)]
        )
    await backend.append(Message(("cache-5",), "n", "again"))
    await backend.disconnect()
    count = await redis.zcard(ENDS)
    assert count == await redis.hlen(CACHE) - 1  # type: ignore[misc]
    assert count == MAX_CHANNELS or count * size > MAX_BYTES * 0.9
    counted = int(await redis.hget(CACHE, "") or 0)  # type: ignore[misc]
    assert 0 < counted <= MAX_BYTES
    stream = await redis.memory_usage(push_log.STREAM, samples=0) or 0
    used = (await redis.info("memory"))["used_memory"] - before - stream
    assert used < MAX_BYTES * 4 // 3
    assert await redis.hexists(CACHE, f"cache-{channels - 1}")  # type: ignore[misc]
    assert not await redis.hexists(CACHE, "cache-0")  # type: ignore[misc]
    assert await redis.hexists(CACHE, "cache-5")  # type: ignore[misc]


async def test_pusher_js_gets_the_cached_event(gateway: RunningGateway) -> None:
    await gateway.call("trigger", "cache-a", "n", {"at": 1})
    await until(lambda: gateway.gateway.caches.delivered == 1)
    async with gateway.watcher("cache-a", "cache-b") as watcher:
        assert (await watcher.event("n", "cache-a")).data == {"at": 1}
        await watcher.event("pusher:cache_miss", "cache-b")
