"""Clients that break the frames of WebSocket, or end, reset and half-close their connections at the
worst time: each gets its close code, and nothing stays behind.
"""

import asyncio
import json
import logging
import socket
import struct

import pytest
from structlog.testing import capture_logs

from backend.push.push_log import Message
from tests.push.raw_socket import (
    CLOSE,
    CONTINUATION,
    LAST,
    PING,
    PONG,
    TEXT,
    connected,
    frame,
    opened,
    upgrade,
)
from tests.push.servers import HOST, RedisServer, RunningGateway, running_gateway, until
from tests.push.test_hostile_input import errors
from tests.push.test_push_socket import LIMIT, lazy_subscriber

FRAGMENT = 0x01
QUESTION = b'{"event":"pusher:ping","data":{}}'


def masked(first: int, payload: bytes, mask: bytes) -> bytes:
    body = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return bytes([first, 0x80 | len(payload)]) + mask + body


def code(number: int) -> bytes:
    return number.to_bytes(2, "big")


@pytest.mark.parametrize(
    ("sent", "payload"),
    [
        # RFC 6455, 5.1: a client masks its frames.
        (bytes([TEXT, 2]) + b"{}", code(1002) + b"incorrect masking"),
        # 5.2: bits and opcodes of extensions.
        (frame(0xC1, b"{}"), code(1002) + b"invalid opcode or reserved bits"),
        (frame(0x83), code(1002) + b"invalid opcode or reserved bits"),
        # 5.4 and 5.5: a control frame is whole and short, and fragments belong together.
        (frame(0x09), code(1002) + b"invalid opcode or reserved bits"),
        (frame(PING, b"x" * 126), code(1002) + b"control frame too long"),
        (frame(LAST, b"{}"), code(1002) + b"unexpected fragment"),
        (frame(FRAGMENT, b"{") + frame(TEXT, b"}"), code(1002) + b"no continuation"),
        (frame(FRAGMENT, b"{") + frame(CLOSE), code(1002) + b"incomplete message"),
        # 7.4: codes that no frame may have.
        *((frame(CLOSE, code(bad)), None) for bad in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000)),
        (frame(CLOSE, b"\x03"), None),
        (frame(CLOSE, code(1000) + b"\xff"), code(1007) + b"a reason that is not UTF-8"),
        # A length of 64 bits is compared before anything is kept.
        (bytes([TEXT, 0xFF]) + b"\xff" * 8, code(1009) + b"over 24576 bytes"),
        # Fragments count together.
        (
            frame(FRAGMENT, b"x" * 24_000) + frame(CONTINUATION, b"x" * 577),
            code(1009) + b"over 576 bytes",
        ),
        # A valid close frame is returned as it is, also the empty one.
        *((frame(CLOSE, code(good)), code(good)) for good in (1000, 1001, 3000, 4999)),
        (frame(CLOSE), b""),
    ],
)
async def test_a_close_frame_answers_each_violation(
    gateway: RunningGateway, sent: bytes, payload: bytes | None
) -> None:
    """Also when the bytes arrive one by one."""
    for parts in ([sent], [sent[at : at + 1] for at in range(len(sent))]):
        if len(parts) > 200:
            continue
        async with opened(gateway.port) as client, asyncio.timeout(5):
            for part in parts:
                client.writer.write(part)
                await asyncio.sleep(0)
            first, found = await client.frame()
            assert first == CLOSE
            assert found == payload if payload is not None else found[:2] == code(1002)
            # And the gateway ends its side, without a reset that would discard the frame.
            assert await client.reader.read() == b""
    await until(lambda: not gateway.server.server_state.connections)


async def test_control_frames_within_a_fragmented_message_are_answered_first(
    gateway: RunningGateway,
) -> None:
    async with opened(gateway.port) as client, asyncio.timeout(5):
        whole = (
            frame(FRAGMENT, QUESTION[:5])
            + masked(PING, b"a", b"\x01\x02\x03\x04")
            + frame(CONTINUATION, b"")
            + frame(PONG, b"unasked")
            + frame(CONTINUATION, QUESTION[5:9])
            + frame(PING)
            + masked(LAST, QUESTION[9:], b"\xff\x00\x80\x7f")
        )
        for at in range(0, len(whole), 3):
            client.writer.write(whole[at : at + 3])
            await asyncio.sleep(0)
        assert await client.frame() == (PONG, b"a")
        assert await client.frame() == (PONG, b"")
        first, payload = await client.frame()
        assert first == TEXT
        assert json.loads(payload) == {"event": "pusher:pong", "data": "{}"}


async def test_nothing_follows_a_close_frame(gateway: RunningGateway) -> None:
    async with opened(gateway.port) as client, asyncio.timeout(5):
        client.writer.write(frame(CLOSE, code(1000)) + frame(PING) + frame(TEXT, QUESTION))
        assert await client.reader.read() == bytes([CLOSE, 2]) + code(1000)


