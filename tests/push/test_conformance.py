"""The exact frames of the protocol, byte by byte as JSON: names, keys, types and order.

Elsewhere: handshakes and client events in test_gateway; close codes of frames in
test_hostile_sockets; signatures in test_signature; rosters over gateways in test_nodes; the HTTP
API in test_api; webhooks in test_webhooks; libraries in libraries/ and tests/clients.
"""

import asyncio
import json
from typing import Any

from tests.push.servers import KEY, RawClient, RunningGateway


async def frame(client: RawClient) -> dict[str, Any]:
    async with asyncio.timeout(5):
        text = await client.socket.recv()
    assert isinstance(text, str), "frames are text"
    found: dict[str, Any] = json.loads(text)
    return found


async def test_the_frames_of_a_public_subscription(gateway: RunningGateway) -> None:
    async with gateway.raw() as client:
        first = await frame(client)
        assert first.keys() == {"event", "data"}
        assert first["event"] == "pusher:connection_established"
        data = json.loads(first["data"])
        assert data.keys() == {"socket_id", "activity_timeout"}
        assert type(data["activity_timeout"]) is int
        succeeded = {
            "event": "pusher_internal:subscription_succeeded",
            "channel": "a",
            "data": "{}",
        }
        # Twice: a repeated subscription succeeds again. Unsubscribing has no reply.
        for request in ({"channel": "a", "auth": ""}, json.dumps({"channel": "a"})):
            await client.send("pusher:subscribe", request)
            assert await frame(client) == succeeded
        await client.send("pusher:unsubscribe", {"channel": "a"})
        await client.send("pusher:ping", {})
        assert await frame(client) == {"event": "pusher:pong", "data": "{}"}


async def test_the_frames_of_a_presence_channel(gateway: RunningGateway) -> None:
    async with gateway.raw() as ann, gateway.raw() as bob:
        for client in (ann, bob):
            await client.established()
        succeeded: dict[str, Any] = {}
        for client, user in ((ann, "ann"), (bob, "bob")):
            request = {"channel": "presence-a"} | gateway.pusher.authenticate(
                "presence-a", client.socket_id, {"user_id": user, "user_info": {"of": user}}
            )
            await client.send("pusher:subscribe", request)
            succeeded = await frame(client)
        assert succeeded.keys() == {"event", "channel", "data"}
        assert json.loads(succeeded["data"])["presence"] == {
            "ids": ["ann", "bob"],
            "hash": {"ann": {"of": "ann"}, "bob": {"of": "bob"}},
            "count": 2,
        }
        added = await frame(ann)
        assert json.loads(added.pop("data")) == {"user_id": "bob", "user_info": {"of": "bob"}}
        assert added == {"event": "pusher_internal:member_added", "channel": "presence-a"}


async def test_the_frames_of_refusals_and_of_a_sign_in(gateway: RunningGateway) -> None:
    async with gateway.raw() as client:
        await client.established()
        await client.send("pusher:subscribe", {"channel": "private-a", "auth": f"{KEY}:0"})
        assert await frame(client) == {
            "event": "pusher:subscription_error",
            "channel": "private-a",
            "data": {"type": "AuthError", "error": "invalid signature", "status": 401},
        }
        request = gateway.pusher.authenticate_user(client.socket_id, {"id": "ann"})
        await client.send("pusher:signin", request)
        success = await frame(client)
        assert success.keys() == {"event", "data"}
        assert success["event"] == "pusher:signin_success"
        assert json.loads(success["data"])["user_data"] == request["user_data"]
        await client.send("pusher:signin", request | {"auth": f"{KEY}:0"})
        assert await frame(client) == {
            "event": "pusher:error",
            "data": {"code": 4009, "message": "sign-in refused"},
        }
        assert await client.close_code() == 4009
