"""Floods of frames: the gateway parses no more than a socket's budget, and no more in one iteration
of the event loop than all sockets' budget, so honest sockets and health checks get their answers.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from prometheus_client import REGISTRY

from backend.push.intake import Intake
from backend.push.settings import GatewaySettings
from tests.push.raw_socket import (
    CLOSE,
    CONTINUATION,
    EMPTY_PONG,
    PING,
    TEXT,
    RawSocket,
    frame,
    opened,
)
from tests.push.servers import RedisServer, RunningGateway, running_gateway, until

# A client may send 20 frames a second, and 200 at once.
SMALL: dict[str, Any] = {
    "frames_per_second": 20,
    "burst_seconds": 10,
    "messages_per_second": 100,
    "max_channels_per_connection": 50,
    "flood_seconds": 1,
}
UNLIMITED: dict[str, Any] = {
    "frames_per_second": 10**9,
    "bytes_per_second": 10**12,
    "frames_per_turn": 10**9,
    "bytes_per_turn": 10**12,
    "read_bytes": 256_000,
}
# A client's frame has six bytes at least.
FRAMES_OF_ONE_READ = 1_024 // 6 + 1

FLOODS = {
    "pongs": EMPTY_PONG * 10_000,
    "pings": frame(PING) * 10_000,
    "pings with data": frame(PING, b"x" * 125) * 500,
    "messages": frame(TEXT, b"{}") * 8_000,
}


def received_frames() -> float:
    return REGISTRY.get_sample_value("gittix_push_received_frames_total") or 0.0


def intake_of(gateway: RunningGateway) -> Intake:
    protocol: Any = gateway.server.config.http_protocol_class
    found: Intake = protocol.keywords["intake"]
    return found


def turns_of(intake: Intake) -> list[int]:
    """Record how many frames each iteration of the event loop parsed, from now on."""
    turns: list[int] = []
    begin_turn = intake._begin_turn

    def recording() -> None:
        turns.append(intake._frames_per_turn - intake._frames)
        begin_turn()

    intake._begin_turn = recording  # type: ignore[method-assign]
    return turns


@asynccontextmanager
async def flooding(gateway: RunningGateway, sockets: int, chunk: bytes) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(opened(gateway.port)) for _ in range(sockets)]
        tasks = [asyncio.create_task(client.flood(chunk)) for client in clients]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("kind", FLOODS)
async def test_a_flood_is_read_at_the_sockets_rate_and_then_closed_with_4100(
    redis_server: RedisServer, kind: str
) -> None:
    async with (
        running_gateway(redis_server.url, **SMALL) as gateway,
        opened(gateway.port) as client,
    ):
        before, began = received_frames(), time.monotonic()
        sending = asyncio.create_task(client.flood(FLOODS[kind]))
        async with asyncio.timeout(20):
            assert await client.close_code() == 4100
        parsed, seconds = received_frames() - before, time.monotonic() - began
        assert parsed <= 200 + 20 * seconds + 2 * FRAMES_OF_ONE_READ
        sending.cancel()
        await until(lambda: not gateway.gateway._connections)


async def test_a_message_in_empty_fragments_is_closed_with_4100(gateway: RunningGateway) -> None:
    async with opened(gateway.port) as client:
        client.writer.write(frame(TEXT & 0x0F) + frame(CONTINUATION) * 64)
        async with asyncio.timeout(5):
            assert await client.close_code() == 4100


async def test_a_frame_sent_byte_by_byte_counts_as_many_frames(redis_server: RedisServer) -> None:
    async with (
        running_gateway(redis_server.url, **SMALL) as gateway,
        opened(gateway.port) as client,
    ):
        before = paused("socket")
        client.writer.write(frame(TEXT, b"x" * 10_000)[:8])
        while paused("socket") == before:
            client.writer.write(b"x")
            await asyncio.sleep(0)


def paused(budget: str) -> float:
    return REGISTRY.get_sample_value("gittix_push_pauses_total", {"budget": budget}) or 0.0


async def test_bytes_are_budgeted_too(redis_server: RedisServer) -> None:
    limits = {"bytes_per_second": 10_000, "flood_seconds": 1}
    async with (
        running_gateway(redis_server.url, **limits) as gateway,
        opened(gateway.port) as client,
    ):
        before = paused("socket")
        sending = asyncio.create_task(client.flood(frame(PING, b"x" * 125) * 100))
        async with asyncio.timeout(20):
            assert await client.close_code() == 4100
        assert paused("socket") > before
        sending.cancel()


async def test_an_honest_socket_and_the_health_check_are_served_during_floods(
    redis_server: RedisServer,
) -> None:
    # The floods go on: nothing but the budget of an iteration protects the others.
    limits = UNLIMITED | {"frames_per_turn": 256, "read_bytes": 1_024}
    async with (
        running_gateway(redis_server.url, **limits) as gateway,
        gateway.raw() as honest,
    ):
        await honest.established()
        async with flooding(gateway, 20, EMPTY_PONG * 10_000):
            turns = turns_of(intake_of(gateway))
            for _ in range(20):
                begun = len(turns)
                await honest.send("pusher:ping", {})
                await honest.message("pusher:pong")
                # Every flooding socket had its turn once or twice; none had many.
                assert sum(turns[begun:]) < 200 * FRAMES_OF_ONE_READ
            assert (await gateway.get("/healthz")).status_code == 200
            assert max(turns) <= 256 + FRAMES_OF_ONE_READ
            assert sum(turns) > 20 * 256, "there was no flood"


async def test_without_the_budget_one_iteration_parses_thousands_of_frames(
    redis_server: RedisServer,
) -> None:
    async with running_gateway(redis_server.url, **UNLIMITED) as gateway:
        turns = turns_of(intake_of(gateway))
        async with flooding(gateway, 4, EMPTY_PONG * 10_000):
            await until(lambda: max(turns, default=0) > 10 * (256 + FRAMES_OF_ONE_READ))


async def test_a_page_with_500_channels_never_pauses(gateway: RunningGateway) -> None:
    async with gateway.raw() as client:
        await client.established()
        before = paused("socket")
        for at in range(500):
            await client.send("pusher:subscribe", {"channel": f"show-{at}"})
        for _ in range(500):
            await client.message("pusher_internal:subscription_succeeded")
        assert paused("socket") == before


async def test_a_large_message_arrives_in_small_reads(gateway: RunningGateway) -> None:
    async with gateway.raw() as client:
        await client.established()
        await client.subscribe("private-a")
        await client.send("pusher:subscribe", {"channel": "x" * 20_000})
        assert (await client.data("pusher:subscription_error"))["type"] == "InvalidChannel"


async def test_messages_of_one_read_are_answered_in_order(gateway: RunningGateway) -> None:
    async with opened(gateway.port) as client:
        names = [f"show-{at}" for at in range(300)]
        client.writer.write(
            b"".join(
                frame(TEXT, b'{"event":"pusher:subscribe","data":{"channel":"%s"}}' % name.encode())
                for name in names
            )
        )
        replied: list[str] = []
        while len(replied) < len(names):
            _, payload = await client.frame()
            if b"subscription_succeeded" in payload:
                replied.append(payload.split(b'"channel":"')[1].split(b'"')[0].decode())
        assert replied == names


async def test_a_client_that_closes_and_never_reads_is_aborted(redis_server: RedisServer) -> None:
    async with (
        running_gateway(redis_server.url, close_timeout_seconds=0.2) as gateway,
        opened(gateway.port) as client,
    ):
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        # The replies fill the buffers of both kernels, and then ours.
        await fill(gateway, client)
        client.writer.write(frame(CLOSE))
        await until(lambda: not gateway.server.server_state.connections)


async def fill(gateway: RunningGateway, client: RawSocket) -> None:
    """Send to a client until bytes wait in its transport."""
    client.writer.write(frame(TEXT, b'{"event":"pusher:subscribe","data":{"channel":"show-1"}}'))
    await until(lambda: gateway.gateway.registry.channel("show-1") is not None)
    (connection,) = gateway.gateway._connections
    while not connection._socket.transport.get_write_buffer_size():
        await gateway.gateway.registry.broadcast("show-1", b"\x81\x7e\xff\xff" + b"x" * 65_535)
        await asyncio.sleep(0)


def test_a_burst_that_is_smaller_than_the_messages_of_a_page_is_refused() -> None:
    with pytest.raises(ValueError, match="max_messages_at_once"):
        GatewaySettings(app_id="1", key="k", secret="s", redis_url="", frames_per_second=1)
