"""Clients that lose their gateway and return: each counts the messages that it missed.

A client follows the rules of docs/push-protocol.md: it drops what it has, resumes after each
reconnect, and reconnects as pusher-js does: at once after the close codes 42xx, else after a
second. It has two channels: `orders`, of which it must get each message once and in order, and
`show`, of which it must have the newest state of each ticket.
"""

import asyncio
import base64
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, cast

import httpx

from backend.push import push_log
from backend.push.publisher import PositionedMessages, Publisher
from backend.push.push_log import Message
from loadtests.plain_gateway import HOST, KEY
from loadtests.ports import free_port

ORDERS, SHOW = "orders", "show"
TICKETS: Final = 40
START_SECONDS: Final = 20.0
RETRY_SECONDS: Final = 1.0
# Connects at once: the accept queue of a gateway is bounded.
CONNECTS_AT_ONCE: Final = 200


@dataclass
class GatewayProcess:
    """A gateway that can be restarted on its port."""

    redis_url: str
    port: int = field(default_factory=free_port)
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        command = (sys.executable, "-m", "loadtests.plain_gateway", str(self.port), self.redis_url)
        self.process = await asyncio.create_subprocess_exec(*command)
        async with httpx.AsyncClient() as client, asyncio.timeout(START_SECONDS):
            while True:
                with suppress(httpx.TransportError):
                    reply = await client.get(f"http://{HOST}:{self.port}/readyz")
                    if reply.status_code == 200:
                        return
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        assert self.process is not None
        with suppress(ProcessLookupError):
            self.process.terminate()
        await self.process.wait()

    async def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def gateways(redis_url: str, count: int = 2) -> AsyncIterator[list[GatewayProcess]]:
    running = [GatewayProcess(redis_url) for _ in range(count)]
    try:
        await asyncio.gather(*(gateway.start() for gateway in running))
        yield running
    finally:
        await asyncio.gather(*(gateway.stop() for gateway in running if gateway.process))


class Source:
    """Publishes as the notifier does: an order and a change of a ticket at each tick."""

    def __init__(self, redis_url: str, *, ticks_per_second: float) -> None:
        self._url = redis_url
        self._seconds = 1 / ticks_per_second
        self.orders = 0
        self.tickets: dict[str, int] = {}

    async def publish(self, stop: asyncio.Event) -> None:
        async with push_log.connect(self._url, timeout_seconds=5) as redis:
            publisher, appended = Publisher(redis), 0
            while not stop.is_set():
                self.orders += 1
                ticket = f"t{self.orders * 7 % TICKETS}"
                self.tickets[ticket] = self.orders
                messages = [
                    Message((ORDERS,), "order", json.dumps({"n": self.orders})),
                    Message(
                        (SHOW,),
                        "ticket",
                        json.dumps({"id": ticket, "v": self.orders}),
                        ticket,
                        self.orders,
                    ),
                ]
                state = await publisher.publish(
                    [PositionedMessages(self.orders, messages)], expected_appended=appended
                )
                appended = state.appended
                await asyncio.sleep(self._seconds)


