"""Connections that do nothing, or are too many."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from backend.kernel.client_address import networks
from backend.kernel.http_protocol import Bounds, Wait
from backend.push.address_limit import AddressLimit
from backend.push.settings import connection_limits
from tests.push.raw_socket import CLOSE, EMPTY_PONG, connected, frame, opened, upgrade
from tests.push.servers import RedisServer, RunningGateway, running_gateway, until

LOCAL = networks("127.0.0.1")
SOON = Bounds(seconds=dict.fromkeys(Wait, 0.2), check_seconds=0.05)


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What a connection received until its end."""
    async with asyncio.timeout(5):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


@pytest.mark.parametrize("sent", [b"", b"GET /app/", upgrade()[:-2], b"GET /healthz HTTP/1.1\r\n"])
async def test_a_connection_without_a_complete_request_is_closed(
    redis_server: RedisServer, sent: bytes
) -> None:
    async with (
        running_gateway(redis_server.url, SOON) as gateway,
        connected(gateway.port) as client,
    ):
        client.writer.write(sent)
        assert (await ended(client.reader)).startswith(b"HTTP/1.1 408 " if sent else b"")
        await until(lambda: not gateway.server.server_state.connections)


async def test_the_time_of_a_request_does_not_end_an_open_socket(redis_server: RedisServer) -> None:
    async with (
        running_gateway(redis_server.url, SOON) as gateway,
        gateway.raw() as client,
    ):
        await client.established()
        await asyncio.sleep(0.3)
        await client.send("gittix:time", {})
        await client.message("gittix:time")


async def test_a_large_head_is_a_431(gateway: RunningGateway) -> None:
    async with connected(gateway.port) as client:
        client.writer.write(upgrade("/app/x", *[f"X-{at}: {'x' * 1_000}" for at in range(50)]))
        assert (await ended(client.reader)).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "head",
    [
        upgrade("/app/x", *[f"X-{at}: x" for at in range(200)]),
        upgrade("/app/x?" + "x" * 9_000),
        upgrade("/app/x", "Content-Length: 4"),
        upgrade("/app/x", "Transfer-Encoding: chunked"),
        upgrade().replace(b"13", b"12"),
        upgrade().replace(b"GET", b"POST"),
    ],
)
async def test_a_refused_handshake_has_a_reply_and_ends(
    gateway: RunningGateway, head: bytes
) -> None:
    async with connected(gateway.port) as client:
        client.writer.write(head)
        assert (await ended(client.reader)).startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize("garbage", [EMPTY_PONG, frame(CLOSE), b"\xff\xff"])
async def test_frames_before_the_handshakes_reply_end_the_connection(
    gateway: RunningGateway, caplog: pytest.LogCaptureFixture, garbage: bytes
) -> None:
    async with connected(gateway.port) as client:
        client.writer.write(upgrade() + garbage)
        assert await ended(client.reader) == b""
    assert not gateway.gateway._connections
    assert not [record for record in caplog.records if record.exc_info]


async def test_an_address_has_a_bounded_number_of_anonymous_sockets(
    redis_server: RedisServer,
) -> None:
    async with (
        running_gateway(redis_server.url, max_connections_per_address=3) as gateway,
        AsyncExitStack() as stack,
    ):
        for _ in range(3):
            await stack.enter_async_context(opened(gateway.port))
        async with connected(gateway.port) as client:
            client.writer.write(upgrade())
            reply = await ended(client.reader)
            assert reply.startswith(b"HTTP/1.1 429 ")
            assert b"too many connections from this address" in reply
        assert len(gateway.gateway._connections) == 3


@pytest.mark.parametrize("prove", ["sign in", "subscribe"])
async def test_sockets_that_proved_their_user_are_not_counted(
    redis_server: RedisServer, prove: str
) -> None:
    """An office behind one address: 201 signed-in users at a limit of 3."""
    async with (
        running_gateway(redis_server.url, max_connections_per_address=3) as gateway,
        AsyncExitStack() as stack,
    ):
        for at in range(201):
            client = await stack.enter_async_context(gateway.raw())
            await client.established()
            if prove == "sign in":
                token = gateway.pusher.authenticate_user(client.socket_id, {"id": f"user-{at}"})
                await client.send("pusher:signin", token)
                await client.message("pusher:signin_success")
            else:
                await client.subscribe(f"private-user-{at}")
        assert len(gateway.gateway._connections) == 201


