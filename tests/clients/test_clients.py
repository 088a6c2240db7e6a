"""The Go and Java libraries, unchanged, against a gateway: `make test-clients`.

`make test` leaves this folder out. A test is skipped where its language is not installed; Go's and
Maven's own clients fetch the libraries.
"""

import asyncio
import base64
import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pusher
import pytest
import uvicorn

from backend.push import signature
from tests.push.servers import (
    APP_ID,
    HOST,
    KEY,
    SECRET,
    RunningGateway,
    authorizing_app,
    running_gateway,
    serving,
)
from tests.push.test_signature import VECTORS

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache" / "clients"
MASTER_KEY = base64.b64encode(bytes(range(32))).decode()
BUILD_SECONDS = 300
PRIVATE, _PRESENCE, USER, _REQUEST = VECTORS.values()

needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="Go is not installed")
needs_java = pytest.mark.skipif(shutil.which("mvn") is None, reason="Maven is not installed")
pytestmark = pytest.mark.timeout(2 * BUILD_SECONDS)


def built(*command: str, folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, timeout=BUILD_SECONDS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command[0]} could not build: {done.stdout} {done.stderr}"


@asynccontextmanager
async def reports(*command: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """The lines that a program prints, decoded."""
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    stdout = process.stdout
    assert stdout is not None

    async def lines() -> AsyncIterator[dict[str, Any]]:
        async for line in stdout:
            print(line.decode(), end="")  # noqa: T201 - shown by `make test-clients`
            yield json.loads(line)

    try:
        yield lines()
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
async def chatty(redis_url: str) -> AsyncIterator[RunningGateway]:
    async with running_gateway(redis_url, client_events=True, debounce_seconds=0.1) as gateway:
        yield gateway


@needs_go
async def test_pusher_http_go(chatty: RunningGateway) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    program = str(CACHE / "pushclients")
    await asyncio.to_thread(built, "go", "build", "-o", program, ".", folder=HERE / "go")
    body = json.dumps(
        {
            "time_ms": time.time_ns() // 1_000_000,
            "events": [{"name": "channel_occupied", "channel": "show-1"}],
        }
    )
    async with chatty.raw() as ann, chatty.raw() as bob:
        for client, user in ((ann, "ann"), (bob, "bob")):
            await client.established()
            await client.subscribe("presence-room", user)
        await ann.subscribe("show-1")
        sealed_room = "private-encrypted-room"
        text = signature.channel_text(ann.socket_id, sealed_room)
        auth = f"{KEY}:{signature.sign(SECRET, text)}"
        await ann.send("pusher:subscribe", {"channel": sealed_room, "auth": auth})
        await ann.message("pusher_internal:subscription_succeeded")
        user = chatty.pusher.authenticate_user(ann.socket_id, {"id": "ann"})
        await ann.send("pusher:signin", user)
        await ann.message("pusher:signin_success")
        await ann.send("pusher:subscribe", {"channel": "#server-to-user-ann"})
        await ann.message("pusher_internal:subscription_succeeded")
        settings = {
            "Host": f"{HOST}:{chatty.port}",
            "App": {"ID": APP_ID, "Key": KEY, "Secret": SECRET},
            "MasterKey": MASTER_KEY,
            "Socket": ann.socket_id,
            "Webhook": {"Body": body, "Signature": signature.sign(SECRET, body)},
        }
        async with reports(program, json.dumps(settings)) as lines:
            saw = {line.pop("check"): line async for line in lines}
        names = ("counted", "batched", "sealed", "personal")
        received = [await ann.message(event) for event in names]
        assert {each.get("channel") for each in received} >= {"show-1", "#server-to-user-ann"}
        for event in ("counted", "excluded", "batched"):
            await bob.message(event)
    counted, batched, sealed, personal = received
    assert counted["data"] == "go"
    assert json.loads(batched["data"]) == {"at": 0}
    assert set(json.loads(sealed["data"])) == {"nonce", "ciphertext"}
    assert json.loads(personal["data"]) == {"by": "go"}
    both = {"user_count": 2, "subscription_count": 2}
    assert saw.pop("trigger")["saw"]["channels"] == {
        "presence-room": both,
        "show-1": {"subscription_count": 1},
    }
    assert saw.pop("batch")["saw"] == {"batch": [{}, both]}
    assert saw.pop("channels")["saw"] == {"channels": {"presence-room": {"user_count": 2}}}
    assert saw.pop("channel")["saw"]["user_count"] == 2
    assert saw.pop("users")["saw"] == {"users": [{"id": "ann"}, {"id": "bob"}]}
    assert "400" in saw.pop("users of a public channel")["error"]
    assert json.loads(saw.pop("private")["saw"])["auth"].endswith(":" + PRIVATE)
    assert json.loads(saw.pop("user")["saw"])["auth"].endswith(":" + USER)
    assert saw.pop("webhook")["saw"]["events"] == json.loads(body)["events"]
    for name in ("trigger exclusive", "encrypted", "send to user"):
        assert "error" not in saw.pop(name)
    assert saw == {}


@needs_java
async def test_pusher_http_java_and_pusher_java_client(chatty: RunningGateway) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    classpath = CACHE / "java-classpath"
    output = f"-Dmdep.outputFile={classpath}"
    goal = "dependency:build-classpath"
    await asyncio.to_thread(built, "mvn", "-q", "-B", goal, output, folder=HERE / "java")
    sealing = pusher.Pusher(
        APP_ID,
        KEY,
        SECRET,
        host=HOST,
        port=chatty.port,
        ssl=False,
        encryption_master_key_base64=MASTER_KEY,
    )
    app = authorizing_app(MASTER_KEY)
    auth = uvicorn.Server(uvicorn.Config(app, host=HOST, port=0, lifespan="off", log_config=None))
    saw: dict[str, Any] = {}
    async with serving(auth) as auth_port:
        command = ("java", "-cp", classpath.read_text(), str(HERE / "java" / "Clients.java"))
        own = (HOST, str(chatty.port), APP_ID, KEY, SECRET, f"http://{HOST}:{auth_port}")
        async with reports(*command, *own) as lines:
            async for line in lines:
                if "ready" in line:
                    channel = "private-encrypted-room"
                    await asyncio.to_thread(sealing.trigger, channel, "sealed", {"by": "python"})
                else:
                    saw[line["check"]] = line["saw"]
    private, presence = saw.pop("authorized")
    assert json.loads(private)["auth"].endswith(":" + PRIVATE)
    assert json.loads(presence)["channel_data"] == '{"user_id":"ann"}'
    members = '{"users":[{"id":"ann"},{"id":"bob"}]}'
    assert saw == {
        "trigger": ["200", "{}"],
        "event": ["event", "show-1", "n", '{"at":1}'],
        "users": ["users", "presence-room", '[ann {"name":"Ann"}]'],
        "joined": ["joined", "presence-room", "bob"],
        "queried": [
            ["200", members],
            ["200", '{"channels":{"presence-room":{"user_count":2}}}'],
        ],
        "client event": ["event", "presence-room", "client-wave", '{"by":"ann"}'],
        "left": ["left", "presence-room", "bob"],
        "encrypted": ["event", "private-encrypted-room", "sealed", '{"by": "python"}'],
        "batch": ["200", "{}"],
        "batched event": ["event", "show-1", "n", '{"at":2}'],
        "too large": 413,
        "forged": "AUTHENTICATION_ERROR",
    }
