"""The gateway of the push benchmark: `gittix serve push` as its own process, and its publishers."""

import asyncio
import hashlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

from backend.embedded.secrets import new_secrets
from backend.kernel.settings import Settings
from backend.push.push_log import Message
from backend.push.push_log_backend import PushLogBackend
from backend.push.signature import request_text, sign
from loadtests.bench.load import post
from loadtests.ports import free_port

HOST = "127.0.0.1"
APP_ID = "3"
START_SECONDS = 20.0
# Data whose frame on the channel `bench`, with the event `m`, has the 300 bytes of the floor's.
DATA_BYTES = 256
BATCH = 10

TICK = os.sysconf("SC_CLK_TCK")


class Usage(NamedTuple):
    cpu_seconds: float
    resident_kilobytes: int


class Gateway:
    def __init__(self, pid: int, port: int, key: str, secret: str, redis_url: str) -> None:
        self.pid = pid
        self.port = port
        self.path = f"/app/{key}?protocol=7&client=bench&version=1"
        self._key = key
        self._secret = secret
        self._redis_url = redis_url

    def usage(self) -> Usage:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        rollup = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()
        (resident,) = [line.split()[1] for line in rollup if line.startswith("Pss:")]
        return Usage((int(fields[11]) + int(fields[12])) / TICK, int(resident))

    @asynccontextmanager
    async def api(self) -> AsyncIterator["HttpApi"]:
        """A kept connection to the HTTP API."""
        reader, writer = await asyncio.open_connection(HOST, self.port)
        try:
            yield HttpApi(reader, writer, self._key, self._secret)
        finally:
            writer.close()

    @asynccontextmanager
    async def push_log(self) -> AsyncIterator[PushLogBackend]:
        """The push log, to which the notifier appends."""
        backend = PushLogBackend(self._redis_url)
        try:
            yield backend
        finally:
            await backend.disconnect()


class HttpApi:
    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str, secret: str
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._key = key
        self._secret = secret

    async def publish(self, channel: str, count: int = 1) -> None:
        """Publish so many messages at once, by calls of up to ten."""
        events = [{"name": "m", "channel": channel, "data": stamped()} for _ in range(count)]
        if count == 1:
            await self._call("events", events[0])
            return
        for first in range(0, count, BATCH):
            await self._call("batch_events", {"batch": events[first : first + BATCH]})

    async def _call(self, name: str, body: object) -> None:
        path, encoded = f"/apps/{APP_ID}/{name}", json.dumps(body).encode()
        query = [
            ("auth_key", self._key),
            ("auth_timestamp", str(int(time.time()))),
            ("auth_version", "1.0"),
            ("body_md5", hashlib.md5(encoded, usedforsecurity=False).hexdigest()),
        ]
        signature = sign(self._secret, request_text("POST", path, query))
        text = "&".join(f"{name}={value}" for name, value in query)
        self._writer.write(post(f"{path}?{text}&auth_signature={signature}", encoded))
        head = await self._reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"the gateway refused a publish: {head.decode()}")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await self._reader.readexactly(int(length))


def stamped() -> str:
    """Data with the time of the publish, which the load client reads."""
    return f"@{time.monotonic_ns():019}@".ljust(DATA_BYTES, "x")


def changes(channel: str, count: int) -> Sequence[Message]:
    """Messages as the notifier's, but without numbers."""
    return [Message((channel,), "m", stamped()) for _ in range(count)]


@asynccontextmanager
async def gateway(settings: Settings, database_url: str) -> AsyncIterator[Gateway]:
    """Start a gateway as `gittix serve push`, with the limits of one address off."""
    made, port = new_secrets(), free_port()
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "PUSH_DATABASE_URL": database_url,
        "REDIS_URL": settings.redis_url,
        "JWT_PUBLIC_KEYS": made.jwt_public_keys,
        "PUSHER_APP_ID": APP_ID,
        "PUSHER_KEY": made.pusher_key,
        "PUSHER_SECRET": made.pusher_secret,
        "PUSHER_HOST": HOST,
        "RATE_LIMITS": "off",
        "LOG_LEVEL": "warning",
        "DRAIN_SECONDS": "0",
    }
    command = (sys.executable, "-m", "backend.cli", "serve", "push")
    process = await asyncio.create_subprocess_exec(
        *command, "--host", HOST, "--port", str(port), env=environment
    )
    try:
        await _wait(port)
        yield Gateway(process.pid, port, made.pusher_key, made.pusher_secret, settings.redis_url)
    finally:
        process.terminate()
        await process.wait()


async def _wait(port: int) -> None:
    async with httpx.AsyncClient() as client, asyncio.timeout(START_SECONDS):
        while True:
            try:
                if (await client.get(f"http://{HOST}:{port}/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)
