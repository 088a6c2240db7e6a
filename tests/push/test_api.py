"""The HTTP API, called by the official library, with pusher-js as receiver."""

import asyncio
import hashlib
import json
import time
from typing import Any
from urllib.parse import quote

import httpx
import pusher.errors
import pytest

from backend.push import idempotency, signature
from backend.push.idempotency import Outcome
from backend.push.push_log import Message, connect
from tests.push.servers import (
    APP_ID,
    HOST,
    KEY,
    SECRET,
    RedisServer,
    RunningGateway,
    entries,
    running_gateway,
)


async def test_a_triggered_event_reaches_pusher_js(gateway: RunningGateway) -> None:
    async with gateway.watcher("show-1", "show-2") as watcher:
        await watcher.subscribed("show-1")
        await watcher.subscribed("show-2")
        assert (
            await gateway.call("trigger", ["show-1", "show-2"], "ticket.held", {"name": "Zoë"})
            == {}
        )
        assert (await watcher.event("ticket.held", "show-1")).data == {"name": "Zoë"}
        assert (await watcher.event("ticket.held", "show-2")).data == {"name": "Zoë"}


async def test_a_batch_arrives_in_its_order(gateway: RunningGateway) -> None:
    async with gateway.watcher("show-1") as watcher:
        await watcher.subscribed("show-1")
        batch = [{"channel": "show-1", "name": "n", "data": {"at": at}} for at in range(10)]
        await gateway.call("trigger_batch", batch)
        assert [(await watcher.event("n")).data["at"] for _ in range(10)] == list(range(10))
        with pytest.raises(pusher.errors.PusherBadRequest):
            await gateway.call(
                "trigger_batch", [{"channel": "show-1", "name": "n", "data": ""}] * 11
            )


async def test_the_excluded_socket_does_not_receive_its_own_event(gateway: RunningGateway) -> None:
    async with gateway.watcher("show-1") as sender, gateway.watcher("show-1") as other:
        socket_id = await sender.socket_id()
        await sender.subscribed("show-1")
        await other.subscribed("show-1")
        await gateway.call("trigger", "show-1", "mine", {}, socket_id)
        await gateway.call("trigger", "show-1", "after", {})
        await sender.event("after")
        await other.event("mine")
        assert sender.events("mine") == []


async def test_channels_and_users_are_returned(gateway: RunningGateway) -> None:
    async with gateway.watcher("show-1", "presence-show-1", user="u1") as watcher:
        await watcher.subscribed("show-1")
        await watcher.subscribed("presence-show-1")
        assert await gateway.call("channels_info") == {
            "channels": {"show-1": {}, "presence-show-1": {}}
        }
        assert await gateway.call("channels_info", "presence-", ["user_count"]) == {
            "channels": {"presence-show-1": {"user_count": 1}}
        }
        found = await gateway.call("channel_info", "show-1", ["subscription_count"])
        assert found == {"occupied": True, "subscription_count": 1}
        assert await gateway.call("channel_info", "show-2") == {"occupied": False}
        assert await gateway.call("users_info", "presence-show-1") == {"users": [{"id": "u1"}]}
    for call in (("channel_info", "show-1", ["user_count"]), ("users_info", "show-1")):
        with pytest.raises(pusher.errors.PusherBadRequest):
            await gateway.call(*call)


async def test_terminate_closes_the_users_connections(gateway: RunningGateway) -> None:
    async with gateway.watcher(user="u1") as watcher, gateway.watcher(user="u2") as other:
        for each in (watcher, other):
            await each.event("connected")
            await each.do("signin")
            await each.event("pusher:signin_success")
        await gateway.call("terminate_user_connections", "u1")
        assert (await watcher.event("error")).data["code"] == 4009
        assert other.events("error") == []


async def test_oversized_or_malformed_events_are_refused(gateway: RunningGateway) -> None:
    with pytest.raises(pusher.errors.PusherBadStatus, match="413"):
        await gateway.call("trigger", "show-1", "n", "x" * 10_241)
    assert (
        await post(gateway, "/events", b'{"name":"n","data":{},"channel":"a"}')
    ).status_code == 400
    assert (
        await post(gateway, "/events", b'{"name":"n","data":"","channel":"a b"}')
    ).status_code == 400
    assert (await post(gateway, "/events", b'{"name":"n","data":""}')).status_code == 400
    assert (await post(gateway, "/events", b"\xff")).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        b'{"name":"n","channel":"a","data":"","deep":' + b"[" * 2_000,
        b'{"name":"n","channel":"a","data":"","deep":' + b"[" * 900 + b"]" * 900 + b"}",
        b"[" * 100_000,
        b'{"name":"n","channel":"a","data":"\xff"}',
        b'{"name":"n","channel":"a","data":"\\ud800"}',
    ],
)
async def test_a_deep_or_malformed_body_is_refused(gateway: RunningGateway, body: bytes) -> None:
    for path in ("/events", "/batch_events"):
        refused = await post(gateway, path, body)
        assert (refused.status_code, refused.text.partition(" is ")[0]) in {
            (400, "the body"),
            (400, "the body has more than 32 levels"),
            (400, "the body has more than 10000 arrays and objects"),
        }