async def test_a_forged_signature_proves_nothing(redis_server: RedisServer) -> None:
    async with (
        running_gateway(redis_server.url, max_connections_per_address=1) as gateway,
        gateway.raw() as client,
    ):
        await client.established()
        await client.send("pusher:subscribe", {"channel": "private-a", "auth": "key:00"})
        await client.message("pusher:subscription_error")
        async with connected(gateway.port) as second:
            second.writer.write(upgrade())
            assert (await ended(second.reader)).startswith(b"HTTP/1.1 429 ")


async def test_a_place_is_counted_for_a_time_and_is_then_free(redis_server: RedisServer) -> None:
    limits: dict[str, Any] = {"max_connections_per_address": 1, "address_seconds": 0.5}
    async with running_gateway(redis_server.url, **limits) as gateway:
        async with opened(gateway.port):
            pass
        await until(lambda: not gateway.gateway._connections)
        async with connected(gateway.port) as client:
            client.writer.write(upgrade())
            assert (await ended(client.reader)).startswith(b"HTTP/1.1 429 ")
        await until(lambda: not gateway.gateway._limit._taken)
        async with opened(gateway.port):
            pass


async def test_behind_a_proxy_the_clients_address_counts_and_a_64_is_one_address(
    redis_server: RedisServer,
) -> None:
    limits: dict[str, Any] = {"max_connections_per_address": 1, "trusted_proxies": LOCAL}
    async with (
        running_gateway(redis_server.url, **limits) as gateway,
        opened(gateway.port, "X-Forwarded-For: 192.0.2.1"),
        opened(gateway.port, "X-Forwarded-For: 192.0.2.2"),
        opened(gateway.port, "X-Forwarded-For: 2001:db8::1"),
        opened(gateway.port, "X-Forwarded-For: 2001:db8:0:1::1"),
        connected(gateway.port) as client,
    ):
        client.writer.write(upgrade()[:-2] + b"X-Forwarded-For: 2001:db8::2\r\n\r\n")
        assert (await ended(client.reader)).startswith(b"HTTP/1.1 429 ")


async def test_a_client_that_is_no_proxy_cannot_choose_its_address(
    redis_server: RedisServer,
) -> None:
    async with (
        running_gateway(redis_server.url, max_connections_per_address=1) as gateway,
        opened(gateway.port, "X-Forwarded-For: 192.0.2.1"),
        connected(gateway.port) as client,
    ):
        client.writer.write(upgrade()[:-2] + b"X-Forwarded-For: 192.0.2.2\r\n\r\n")
        assert (await ended(client.reader)).startswith(b"HTTP/1.1 429 ")


async def healthy(stack: AsyncExitStack, port: int) -> asyncio.StreamReader:
    """A kept HTTP connection after a reply."""
    client = await stack.enter_async_context(connected(port))
    client.writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(5):
        assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    return client.reader


async def test_the_http_connections_of_one_address_are_bounded(redis_server: RedisServer) -> None:
    async with (
        running_gateway(redis_server.url, max_connections_per_address=5) as gateway,
        AsyncExitStack() as stack,
    ):
        for _ in range(5):
            await healthy(stack, gateway.port)
        async with connected(gateway.port) as refused:
            assert await ended(refused.reader) == b""
        assert len(gateway.server.server_state.connections) == 5


async def test_a_proxy_may_have_more_http_connections_up_to_the_bound_of_all(
    redis_server: RedisServer,
) -> None:
    limits: dict[str, Any] = {
        "max_connections_per_address": 2,
        "trusted_proxies": LOCAL,
        "max_http_connections": 6,
    }
    async with (
        running_gateway(redis_server.url, **limits) as gateway,
        AsyncExitStack() as stack,
    ):
        readers = [await healthy(stack, gateway.port) for _ in range(7)]
        # The longest-waiting one made room.
        await ended(readers[0])
        await until(lambda: len(gateway.server.server_state.connections) == 6)


async def test_places_are_given_back_once() -> None:
    limit = AddressLimit(each=2, total=3)
    first, second = limit.take("a"), limit.take("a")
    assert first is not None
    assert second is not None
    assert limit.take("a") is None
    third = limit.take("b")
    assert third is not None
    assert limit.take("c") is None
    first.release()
    first.release()
    first.leave()
    assert limit.take("c") is not None
    assert limit.take("c") is None


def test_connections_leave_files_for_the_stores() -> None:
    assert connection_limits(20_000) == {"max_connections": 15_000, "max_http_connections": 2_500}
    assert connection_limits(1_000_000) == {
        "max_connections": 50_000,
        "max_http_connections": 4_000,
    }
