"""Slow readers are disconnected, and a shutdown disconnects all clients."""

import asyncio
import base64
import gc
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
from prometheus_client import REGISTRY

from backend.push.gateway_http import GatewayHttp
from backend.push.push_log import Message
from backend.push.settings import SLICE_BYTES
from tests.push.servers import (
    HOST,
    KEY,
    RawClient,
    RedisServer,
    RunningGateway,
    running_gateway,
    until,
)

LIMIT = 2 * SLICE_BYTES


async def test_a_slow_reader_is_closed_with_4200_and_loses_nothing_before(
    redis_server: RedisServer,
) -> None:
    async with (
        running_gateway(redis_server.url, send_buffer_limit_bytes=LIMIT) as gateway,
        lazy_subscriber(gateway, "show-1") as (reader, _),
        gateway.raw() as quick,
    ):
        await quick.established()
        await quick.subscribe("show-1")
        sending = asyncio.create_task(flood(gateway, "show-1"))
        reading = asyncio.create_task(numbers(quick))
        sent = await sending
        await until(reading.done)
        assert reading.result() == list(range(sent))
        frames = await read_frames(reader)
        received = [
            json.loads(json.loads(body)["data"])["at"]
            for _, body in frames
            if b'"event":"n"' in body
        ]
        assert received == list(range(len(received)))
        assert len(received) < sent
        assert frames[-1] == (0x88, (4200).to_bytes(2, "big") + b"reads too slowly")


@pytest.mark.parametrize(("kernel", "bounded"), [(65_536, True), (2**31 - 1, False)])
async def test_the_kernel_takes_few_bytes_for_a_client_that_does_not_read(
    redis_server: RedisServer, kernel: int, *, bounded: bool
) -> None:
    options = {"send_buffer_limit_bytes": LIMIT, "kernel_send_bytes": kernel}
    async with (
        running_gateway(redis_server.url, **options) as gateway,
        lazy_subscriber(gateway, "show-1") as (reader, _),
    ):
        await flood(gateway, "show-1")
        received = sum(len(body) for _, body in await read_frames(reader))
    assert (received < LIMIT + 400_000) is bounded


async def numbers(client: RawClient) -> list[int]:
    """Return the numbers of a flood, up to its last message."""
    found = []
    while (at := (await client.data("n"))["at"]) is not None:
        found.append(at)
    return found


async def test_a_client_that_never_reads_again_is_aborted(redis_server: RedisServer) -> None:
    options = {"send_buffer_limit_bytes": LIMIT, "close_timeout_seconds": 0.2}
    async with (
        running_gateway(redis_server.url, **options) as gateway,
        lazy_subscriber(gateway, "show-1"),
    ):
        await flood(gateway, "show-1")
        await until(lambda: not gateway.server.server_state.connections)


async def test_a_shutdown_closes_all_clients_with_4200_over_the_window(
    redis_server: RedisServer,
) -> None:
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(
            running_gateway(redis_server.url, drain_seconds=0.3)
        )
        clients = [await stack.enter_async_context(gateway.raw()) for _ in range(6)]
        for client in clients:
            await client.established()
        gateway.server.should_exit = True
        ends = await asyncio.gather(*[end(client) for client in clients])
    assert {code for code, _ in ends} == {4200}
    assert max(at for _, at in ends) - min(at for _, at in ends) > 0.1


async def end(client: RawClient) -> tuple[int | None, float]:
    return await client.close_code(), asyncio.get_running_loop().time()


async def test_an_open_socket_keeps_nothing_of_its_http_connection(
    gateway: RunningGateway,
) -> None:
    def connections() -> set[int]:
        gc.collect()
        return {id(each) for each in gc.get_objects() if type(each) is GatewayHttp}

    # Of other tests.
    before = connections()
    async with gateway.raw() as client:
        await client.established()
        assert connections() <= before


async def test_binary_messages_are_refused(gateway: RunningGateway) -> None:
    async with gateway.raw() as client:
        await client.established()
        before = closed("1003", "text only")
        await client.socket.send(b"binary")
        assert await client.close_code() == 1003
        assert closed("1003", "text only") == before + 1


def closed(code: str, reason: str) -> float:
    labels = {"code": code, "reason": reason}
    return REGISTRY.get_sample_value("gittix_push_closes_total", labels) or 0.0


@asynccontextmanager
async def lazy_subscriber(
    gateway: RunningGateway, channel: str
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client with small buffers that subscribes and then reads nothing."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        client.connect((HOST, gateway.port))
        reader, writer = await asyncio.open_connection(sock=client.dup(), limit=1_024)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET /app/{KEY}?protocol=7 HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection:"
        " Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    text = json.dumps({"event": "pusher:subscribe", "data": {"channel": channel}}).encode()
    writer.write(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)
    await until(lambda: gateway.gateway.registry.channel(channel) is not None)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


async def flood(gateway: RunningGateway, channel: str) -> int:
    """Append until a slow socket is closed: the kernel's buffers take megabytes before ours."""
    sent = 0
    occupied = gateway.gateway.registry.channel(channel)
    assert occupied is not None
    before = len(occupied.subscribers)
    while len(occupied.subscribers) == before:
        assert sent < 4_000, "the slow reader is still there"
        batch = [json.dumps({"at": sent + at, "pad": "x" * 9_000}) for at in range(20)]
        await gateway.gateway.publish(*[Message((channel,), "n", data) for data in batch])
        sent += 20
        await asyncio.sleep(0.01)
    await gateway.gateway.publish(Message((channel,), "n", '{"at":null}'))
    return sent


async def read_frames(reader: asyncio.StreamReader) -> list[tuple[int, bytes]]:
    frames: list[tuple[int, bytes]] = []
    async with asyncio.timeout(5):
        while not frames or frames[-1][0] != 0x88:
            first, size = await reader.readexactly(2)
            if size == 126:
                size = int.from_bytes(await reader.readexactly(2), "big")
            frames.append((first, await reader.readexactly(size)))
    return frames
