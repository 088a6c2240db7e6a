"""Resumes over real sockets: what a client gets, in which order, and when it must read the API."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from backend.push import push_log as pushlog
from backend.push import replay
from backend.push.publisher import PositionedMessages, Publisher
from backend.push.push_log import Message
from backend.push.replay_log import LOG_PREFIX
from tests.push.delays import hold_replies
from tests.push.servers import RawClient, RedisServer, RunningGateway, running_gateway, until


class Notifier:
    """Publishes numbered messages, as the notifier does."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.publisher = Publisher(redis)
        self.appended = 0
        self.epoch = 0
        self._position = 0

    async def publish(self, *messages: Message) -> None:
        self._position += 1
        state = await self.publisher.publish(
            [PositionedMessages(self._position, messages)], expected_appended=self.appended
        )
        self.appended, self.epoch = state.appended, state.epoch


def order(number: int, channel: str = "a", *, excluded: str | None = None) -> Message:
    return Message((channel,), "order", json.dumps({"n": number}), excluded=excluded)


def ticket(key: str, version: int, channel: str = "a") -> Message:
    return Message((channel,), "ticket", json.dumps({"id": key, "v": version}), key, version)


@pytest.fixture
async def notifier(redis_server: RedisServer) -> AsyncIterator[Notifier]:
    async with pushlog.connect(redis_server.url, timeout_seconds=2) as redis:
        yield Notifier(redis)


async def resume(client: RawClient, epoch: int, seq: int, channel: str = "a", **more: Any) -> Any:
    """Send a resume. Returns the messages before the reply, and the reply's data."""
    request = {"channel": channel, "epoch": epoch, "seq": seq, **more}
    await client.send("gittix:resume", request)
    return await resumed(client, channel)


async def resumed(client: RawClient, channel: str = "a") -> tuple[list[Any], Any]:
    found: list[Any] = []
    async with asyncio.timeout(5):
        while True:
            message = json.loads(await client.socket.recv())
            data = json.loads(message["data"])
            if message["event"] == "gittix:resumed" and data["channel"] == channel:
                return found, data
            if message["event"] in ("order", "ticket"):
                found.append(data)


async def delivered(gateway: RunningGateway, channel: str, seq: int) -> None:
    """Wait until the gateway has delivered this message."""

    def arrived() -> bool:
        found = gateway.gateway.registry.channel(channel)
        return found is not None and found.position is not None and found.position.seq >= seq

    await until(arrived)


async def test_a_subscription_gets_the_channels_position(
    gateway: RunningGateway, notifier: Notifier
) -> None:
    async with gateway.raw() as before, gateway.raw() as after:
        await before.established()
        assert await before.subscribe("a") == {}
        await notifier.publish(order(1), order(2), order(3, "private-b"))
        assert (await before.data("order"))["_seq"] == 1
        assert (await before.data("order"))["_seq"] == 2
        await after.established()
        position = {"_epoch": notifier.epoch}
        assert await after.subscribe("a") == position | {"_seq": 2}
        assert await after.subscribe("private-b") == position | {"_seq": 1}
        assert await after.subscribe("c") == position | {"_seq": 0}
        presence = await after.subscribe("presence-d", user="one")
        assert presence == position | {
            "_seq": 0,
            "presence": {"ids": ["one"], "hash": {"one": {"name": "one"}}, "count": 1},
        }


async def test_a_client_gets_all_that_it_missed_in_order(
    gateway: RunningGateway, notifier: Notifier
) -> None:
    await notifier.publish(*[order(number) for number in range(1, 8)])
    async with gateway.raw() as client:
        await client.established()
        await client.subscribe("a")
        found, reply = await resume(client, notifier.epoch, 4)
        assert [(data["n"], data["_seq"]) for data in found] == [(5, 5), (6, 6), (7, 7)]
        assert reply == {"channel": "a", "recovered": True, "epoch": notifier.epoch, "seq": 7}
        # The client is live.
        await notifier.publish(order(8))
        assert (await client.data("order"))["_seq"] == 8


