"""Connections of pusher-js to the gateway, and of a bare client where pusher-js is too limited."""

import asyncio
import json
import time
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from backend.push import signature
from backend.push.cluster_script import ROSTER_CHANGED
from backend.push.push_log import Message
from tests.push.servers import (
    KEY,
    SECRET,
    RedisServer,
    RunningGateway,
    entries,
    running_gateway,
    until,
)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"/app/{KEY}", 4008),
        (f"/app/{KEY}?protocol=x", 4006),
        (f"/app/{KEY}?protocol=4", 4007),
        ("/app/other?protocol=7", 4001),
        (f"/elsewhere/{KEY}?protocol=7", 4005),
    ],
)
async def test_a_refused_handshake_is_a_close_code(
    gateway: RunningGateway, path: str, code: int
) -> None:
    async with gateway.raw(path) as client:
        assert await client.close_code() == code


async def test_connections_above_the_limit_are_refused(redis_server: RedisServer) -> None:
    async with (
        running_gateway(redis_server.url, max_connections=1) as gateway,
        gateway.raw() as first,
    ):
        await first.established()
        async with gateway.raw() as second:
            assert await second.close_code() == 4100


async def test_the_first_message_has_the_socket_id_and_the_timeout(gateway: RunningGateway) -> None:
    async with gateway.raw(
        f"/app/{KEY}?protocol=7&client=js&version=8.6.0&flash=false&other=1"
    ) as client:
        assert (await client.established())["activity_timeout"] == 30
        assert all(part.isdigit() for part in client.socket_id.split("."))
        assert client.socket_id.count(".") == 1


async def test_pusher_js_subscribes_to_public_private_and_presence(
    redis_server: RedisServer,
) -> None:
    async with (
        running_gateway(
            redis_server.url, subscription_counts=True, debounce_seconds=0.1
        ) as gateway,
        gateway.watcher("show-1", "private-user-ann", "presence-show-1", user="ann") as ann,
    ):
        await ann.subscribed("show-1")
        await ann.subscribed("private-user-ann")
        assert (await ann.subscribed("presence-show-1")).data["count"] == 1
        assert (await ann.event("pusher:subscription_count", "show-1")).data == {
            "subscription_count": 1
        }
        async with gateway.watcher("presence-show-1", user="bob") as bob:
            assert (await bob.subscribed("presence-show-1")).data["members"]["ann"] == {
                "name": "Ann"
            }
            joined = await ann.event("pusher:member_added", "presence-show-1")
            assert joined.data == {"id": "bob", "info": {"name": "Bob"}}
        left = await ann.event("pusher:member_removed", "presence-show-1")
        assert left.data["id"] == "bob"


@pytest.mark.parametrize("channel", ["private-user-ann", "presence-show-1", "private-encrypted-1"])
async def test_a_forged_authorization_is_a_subscription_error(
    gateway: RunningGateway, channel: str
) -> None:
    async with gateway.raw() as client:
        await client.established()
        await client.send(
            "pusher:subscribe",
            {"channel": channel, "auth": f"{KEY}:{'0' * 64}", "channel_data": '{"user_id":"ann"}'},
        )
        assert (await client.data("pusher:subscription_error"))["status"] == 401
        assert list(gateway.gateway.registry.occupied()) == []


async def test_pusher_js_receives_an_error_for_a_forged_authorization(
    gateway: RunningGateway,
) -> None:
    async with gateway.watcher("private-user-ann", user="ann", forge=True) as watcher:
        error = await watcher.event("pusher:subscription_error", "private-user-ann")
        assert error.data == {"type": "AuthError", "error": "invalid signature", "status": 401}


async def test_an_unsubscribed_channel_delivers_nothing(gateway: RunningGateway) -> None:
    async with gateway.watcher("show-1", "show-2") as watcher:
        await watcher.subscribed("show-1")
        await watcher.subscribed("show-2")
        await watcher.do("unsubscribe", channel="show-1")
        await watcher.do("subscribe", channel="show-3")
        await watcher.subscribed("show-3")
        await gateway.call("trigger", ["show-1", "show-2"], "n", {})
        await watcher.event("n", "show-2")
        assert watcher.events("n", "show-1") == []


async def test_a_signed_in_user_receives_messages_to_the_user(gateway: RunningGateway) -> None:
    async with gateway.watcher(user="ann") as watcher:
        await watcher.event("connected")
        await watcher.do("signin")
        await watcher.event("pusher:signin_success")
        await until(lambda: gateway.gateway.registry.channel("#server-to-user-ann") is not None)
        await gateway.call("trigger", "#server-to-user-ann", "hello", {"you": "ann"})
        assert (await watcher.event("hello", "user")).data == {"you": "ann"}