async def test_pongs_keep_their_place_among_the_frames_that_a_slow_reader_has_not_read(
    redis_server: RedisServer,
) -> None:
    async with (
        running_gateway(redis_server.url, kernel_send_bytes=1) as gateway,
        lazy_subscriber(gateway, "show-1") as (reader, writer),
    ):
        (connection,) = gateway.gateway._connections
        transport = connection._socket.transport
        for at in range(40):
            await gateway.gateway.publish(Message(("show-1",), "n", f"{at} " + "x" * 9_000))
            writer.write(frame(PING, str(at).encode()))
            await asyncio.sleep(0.002)
        assert transport.get_write_buffer_size(), "the kernel took everything"
        numbers: list[tuple[str, int]] = []
        async with asyncio.timeout(5):
            while len(numbers) < 80:
                first, size = await reader.readexactly(2)
                if size == 126:
                    size = int.from_bytes(await reader.readexactly(2), "big")
                body = await reader.readexactly(size)
                if first == PONG:
                    numbers.append(("pong", int(body)))
                elif b'"event":"n"' in body:
                    numbers.append(("message", int(json.loads(body)["data"].split(" ")[0])))
    for kind in ("pong", "message"):
        assert [at for found, at in numbers if found == kind] == list(range(40))


async def test_a_client_that_half_closes_and_never_reads_is_aborted(
    redis_server: RedisServer,
) -> None:
    options = {"close_timeout_seconds": 0.2, "send_buffer_limit_bytes": 4 * LIMIT}
    async with (
        running_gateway(redis_server.url, **options) as gateway,
        lazy_subscriber(gateway, "show-1") as (_, writer),
    ):
        (connection,) = gateway.gateway._connections
        transport = connection._socket.transport
        while not transport.get_write_buffer_size():
            await gateway.gateway.publish(*[Message(("show-1",), "n", "x" * 9_000)] * 10)
            await asyncio.sleep(0.01)
        writer.write_eof()
        await until(lambda: not gateway.gateway._connections)
        await until(lambda: not gateway.server.server_state.connections)


async def test_a_client_that_half_closes_and_reads_gets_what_was_written_before(
    gateway: RunningGateway,
) -> None:
    async with opened(gateway.port) as client, asyncio.timeout(5):
        client.writer.write(frame(PING, b"a"))
        client.writer.write_eof()
        assert await client.reader.read() == bytes([PONG, 1]) + b"a"


async def test_a_write_after_a_reset_reaches_no_other_socket_with_the_same_number(
    gateway: RunningGateway,
) -> None:
    async with opened(gateway.port) as first:
        (connection,) = gateway.gateway._connections
        old = connection._socket
        number = old.transport.get_extra_info("socket").fileno()
        reset(first.writer)
        await until(lambda: not gateway.gateway._connections)
    async with opened(gateway.port) as second, asyncio.timeout(5):
        (connection,) = gateway.gateway._connections
        assert connection._socket.transport.get_extra_info("socket").fileno() == number
        assert old.write(b"\x81\x02{}") is False
        old.close(4200, "late")
        second.writer.write(frame(PING, b"mine"))
        assert await second.frame() == (PONG, b"mine")


def reset(writer: asyncio.StreamWriter) -> None:
    """End the connection by RST."""
    own = writer.transport.get_extra_info("socket")
    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def test_a_socket_that_was_reset_takes_part_in_no_further_broadcast(
    gateway: RunningGateway, caplog: pytest.LogCaptureFixture
) -> None:
    """The kernel refuses the write before the event loop has seen the reset."""
    with capture_logs() as structured, caplog.at_level(logging.INFO):
        async with gateway.raw() as honest:
            await honest.established()
            await honest.subscribe("show-1")
            for _ in range(20):
                async with opened(gateway.port) as client:
                    request = b'{"event":"pusher:subscribe","data":{"channel":"show-1"}}'
                    client.writer.write(frame(TEXT, request))
                    await client.frame()
                    reset(client.writer)
                    await gateway.gateway.publish(*[Message(("show-1",), "n", "x" * 9_000)] * 5)
                    for _ in range(5):
                        await honest.message("n")
            await until(lambda: len(gateway.gateway._connections) == 1)
    assert errors(caplog, structured) == []


@pytest.mark.parametrize("path", ["/readyz", "/apps/3/channels", "/healthz"])
async def test_no_reply_to_an_earlier_request_is_written_among_frames(
    gateway: RunningGateway, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    """A request and a handshake in one segment: the second is served after the first, or not."""
    with capture_logs() as structured, caplog.at_level(logging.INFO):
        async with connected(gateway.port) as client, asyncio.timeout(5):
            request = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
            client.writer.write(request + upgrade())
            received = await client.reader.read()
            assert b"HTTP/1.1 101" not in received
    assert errors(caplog, structured) == []
    async with connected(gateway.port) as client, asyncio.timeout(5):
        client.writer.write(request)
        assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 ")
        client.writer.write(upgrade())
        assert b"HTTP/1.1 101" in await client.reader.readuntil(b"Accept: ")