@pytest.mark.parametrize(
    ("target", "host"),
    [
        (b"/apps/3/channels?" + b"&".join([b"a=1"] * 65), b"x"),
        (b"/apps/3/channels?a=\xff", b"x"),
        (b"/apps/3/channels?a=%FF", b"x"),
        (b"/apps/3/channels?", b"[::"),
        (b"/apps/3/channels?", b"\xff"),
    ],
)
async def test_a_malformed_query_or_host_of_a_stranger_is_refused(
    gateway: RunningGateway, target: bytes, host: bytes
) -> None:
    reader, writer = await asyncio.open_connection(HOST, gateway.port)
    writer.write(b"GET %b HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % (target, host))
    reply = await reader.read()
    assert reply[:12] in {b"HTTP/1.1 400", b"HTTP/1.1 401"}
    writer.close()


async def test_the_reply_has_counts_when_requested(gateway: RunningGateway) -> None:
    async with gateway.raw() as client:
        await client.established()
        await client.subscribe("show-1")
        body = b'{"name":"n","data":"","channels":["show-1"],"info":"subscription_count"}'
        answer = await post(gateway, "/events", body)
        assert answer.json() == {"channels": {"show-1": {"subscription_count": 1}}}


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"auth_key": "other"}, 401),
        ({"auth_signature": "0" * 64}, 401),
        ({"auth_signature": "é"}, 401),
        ({"auth_timestamp": "1353088179"}, 401),
        ({"body_md5": "0" * 32}, 401),
        ({"app_id": "4"}, 404),
    ],
)
async def test_a_request_without_a_valid_signature_is_refused(
    gateway: RunningGateway, changed: dict[str, Any], status: int
) -> None:
    body = b'{"name":"n","data":"","channel":"show-1"}'
    assert (await post(gateway, "/events", body)).status_code == 200
    assert (await post(gateway, "/events", body, **changed)).status_code == status


def encoded(body: Any) -> bytes:
    return json.dumps(body).encode()


async def post(
    gateway: RunningGateway,
    path: str,
    body: bytes,
    *,
    headers: dict[str, str] | None = None,
    **changed: Any,
) -> httpx.Response:
    """Post a signed request. Digest and time are changed before signing, other parts after it."""
    path = f"/apps/{changed.pop('app_id', APP_ID)}{path}"
    query = {
        "auth_key": KEY,
        "auth_timestamp": changed.pop("auth_timestamp", str(int(time.time()))),
        "auth_version": "1.0",
        "body_md5": changed.pop("body_md5", hashlib.md5(body).hexdigest()),
    }
    query["auth_signature"] = signature.sign(
        SECRET, signature.request_text("POST", path, query.items())
    )
    async with httpx.AsyncClient() as client:
        return await client.post(
            f"http://{HOST}:{gateway.port}{path}",
            params=query | changed,
            content=body,
            headers=headers,
        )


async def test_a_user_id_of_any_characters_signs_in_joins_receives_and_is_terminated(
    gateway: RunningGateway,
) -> None:
    user = "auth0|é/ 1"
    async with gateway.raw() as client:
        await client.established()
        data = json.dumps({"id": user})
        auth = f"{KEY}:{signature.sign(SECRET, signature.signin_text(client.socket_id, data))}"
        await client.send("pusher:signin", {"auth": auth, "user_data": data})
        await client.message("pusher:signin_success")
        roster = await client.subscribe("presence-room", user)
        assert roster["presence"]["ids"] == [user]
        own = f"#server-to-user-{user}"
        await client.send("pusher:subscribe", {"channel": own, "auth": ""})
        await client.message("pusher_internal:subscription_succeeded")
        body = {"name": "hello", "channel": own, "data": "{}"}
        assert (await post(gateway, "/events", encoded(body))).status_code == 200
        assert (await client.message("hello"))["channel"] == own
        path = f"/users/{quote(user, safe='')}/terminate_connections"
        assert (await post(gateway, path, b"{}")).status_code == 200
        assert await client.close_code() == 4009