async def test_of_each_ticket_only_the_newest_state_is_replayed(
    gateway: RunningGateway, notifier: Notifier
) -> None:
    await notifier.publish(ticket("t1", 1), ticket("t2", 1), ticket("t1", 2), ticket("t1", 3))
    async with gateway.raw() as client:
        await client.established()
        await client.subscribe("a")
        found, reply = await resume(client, notifier.epoch, 0)
        assert [(data["id"], data["v"], data["_seq"]) for data in found] == [
            ("t2", 1, 2),
            ("t1", 3, 4),
        ]
        assert (reply["recovered"], reply["seq"]) == (True, 4)


async def test_a_client_that_missed_nothing_needs_no_read_of_redis(
    gateway: RunningGateway, notifier: Notifier
) -> None:
    await notifier.publish(order(1))
    async with gateway.raw() as client:
        await client.established()
        await client.subscribe("a")
        await notifier.redis.delete(LOG_PREFIX + "a")
        found, reply = await resume(client, notifier.epoch, 1)
        assert (found, reply["recovered"], reply["seq"]) == ([], True, 1)


@pytest.mark.parametrize("change", ["epoch", "future", "trimmed", "expired"])
async def test_what_cannot_be_proven_complete_is_not_recovered(
    gateway: RunningGateway, notifier: Notifier, change: str
) -> None:
    await notifier.publish(order(1), order(2), order(3))
    epoch, seq = notifier.epoch, 1
    match change:
        case "epoch":
            epoch -= 1
        case "future":
            seq = 9
        case "trimmed":
            await notifier.redis.hset(  # type: ignore[misc]
                LOG_PREFIX + "a", "", f"{notifier.epoch} 2 1 800"
            )
        case "expired":
            await notifier.redis.delete(LOG_PREFIX + "a")
    async with gateway.raw() as client:
        await client.established()
        await client.subscribe("a")
        found, reply = await resume(client, epoch, seq)
        assert found == [], "nothing partial"
        assert reply == {"channel": "a", "recovered": False, "epoch": notifier.epoch, "seq": 3}