class Wire(asyncio.Protocol):
    """One WebSocket connection of a client."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._rest = b""
        self._is_open = False
        self.closed: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._code: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's own class is not a subclass.
        self._transport = cast(asyncio.Transport, transport)
        self._client.wire = self
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            f"GET /app/{KEY}?protocol=7 HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
            "".encode()
        )

    def data_received(self, data: bytes) -> None:
        self._rest += data
        if not self._is_open:
            _, separator, rest = self._rest.partition(b"\r\n\r\n")
            if not separator:
                return
            self._is_open, self._rest = True, rest
        while (found := _frame(self._rest)) is not None:
            opcode, payload, self._rest = found
            if opcode == 8:
                self._code = int.from_bytes(payload[:2], "big")
                self._transport.close()
            elif opcode == 1:
                self._client.receive(json.loads(payload))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if not self.closed.done():
            self.closed.set_result(self._code)

    def send(self, event: str, data: Any) -> None:
        payload = json.dumps({"event": event, "data": data}).encode()
        size = len(payload)
        head = bytes([0x81, 0x80 | size]) if size < 126 else b"\x81\xfe" + size.to_bytes(2, "big")
        self._transport.write(head + bytes(4) + payload)

    def close(self) -> None:
        self._transport.abort()


def _frame(data: bytes) -> tuple[int, bytes, bytes] | None:
    if len(data) < 2:
        return None
    size, start = data[1], 2
    if size == 126:
        size, start = int.from_bytes(data[2:4], "big"), 4
    elif size == 127:
        size, start = int.from_bytes(data[2:10], "big"), 10
    if len(data) < start + size:
        return None
    return data[0] & 0xF, data[start : start + size], data[start + size :]


@dataclass
class ChannelState:
    """The position in a channel, and what waits for an answer."""

    epoch: int | None = None
    seq: int = 0
    asked_at: float | None = None
    kept: list[tuple[int, Any]] = field(default_factory=list)


class Client:
    """`resumes` is False for a client that only reconnects."""

    def __init__(self, ports: Sequence[int], first: int, *, resumes: bool = True) -> None:
        self._ports = ports
        self._next = first
        self._resumes = resumes
        self.wire: Wire | None = None
        self._channels = {ORDERS: ChannelState(), SHOW: ChannelState()}
        self.subscribed = asyncio.Event()
        self.orders: list[int] = []
        self.tickets: dict[str, int] = {}
        # Seconds from a subscription to the answer with all that was missed before it.
        self.waits: list[float] = []
        self.reconnects = 0
        self.not_recovered = 0

    async def run(self, connects: asyncio.Semaphore) -> None:
        loop = asyncio.get_running_loop()
        while True:
            port = self._ports[self._next % len(self._ports)]
            self._next += 1
            try:
                async with connects, asyncio.timeout(10):
                    _, wire = await loop.create_connection(lambda: Wire(self), HOST, port)
            except (OSError, TimeoutError):
                await asyncio.sleep(RETRY_SECONDS)
                continue
            try:
                code = await asyncio.shield(wire.closed)
            except asyncio.CancelledError:
                wire.close()
                await wire.closed
                raise
            self.reconnects += 1
            for state in self._channels.values():
                state.asked_at, state.kept = None, []
            if code is None or code // 100 != 42:
                await asyncio.sleep(RETRY_SECONDS)

    def receive(self, message: Any) -> None:
        assert self.wire is not None
        event, channel = message["event"], message.get("channel")
        data = json.loads(message["data"]) if isinstance(message["data"], str) else message["data"]
        if event == "pusher:connection_established":
            for name in self._channels:
                self.wire.send("pusher:subscribe", {"channel": name})
        elif event == "pusher_internal:subscription_succeeded":
            self._subscribed(channel, self._channels[channel], data)
        elif event == "gittix:resumed":
            self._resumed(channel, self._channels[channel], data)
        elif event == "pusher:ping":
            self.wire.send("pusher:pong", {})
        elif "_seq" in data:
            self._accept(channel, self._channels[channel], data)

    @property
    def missed(self) -> int:
        """The orders between the first and the last that it did not get."""
        return self.orders[-1] - self.orders[0] + 1 - len(set(self.orders)) if self.orders else 0

    def _subscribed(self, name: str, state: ChannelState, data: Any) -> None:
        assert self.wire is not None
        if state.epoch is None:
            state.epoch, state.seq = data.get("_epoch"), data.get("_seq", 0)
        elif self._resumes:
            request = {"channel": name, "epoch": state.epoch, "seq": state.seq}
            self.wire.send("gittix:resume", request)
            state.asked_at = time.perf_counter()
        self.subscribed.set()

    def _resumed(self, name: str, state: ChannelState, data: Any) -> None:
        if state.asked_at is not None:
            self.waits.append(time.perf_counter() - state.asked_at)
        self.not_recovered += not data["recovered"]
        state.asked_at = None
        kept, state.kept = sorted(state.kept, key=lambda one: one[0]), []
        for seq, content in kept:
            if state.seq < seq <= data["seq"]:
                self._apply(name, state, seq, content)
        state.seq = max(state.seq, data["seq"])
        for _, content in kept:
            self._accept(name, state, content)

    def _accept(self, name: str, state: ChannelState, data: Any) -> None:
        seq = data["_seq"]
        if state.epoch is None or not self._resumes:
            state.epoch = data["_epoch"]
            self._apply(name, state, seq, data)
        elif seq == state.seq + 1:
            self._apply(name, state, seq, data)
        elif seq > state.seq and state.asked_at is not None:
            state.kept.append((seq, data))
        elif seq > state.seq:
            raise AssertionError(f"{name}: message {seq} after {state.seq}")

    def _apply(self, name: str, state: ChannelState, seq: int, data: Any) -> None:
        state.seq = seq
        if name == ORDERS:
            self.orders.append(data["n"])
        else:
            self.tickets[data["id"]] = max(data["v"], self.tickets.get(data["id"], 0))


@asynccontextmanager
async def connected(clients: Sequence[Client]) -> AsyncIterator[None]:
    """The clients, subscribed, and running until the block ends."""
    connects = asyncio.Semaphore(CONNECTS_AT_ONCE)
    tasks = [asyncio.create_task(client.run(connects)) for client in clients]
    try:
        async with asyncio.timeout(60):
            for client in clients:
                await client.subscribed.wait()
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def settled(clients: Sequence[Client], source: Source, *, seconds: float) -> None:
    """Wait until each client has the last message, or for so long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if all(client.orders[-1:] == [source.orders] for client in clients):
            return
        await asyncio.sleep(0.05)