async def test_the_user_channel_is_refused_to_others_and_a_forged_sign_in_closes_the_connection(
    gateway: RunningGateway,
) -> None:
    async with gateway.raw() as client:
        await client.established()
        await client.send("pusher:subscribe", {"channel": "#server-to-user-ann", "auth": ""})
        assert (await client.data("pusher:subscription_error"))["status"] == 401
        await client.send(
            "pusher:signin", {"auth": f"{KEY}:{'0' * 64}", "user_data": '{"id":"ann"}'}
        )
        assert (await client.data("pusher:error"))["code"] == 4009
        assert await client.close_code() == 4009


async def test_a_signed_in_user_joins_presence_as_itself_and_cannot_change_identity(
    gateway: RunningGateway,
) -> None:
    async with gateway.raw() as client:
        await client.established()
        for user, answer in (("ann", "pusher:signin_success"), ("bob", "pusher:error")):
            await client.send(
                "pusher:signin", gateway.pusher.authenticate_user(client.socket_id, {"id": user})
            )
            await client.message(answer)
            if user == "ann":
                token = signature.sign(
                    SECRET, signature.channel_text(client.socket_id, "presence-a")
                )
                await client.send(
                    "pusher:subscribe", {"channel": "presence-a", "auth": f"{KEY}:{token}"}
                )
                joined = await client.data("pusher_internal:subscription_succeeded")
                assert joined["presence"]["ids"] == ["ann"]
        assert await client.close_code() == 4009


async def test_client_events_are_refused_unless_a_setting_allows_them(
    gateway: RunningGateway, redis_server: RedisServer
) -> None:
    async with gateway.raw() as client:
        await client.established()
        await client.subscribe("presence-a", "ann")
        await client.send("client-wave", {}, channel="presence-a")
        refusal = await client.message("pusher:error")
    assert refusal["data"] == {
        "code": 4301,
        "message": "client events are off in this app; PUSH_CLIENT_EVENTS=on allows them",
    }
    assert refusal["channel"] == "presence-a"
    published = [message for entry in entries(redis_server.url) for message in entry.messages]
    assert [message.event for message in published if message.channels] == []


async def test_client_events_reach_others_with_the_senders_user_id(
    chatty: RunningGateway,
) -> None:
    async with (
        chatty.raw() as ann,
        chatty.watcher("presence-a", user="bob") as bob,
        chatty.raw() as cyd,
    ):
        await bob.subscribed("presence-a")
        for client, user in ((ann, "ann"), (cyd, "cyd")):
            await client.established()
            await client.subscribe("presence-a", user)
        await ann.send("client-wave", {"to": "all"}, channel="presence-a", user_id="cyd")
        message = await cyd.message("client-wave")
        assert (message["user_id"], message["data"]) == ("ann", '{"to": "all"}')
        assert (await bob.event("client-wave", "presence-a")).data == {"to": "all"}
        await bob.do("trigger", channel="presence-a", event="client-wave", data={"from": "bob"})
        assert (await ann.message("client-wave"))["user_id"] == "bob"


async def test_client_events_are_refused_on_public_channels_and_above_the_rate(
    chatty: RunningGateway,
) -> None:
    async with chatty.raw() as client:
        await client.established()
        await client.subscribe("show-1")
        await client.send("client-a", {}, channel="show-1")
        assert (await client.data("pusher:error"))["code"] == 4301
        await client.send("client-a", {}, channel="private-a")
        assert "not subscribed" in (await client.data("pusher:error"))["message"]
        await client.subscribe("private-a")
        for _ in range(12):
            await client.send("client-a", {}, channel="private-a")
        assert "too many" in (await client.data("pusher:error"))["message"]


async def test_a_user_with_many_sockets_has_the_client_events_of_one_user(
    redis_server: RedisServer, chatty: RunningGateway
) -> None:
    """One account with 64 sockets: each sends 10 events of 10 KB, which its own budget admits."""
    sockets = 64
    data = {"text": "x" * 10_000}
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(chatty.raw()) for _ in range(sockets)]
        for client in clients:
            await client.established()
            await client.subscribe("presence-a", "ann")
        for _ in range(10):
            await asyncio.gather(
                *(client.send("client-flood", data, channel="presence-a") for client in clients)
            )
        for client in clients:
            await client.send("gittix:time", {})
            await client.message("gittix:time")
    seconds = int(time.monotonic() - began) + 1
    appended = [message for entry in entries(redis_server.url) for message in entry.messages]
    budget = chatty.gateway.settings.user_client_event_bytes_per_second
    assert 0 < sum(len(message.data) for message in appended) <= budget * (seconds + 1)
    assert len(appended) < sockets


async def test_both_sides_ping(redis_server: RedisServer) -> None:
    async with (
        running_gateway(
            redis_server.url, activity_timeout_seconds=0.2, pong_timeout_seconds=0.2
        ) as gateway,
        gateway.raw() as client,
    ):
        await client.established()
        await client.send("pusher:ping", {})
        await client.message("pusher:pong")
        await client.message("pusher:ping")
        await client.send("pusher:pong", {})
        await client.message("pusher:ping")


