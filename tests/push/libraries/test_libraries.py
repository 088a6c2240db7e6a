"""Unchanged libraries against one gateway: laravel-echo, pusher-js, and the server libraries for
Node and for Python, the latter with `requests` and with aiohttp. One run serves all tests here.
"""

import asyncio
import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pusher
import pytest
from pusher.aiohttp import AsyncIOBackend

from loadtests.ports import free_port
from tests.node import installed, node
from tests.push.gateway_process import GatewayProcess, gateway_processes
from tests.push.servers import APP_ID, HOST, KEY, SECRET, RedisServer

HERE = Path(__file__).parent
MASTER_KEY = base64.b64encode(bytes(range(32))).decode()
RUN_SECONDS = 40


def library(gateway: GatewayProcess, **options: Any) -> Any:
    return pusher.Pusher(
        APP_ID,
        KEY,
        SECRET,
        host=HOST,
        port=gateway.port,
        ssl=False,
        encryption_master_key_base64=MASTER_KEY,
        **options,
    )


@pytest.fixture(scope="module")
def saw(shared_redis: RedisServer) -> Iterator[dict[str, Any]]:
    """What each check in clients.mjs saw, or its error, by name."""
    shared_redis.flush()
    port = free_port()
    settings = {
        "client_events": True,
        "webhook_urls": [f"http://{HOST}:{port}/webhook"],
        "record_facts": True,
        "debounce_seconds": 0.1,
    }
    # npm needs no package of socket.io, which laravel-echo also works with.
    modules = installed(HERE, "push-libraries", "--legacy-peer-deps")
    with gateway_processes(shared_redis.url, 1, **settings) as (gateway,):
        config = {
            "modules": str(modules),
            "host": HOST,
            "port": gateway.port,
            "authPort": port,
            "app": {"id": APP_ID, "key": KEY, "secret": SECRET},
            "masterKey": MASTER_KEY,
        }
        command = [node(), str(HERE / "clients.mjs"), json.dumps(config)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield lines(process, gateway)
            finally:
                process.kill()


def lines(process: subprocess.Popen[str], gateway: GatewayProcess) -> dict[str, Any]:
    found: dict[str, Any] = {}
    assert process.stdout is not None
    for text in process.stdout:
        line = json.loads(text)
        if "ready" in line:
            channel = "private-encrypted-all"
            library(gateway).trigger(channel, "of-python", {"by": "python"})
            asyncio.run(trigger_by_aiohttp(gateway, channel))
        else:
            found[line["check"]] = line.get("saw", line.get("error"))
    return found


async def trigger_by_aiohttp(gateway: GatewayProcess, channel: str) -> None:
    client = library(gateway, backend=AsyncIOBackend)
    assert await client.trigger(channel, "of-aiohttp", {"by": "aiohttp"}) == {}
    info = await client.channel_info(channel, ["subscription_count"])
    assert info == {"occupied": True, "subscription_count": 1}
    with pytest.raises(pusher.errors.PusherBadStatus, match="413"):
        await client.trigger("show-1", "n", "x" * 10_241)
    with pytest.raises(pusher.errors.PusherBadRequest):
        await client.users_info("show-1")
    assert await client.terminate_user_connections("nobody") == {}


EXPECTED: dict[str, Any] = {
    "echo listens on a public, a private and an encrypted channel": [
        {"of": "show-1"},
        {"of": "private-orders"},
        {"of": "private-encrypted-secrets"},
    ],
    "echo sees who is here, joins and leaves, and whispers": {
        "here": [{"name": "ann"}],
        "both": [{"name": "ann"}, {"name": "bob"}],
        "joined": {"name": "bob"},
        "whisper": {"by": "bob"},
        "left": {"name": "bob"},
    },
    "a trigger excludes the socket that caused it": {
        "text": "text",
        "own": ["last"],
        "other": {"at": 1},
    },
    "a batch arrives in its order, and info counts": {
        "seen": list(range(10)),
        "last": {"user_count": 1, "subscription_count": 1},
        "one": {"channels": {"presence-batch": {"user_count": 1}}},
    },
    "channels and users are queried": [
        {"channels": {"presence-query": {"user_count": 1}}},
        {"occupied": True, "user_count": 1},
        {"users": [{"id": "ann"}]},
        {"occupied": False},
        400,
    ],
    "a signed-in user receives, and is terminated": {"received": {"you": "zoe"}, "code": 4009},
    "encrypted events of three libraries arrive decrypted": {
        "events": [{"by": "node"}, {"by": "python"}, {"by": "aiohttp"}],
        "onTheWire": ["ciphertext", "nonce"],
    },
    "errors have the statuses of the protocol": [200, 413, 400, 400, 401, 401, 404],
    "webhooks are valid for this library only with the secret": {
        "valid": True,
        "forged": False,
        "event": {"name": "channel_occupied", "channel": "private-hooked"},
        "recent": True,
    },
}


@pytest.mark.timeout(RUN_SECONDS)
@pytest.mark.parametrize("check", EXPECTED)
def test_an_unchanged_library_works(saw: dict[str, Any], check: str) -> None:
    assert saw[check] == EXPECTED[check]


def test_every_check_is_compared(saw: dict[str, Any]) -> None:
    assert saw.keys() == EXPECTED.keys()