async def test_above_its_budget_the_api_publishes_nothing_and_names_a_time(
    redis_server: RedisServer,
) -> None:
    async with running_gateway(
        redis_server.url, api_messages_per_second=10, api_messages_at_once=20
    ) as gateway:
        event = {"name": "n", "data": "{}"}
        many = event | {"channels": [f"show-{number}" for number in range(20)]}
        assert (await post(gateway, "/events", encoded(many))).status_code == 200
        refused = await post(gateway, "/events", encoded(many))
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
        assert len(entries(redis_server.url)) == 1
        batch = {"batch": [event | {"channel": "show-1"}] * 10}
        refused = await post(gateway, "/batch_events", encoded(batch))
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")


@pytest.mark.parametrize(
    ("allowed", "origin", "code"),
    [
        (["https://shop.test"], "https://shop.test", None),
        (["https://shop.test"], None, None),
        (["https://shop.test"], "https://evil.test", 4009),
        (["https://shop.test"], "http://shop.test", 4009),
        (["https://shop.test"], "null", 4009),
        ([], "https://shop.test", 4009),
        (None, "https://evil.test", None),
    ],
)
async def test_a_browser_of_another_origin_is_refused(
    redis_server: RedisServer, allowed: list[str] | None, origin: str | None, code: int | None
) -> None:
    async with (
        running_gateway(redis_server.url, origins=allowed) as gateway,
        gateway.raw(origin=origin) as client,
    ):
        if code is None:
            await client.established()
        else:
            assert await client.close_code() == code


async def test_a_repeated_request_with_its_key_publishes_nothing(
    gateway: RunningGateway, redis_server: RedisServer
) -> None:
    event = encoded({"name": "n", "data": "{}", "channel": "show-1"})
    key = {"X-Idempotency-Key": "order-7"}
    async with running_gateway(redis_server.url) as second:
        replies = await asyncio.gather(
            *(
                post(one, "/events", event, headers=key)
                for one in (gateway, second)
                for _ in range(10)
            )
        )
    assert {(reply.status_code, reply.text) for reply in replies} == {(200, "{}")}
    assert len(entries(redis_server.url)) == 1
    # The control: without a key, each request publishes.
    for _ in range(2):
        await post(gateway, "/events", event)
    assert len(entries(redis_server.url)) == 3


async def test_a_key_of_another_request_is_refused(
    gateway: RunningGateway, redis_server: RedisServer
) -> None:
    event = {"name": "n", "data": "1", "channel": "show-1"}
    key = {"X-Idempotency-Key": "k" * 128}
    assert (await post(gateway, "/events", encoded(event), headers=key)).status_code == 200
    other = encoded(event | {"data": "2"})
    assert (await post(gateway, "/events", other, headers=key)).status_code == 409
    batch = encoded({"batch": [event]})
    assert (await post(gateway, "/batch_events", batch, headers=key)).status_code == 409
    assert len(entries(redis_server.url)) == 1
    for bad in ("", "k" * 129):
        refused = await post(gateway, "/events", other, headers={"X-Idempotency-Key": bad})
        assert refused.status_code == 400


async def test_keys_are_bounded_in_number_and_time(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client: Any = connect(redis_server.url, timeout_seconds=2)
    text = idempotency.APPEND_ONCE.replace(str(-idempotency.MAX_KEYS - 1), "-6")
    assert text != idempotency.APPEND_ONCE
    monkeypatch.setattr(idempotency, "APPEND_ONCE", text)
    log = idempotency.IdempotentLog(client, timeout_seconds=2, cache_seconds=60)
    message = Message(("show-1",), "n", "{}")
    for number in range(10):
        assert await log.append(str(number), b"r", [message]) == Outcome.APPENDED
    assert await client.zcard(idempotency.TIMES) == await client.hlen(idempotency.REQUESTS) == 5
    assert await log.append("9", b"r", [message]) == Outcome.REPEATED
    assert await log.append("0", b"r", [message]) == Outcome.APPENDED
    old = int((time.time() - idempotency.SECONDS - 1) * 1000)
    for key in await client.zrange(idempotency.TIMES, 0, -1):
        await client.zadd(idempotency.TIMES, {key: old})
    assert await log.append("9", b"another", [message]) == Outcome.APPENDED
    assert await client.zcard(idempotency.TIMES) == await client.hlen(idempotency.REQUESTS) == 1
    await client.aclose()