async def test_a_silent_client_is_closed_with_4201_and_an_active_one_is_not(
    redis_server: RedisServer,
) -> None:
    times = {"activity_timeout_seconds": 0.2, "pong_timeout_seconds": 0.2}
    async with (
        running_gateway(redis_server.url, **times) as gateway,
        gateway.raw() as silent,
        gateway.raw() as alive,
    ):
        await silent.established()
        for _ in range(7):
            await alive.socket.pong()
            await asyncio.sleep(0.1)
        assert await silent.close_code() == 4201
        await alive.send("gittix:time", {})
        await alive.message("gittix:time")


async def test_pusher_js_receives_the_servers_clock(gateway: RunningGateway) -> None:
    async with gateway.watcher() as watcher:
        await watcher.event("connected")
        await watcher.do("send", event="gittix:time", data={})
        assert abs((await watcher.event("gittix:time")).data["now"] / 1_000 - time.time()) < 2
        await watcher.do("send", event="gittix:time", data={"question": 7, "é": [1], "now": 3})
        data = (await watcher.event("gittix:time")).data
        assert (data["question"], data["é"]) == (7, [1])
        assert data["now"] > 3


@pytest.mark.parametrize("data", [7, [], "x", {"long": "x" * 256}])
async def test_a_question_for_the_time_is_a_short_object(
    gateway: RunningGateway, data: Any
) -> None:
    async with gateway.raw() as client:
        await client.established()
        await client.send("gittix:time", data)
        assert (await client.data("pusher:error"))["code"] is None


@pytest.mark.parametrize(
    "text", ["", "[]", "nothing", '{"event":"pusher:subscribe","data":7}', '{"event":"what"}']
)
async def test_a_malformed_message_is_answered_with_an_error(
    gateway: RunningGateway, text: str
) -> None:
    async with gateway.raw() as client:
        await client.established()
        await client.socket.send(text)
        assert (await client.data("pusher:error"))["code"] is None
        await client.subscribe("show-1")


async def test_channels_and_messages_of_a_connection_are_bounded(redis_server: RedisServer) -> None:
    bounds = {"max_channels_per_connection": 2, "messages_per_second": 5}
    async with running_gateway(redis_server.url, **bounds) as gateway, gateway.raw() as client:
        await client.established()
        for channel in ("a", "b"):
            await client.subscribe(channel)
        await client.send("pusher:subscribe", {"channel": "c"})
        assert (await client.data("pusher:subscription_error"))["type"] == "LimitReached"
        for _ in range(50):
            with suppress(ConnectionClosed):
                await client.send("pusher:ping", {})
        assert await client.close_code() == 4100


async def test_presence_is_bounded(redis_server: RedisServer) -> None:
    async with (
        running_gateway(redis_server.url, max_presence_members=1) as gateway,
        gateway.watcher("presence-a", user="ann") as ann,
        gateway.watcher("presence-a", user="ann") as tab,
    ):
        await ann.subscribed("presence-a")
        await tab.subscribed("presence-a")
        async with gateway.watcher("presence-a", user="bob") as bob:
            assert (await bob.event("pusher:subscription_error", "presence-a")).data[
                "status"
            ] == 4100


async def test_health_and_readiness(gateway: RunningGateway) -> None:
    assert (await gateway.get("/healthz")).status_code == 200
    ready = await gateway.get("/readyz")
    while ready.status_code != 200:
        await asyncio.sleep(0.02)
        ready = await gateway.get("/readyz")
    assert ready.json()["status"] == "ready"
    assert set(ready.json()["checks"].values()) == {"ok"}
    assert "gittix_push_sockets" in (await gateway.get("/metrics")).text


@pytest.mark.parametrize(("size", "accepted"), [(980, True), (1_000, False)])
async def test_a_member_has_at_most_a_kilobyte_with_its_id(
    gateway: RunningGateway, size: int, accepted: bool
) -> None:
    # The id and the names of the fields have 32 characters more.
    data = json.dumps({"user_id": "ann", "user_info": "x" * size})
    async with gateway.raw() as client:
        await client.established()
        text = signature.channel_text(client.socket_id, "presence-a", data)
        token = f"{KEY}:{signature.sign(SECRET, text)}"
        request = {"channel": "presence-a", "auth": token, "channel_data": data}
        await client.send("pusher:subscribe", request)
        if accepted:
            await client.message("pusher_internal:subscription_succeeded")
        else:
            assert (await client.data("pusher:subscription_error"))["type"] == "LimitReached"


async def test_a_malformed_change_of_a_roster_closes_no_socket(gateway: RunningGateway) -> None:
    async with gateway.raw() as client:
        await client.established()
        await client.subscribe("presence-a", "ann")
        await gateway.gateway.publish(Message((), ROSTER_CHANGED, '{"channel":"presence-a"}'))
        await gateway.call("trigger", "presence-a", "after", {})
        assert await client.data("after") == {}