async def test_messages_during_the_replay_follow_it(
    gateway: RunningGateway, notifier: Notifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reply of Redis is delayed while live messages arrive, with and without numbers."""
    await notifier.publish(order(1), order(2), order(3))
    async with gateway.raw() as client, gateway.raw() as other:
        for one in (client, other):
            await one.established()
            await one.subscribe("a")
        arrived, go_on = hold_replies(monkeypatch, replay.Replays, "_read")
        await client.send("gittix:resume", {"channel": "a", "epoch": notifier.epoch, "seq": 1})
        await arrived.wait()
        await notifier.publish(order(4))
        await gateway.call("trigger", "a", "order", {"n": "trigger"})
        await notifier.publish(order(5))
        # Others do not wait.
        assert [(await other.data("order"))["n"] for _ in range(3)] == [4, "trigger", 5]
        go_on.set()
        found, reply = await resumed(client)
        assert [data["n"] for data in found] == [2, 3]
        assert (reply["recovered"], reply["seq"]) == (True, 3)
        assert [(await client.data("order"))["n"] for _ in range(3)] == [4, "trigger", 5]


@pytest.mark.parametrize("bound", [{"max_held_frames": 2}, {"max_held_bytes": 250}])
async def test_too_many_messages_during_a_replay_close_the_socket(
    redis_server: RedisServer,
    notifier: Notifier,
    monkeypatch: pytest.MonkeyPatch,
    bound: dict[str, int],
) -> None:
    async def never(*_: Any) -> None:
        await asyncio.Event().wait()

    async with running_gateway(redis_server.url, **bound) as gateway, gateway.raw() as client:
        await notifier.publish(order(1), order(2))
        await client.established()
        await client.subscribe("a")
        monkeypatch.setattr(replay.Replays, "_read", never)
        await client.send("gittix:resume", {"channel": "a", "epoch": notifier.epoch, "seq": 1})
        await until(lambda: bool(gateway.gateway.registry.channel("a").holding))  # type: ignore[union-attr]
        await notifier.publish(*[order(number) for number in range(3, 7)])
        assert await client.close_code() == 4200


async def test_a_resume_during_a_read_gets_another_read(
    gateway: RunningGateway, notifier: Notifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: served by the read under way, the second client would miss a message that
    was published after the read and before its subscription.
    """
    await notifier.publish(order(1), order(2))
    async with gateway.raw() as first, gateway.raw() as second:
        await first.established()
        await second.established()
        await first.subscribe("a")
        arrived, go_on = hold_replies(monkeypatch, replay.Replays, "_read")
        await first.send("gittix:resume", {"channel": "a", "epoch": notifier.epoch, "seq": 1})
        await arrived.wait()
        await notifier.publish(order(3))
        await delivered(gateway, "a", 3)
        await second.subscribe("a")
        await second.send("gittix:resume", {"channel": "a", "epoch": notifier.epoch, "seq": 1})
        await second.send("pusher:ping", {})
        await second.message("pusher:pong")
        go_on.set()
        found, reply = await resumed(second)
        assert ([data["n"] for data in found], reply["seq"]) == ([2, 3], 3)


async def test_a_subscription_during_a_read_gets_a_position_before_all_later_messages(
    gateway: RunningGateway, notifier: Notifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    await notifier.publish(order(1), order(1, "b"))
    arrived, go_on = hold_replies(monkeypatch, replay.Replays, "_read")
    async with gateway.raw() as client, gateway.raw() as other:
        await client.established()
        await other.established()
        await client.send("pusher:subscribe", {"channel": "a"})
        await arrived.wait()
        # The gateway delivers this one to nobody.
        await notifier.publish(order(2))
        await until(lambda: gateway.gateway.push_log.number == 3)
        await asyncio.sleep(0.05)
        go_on.set()
        position = await client.data("pusher_internal:subscription_succeeded")
        assert position["_seq"] == 2
        await notifier.publish(order(3))
        assert (await client.data("order"))["_seq"] == 3


async def test_a_hundred_channels_are_read_by_a_few_calls(
    gateway: RunningGateway, notifier: Notifier
) -> None:
    names = [f"ticket-{number}" for number in range(100)]
    await notifier.publish(*[ticket("t", 1, name) for name in names])
    async with gateway.raw() as client:
        await client.established()
        for name in names:
            await client.subscribe(name)
        before = await script_calls(notifier.redis)
        for name in names:
            await client.send("gittix:resume", {"channel": name, "epoch": notifier.epoch, "seq": 0})
        for name in names:
            found, reply = await resumed(client, name)
            assert (len(found), reply["recovered"]) == (1, True)
        assert await script_calls(notifier.redis) - before <= 20


async def script_calls(redis: Redis) -> int:
    return int((await redis.info("commandstats"))["cmdstat_evalsha"]["calls"])


async def test_a_message_is_not_replayed_to_the_socket_that_it_excludes(
    gateway: RunningGateway, notifier: Notifier
) -> None:
    async with gateway.raw() as client:
        await client.established()
        await client.subscribe("a")
        await notifier.publish(
            order(1),
            order(2, excluded=client.socket_id),
            order(3, excluded="1.2"),
            order(4),
        )
        await delivered(gateway, "a", 4)
        assert [(await client.data("order"))["n"] for _ in range(3)] == [1, 3, 4]
        found, reply = await resume(client, notifier.epoch, 1)
        assert ([data["n"] for data in found], reply["seq"]) == ([3, 4], 4)
        # The socket before this one was 1.2.
        found, _ = await resume(client, notifier.epoch, 1, socket_id="1.2")
        assert [data["n"] for data in found] == [4]


async def test_only_a_subscriber_may_resume(gateway: RunningGateway, notifier: Notifier) -> None:
    await notifier.publish(order(1, "private-b"))
    async with gateway.raw() as client:
        await client.established()
        request = {"channel": "private-b", "epoch": notifier.epoch, "seq": 0}
        await client.send("gittix:resume", request)
        error = await client.message("pusher:error")
        assert error["channel"] == "private-b"
        assert error["data"]["message"] == "not subscribed to this channel"
        await client.subscribe("private-b")
        await client.send("pusher:unsubscribe", {"channel": "private-b"})
        await client.send("gittix:resume", request)
        await client.message("pusher:error")


async def test_the_socket_of_a_session_gets_no_replay_while_sessions_are_unknown(
    gateway: RunningGateway, notifier: Notifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    await notifier.publish(order(1), order(2))
    async with gateway.raw() as client, gateway.raw() as other:
        for one in (client, other):
            await one.established()
            await one.subscribe("a")
        channel = gateway.gateway.registry.channel("a")
        assert channel is not None
        (bound,) = [one for one in channel.subscribers if one.socket_id == client.socket_id]
        gateway.gateway.registry.bind_session(bound, uuid4())
        monkeypatch.setattr(gateway.gateway.replays, "_sessions_are_known", lambda: False)
        await client.send("gittix:resume", {"channel": "a", "epoch": notifier.epoch, "seq": 1})
        # Others do not wait, nor does a subscription.
        assert (await resume(other, notifier.epoch, 1))[1]["recovered"]
        assert (await other.subscribe("b"))["_seq"] == 0
        await notifier.publish(order(3))
        await delivered(gateway, "a", 3)
        await client.send("pusher:ping", {})
        assert json.loads(await client.socket.recv())["event"] == "pusher:pong"
        monkeypatch.setattr(gateway.gateway.replays, "_sessions_are_known", lambda: True)
        found, reply = await resumed(client)
        assert ([data["n"] for data in found], reply["seq"]) == ([2, 3], 3)


@pytest.mark.parametrize(
    "request_data",
    [
        {},
        {"channel": "a"},
        {"channel": "a", "epoch": 1, "seq": -1},
        {"channel": "a", "epoch": 1, "seq": 2**53},
        {"channel": "a", "epoch": "1", "seq": 1},
        {"channel": "a", "epoch": 1, "seq": 1.5},
    ],
)
async def test_a_malformed_resume_is_an_error(
    gateway: RunningGateway, request_data: dict[str, Any]
) -> None:
    async with gateway.raw() as client:
        await client.established()
        await client.subscribe("a")
        await client.send("gittix:resume", request_data)
        assert "wrong type" in (await client.message("pusher:error"))["data"]["message"]


async def test_above_its_budget_a_socket_gets_no_replay(
    redis_server: RedisServer, notifier: Notifier
) -> None:
    bounds = {"resumes_per_second": 0.001, "max_channels_per_connection": 3}
    async with running_gateway(redis_server.url, **bounds) as gateway, gateway.raw() as client:
        await notifier.publish(order(1), order(2))
        await client.established()
        await client.subscribe("a")
        for _ in range(3):
            assert (await resume(client, notifier.epoch, 1))[1]["recovered"]
        before = await script_calls(notifier.redis)
        found, reply = await resume(client, notifier.epoch, 1)
        assert (found, reply["recovered"], reply["seq"]) == ([], False, 2)
        assert await script_calls(notifier.redis) == before


async def test_a_replay_with_more_bytes_than_the_budget_is_not_begun(
    redis_server: RedisServer, notifier: Notifier
) -> None:
    bounds = {"replay_bytes_per_second": 1, "replay_bytes_at_once": 5_000}
    async with running_gateway(redis_server.url, **bounds) as gateway, gateway.raw() as client:
        large = [Message(("a",), "order", json.dumps({"n": n, "x": "x" * 900})) for n in range(8)]
        await notifier.publish(*large)
        await client.established()
        await client.subscribe("a")
        found, reply = await resume(client, notifier.epoch, 0)
        assert (found, reply["recovered"]) == ([], False)
        found, reply = await resume(client, notifier.epoch, 5)
        assert (len(found), reply["recovered"]) == (3, True)


async def test_without_redis_a_client_reads_the_api(own_redis: RedisServer) -> None:
    async with (
        running_gateway(own_redis.url, redis_timeout_seconds=0.5) as gateway,
        gateway.raw() as client,
        pushlog.connect(own_redis.url, timeout_seconds=2) as redis,
    ):
        notifier = Notifier(redis)
        await notifier.publish(order(1), order(2))
        await client.established()
        await client.subscribe("a")
        own_redis.kill()
        found, reply = await resume(client, notifier.epoch, 1)
        assert (found, reply["recovered"]) == ([], False)
        # A subscription does not wait for Redis.
        assert await client.subscribe("b") == {}
        await asyncio.to_thread(own_redis.start)
        # The client returns to replays when Redis does.
        await asyncio.sleep(replay.PAUSE_SECONDS)
        async with asyncio.timeout(5):
            while not (await resume(client, notifier.epoch, 1))[1]["recovered"]:  # noqa: ASYNC110
                await asyncio.sleep(0.1)


async def test_a_lost_tail_is_reported_to_all_clients_with_a_position(
    gateway: RunningGateway, notifier: Notifier
) -> None:
    await notifier.publish(order(1), order(2))
    async with gateway.raw() as client, gateway.raw() as other:
        await client.established()
        await client.subscribe("a")
        await other.established()
        await other.subscribe("b")
        epoch = notifier.epoch
        # Redis lost messages that it had acknowledged, of which nobody knows the channels.
        state = await notifier.publisher.detect_loss(expected_appended=4)
        assert state.epoch > epoch
        for one, name in ((client, "a"), (other, "b")):
            reply = await one.data("gittix:resumed")
            assert reply == {"channel": name, "recovered": False, "epoch": state.epoch, "seq": 2}
        notifier.appended = state.appended
        await notifier.publish(order(5))
        message = await client.data("order")
        assert (message["_epoch"], message["_seq"]) == (state.epoch, 3)
        assert not (await resume(client, epoch, 2))[1]["recovered"]
        assert (await resume(client, state.epoch, 2))[1]["recovered"]
        # It is reported once.
        again = await notifier.publisher.detect_loss(expected_appended=state.appended + 1)
        assert again.epoch == (await notifier.publisher.state()).epoch


async def test_before_the_loss_is_announced_a_gateway_that_knows_more_recovers_nobody(
    gateway: RunningGateway, notifier: Notifier
) -> None:
    await notifier.publish(order(1), order(2))
    async with gateway.raw() as client:
        await client.established()
        await client.subscribe("a")
        await notifier.publish(order(1, "b"))
        await until(lambda: gateway.gateway.push_log.number == 3)
        await notifier.redis.hset("gittix:push:state", "n", "2")  # type: ignore[misc]
        found, reply = await resume(client, notifier.epoch, 1)
        assert (found, reply["recovered"]) == ([], False)


async def test_pusher_js_resumes_by_its_own_calls(
    gateway: RunningGateway, notifier: Notifier
) -> None:
    await notifier.publish(order(1), order(2))
    async with gateway.watcher("a") as watcher:
        position = (await watcher.subscribed("a")).data
        assert position == {"_epoch": notifier.epoch, "_seq": 2}
        request = {"channel": "a", "epoch": notifier.epoch, "seq": 0}
        await watcher.do("send", event="gittix:resume", data=request)
        reply = (await watcher.event("gittix:resumed", "a")).data
        assert (reply["recovered"], reply["seq"]) == (True, 2)
        assert [seen.data["n"] for seen in watcher.events("order", "a")] == [1, 2]
