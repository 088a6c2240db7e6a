"""The push log backend survives outages, resets and trims of Redis."""

import asyncio
import json
import time

import redis

from backend.push.push_log import Message, pack
from backend.push.push_log_backend import MAX_BATCHES, PushLogBackend
from tests.push.servers import RedisServer, running_gateway, until


async def test_messages_flow_again_after_redis_was_killed(own_redis: RedisServer) -> None:
    async with running_gateway(own_redis.url) as gateway, gateway.watcher("show-1") as watcher:
        await watcher.subscribed("show-1")
        await gateway.call("trigger", "show-1", "n", {"at": 1})
        await watcher.event("n")
        own_redis.kill()
        unready = await gateway.get("/readyz")
        assert unready.status_code == 503
        assert unready.json()["checks"]["gateway.redis"] == "redis does not answer"
        await asyncio.to_thread(own_redis.start)
        await gateway.call("trigger", "show-1", "n", {"at": 2})
        assert (await watcher.event("n", seconds=10)).data == {"at": 2}
        assert [seen.data["at"] for seen in watcher.events("n")] == [1, 2]


async def test_a_trigger_returns_503_while_redis_is_down(own_redis: RedisServer) -> None:
    async with running_gateway(own_redis.url) as gateway:
        own_redis.kill()
        from tests.push.test_api import post

        answer = await post(gateway, "/events", b'{"name":"n","data":"","channel":"a"}')
        assert answer.status_code == 503
        own_redis.start()


async def test_a_gateway_started_without_redis_accepts_clients_once_redis_is_up(
    own_redis: RedisServer,
) -> None:
    own_redis.kill()
    async with running_gateway(own_redis.url) as gateway:
        async with gateway.raw() as early:
            assert await early.close_code() == 4100
        await asyncio.to_thread(own_redis.start)
        await until(lambda: gateway.gateway.push_log.has_position)
        async with gateway.raw() as late:
            await late.established()


async def test_an_emptied_redis_starts_a_new_log_that_is_read_from_its_start(
    redis_server: RedisServer,
) -> None:
    async with running_gateway(redis_server.url) as gateway, gateway.raw() as client:
        await client.established()
        await client.subscribe("show-1")
        await gateway.call("trigger", "show-1", "n", {"at": 1})
        await client.message("n")
        redis_server.flush()
        with redis.Redis.from_url(redis_server.url) as other:
            # As if the clock stepped back: the new log's ids are below the old one's.
            message = Message(("show-1",), "n", '{"at":2}')
            stepped_back = f"{int(time.time() - 30) * 1_000}-1"
            other.xadd("gittix:push", {"n": 1, "m": pack([message])}, id=stepped_back)
        assert await client.data("n") == {"at": 2}


async def test_a_log_that_lost_its_tail_is_not_read_twice(redis_server: RedisServer) -> None:
    async with running_gateway(redis_server.url) as gateway, gateway.raw() as client:
        await client.established()
        await client.subscribe("show-1")
        for at in (1, 2, 3):
            await gateway.call("trigger", "show-1", "n", {"at": at})
            assert await client.data("n") == {"at": at}
        with redis.Redis.from_url(redis_server.url) as other:
            kept = other.xrange("gittix:push")[:2]
            other.delete("gittix:push")
            for entry_id, fields in kept:
                other.xadd("gittix:push", fields, id=entry_id)
            other.hset("gittix:push:state", "n", 2)
        await asyncio.sleep(1.2)
        await gateway.call("trigger", "show-1", "n", {"at": 4})
        assert await client.data("n") == {"at": 4}


async def test_clients_must_reconnect_when_unread_entries_were_trimmed(
    redis_server: RedisServer,
) -> None:
    async with running_gateway(redis_server.url) as gateway, gateway.raw() as client:
        await client.established()
        await gateway.call("trigger", "show-1", "n", {})
        with redis.Redis.from_url(redis_server.url) as other:
            other.hincrby("gittix:push:state", "n", 5)
        await gateway.call("trigger", "show-1", "n", {})
        assert await client.close_code() == 4200


async def test_clients_must_reconnect_when_one_unread_message_is_missing(
    redis_server: RedisServer,
) -> None:
    """Numbers count messages, so only a missing message, not an entry of two, is a gap."""
    async with running_gateway(redis_server.url) as gateway, gateway.raw() as client:
        await client.established()
        await client.subscribe("show-1")
        events = [{"channel": "show-1", "name": "n", "data": {"at": at}} for at in (1, 2)]
        await gateway.call("trigger_batch", events)
        assert [await client.data("n") for _ in events] == [{"at": 1}, {"at": 2}]
        with redis.Redis.from_url(redis_server.url) as other:
            other.hincrby("gittix:push:state", "n", 1)
        await gateway.call("trigger_batch", events)
        assert await client.close_code() == 4200


async def test_a_malformed_entry_is_skipped(redis_server: RedisServer) -> None:
    async with running_gateway(redis_server.url) as gateway, gateway.raw() as client:
        await client.established()
        await client.subscribe("show-1")
        with redis.Redis.from_url(redis_server.url) as other:
            for fields in ({"n": 1}, {"n": 1, "m": b"\xff"}, {"c": "show-1", "e": "n", "d": "{}"}):
                other.xadd("gittix:push", fields)
        await gateway.call("trigger", "show-1", "n", {"at": 1})
        assert await client.data("n") == {"at": 1}


async def test_an_event_triggered_at_one_gateway_reaches_both(redis_server: RedisServer) -> None:
    async with (
        running_gateway(redis_server.url) as one,
        running_gateway(redis_server.url) as two,
        one.raw() as here,
        two.raw() as there,
    ):
        for client in (here, there):
            await client.established()
            await client.subscribe("show-1")
        await one.call("trigger", "show-1", "mine", {"at": 1}, there.socket_id)
        await one.call("trigger", "show-1", "all", {"at": 2})
        assert await here.data("mine") == {"at": 1}
        assert json.loads(await there.socket.recv())["event"] == "all"


async def test_the_reader_waits_for_a_slow_consumer(redis_server: RedisServer) -> None:
    push_log = PushLogBackend(redis_server.url)
    await push_log.connect()
    reading = asyncio.create_task(push_log.read())
    for at in range(30):
        await push_log.append(Message(("a",), "n", str(at)))
        await asyncio.sleep(0.005)
    seen: list[str] = []
    while len(seen) < 30:
        assert push_log._batches.qsize() <= MAX_BATCHES
        batch = await push_log.next_published()
        seen += [message.data for entry in batch.entries for message in entry.messages]
        batch.done()
    assert seen == [str(at) for at in range(30)]
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await push_log.disconnect()
