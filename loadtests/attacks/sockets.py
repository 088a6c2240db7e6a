"""Attacks through WebSockets: floods of frames, and client events of one account."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple
from urllib.parse import urlencode

import msgspec

from loadtests.attacks.attacker import ENDED, NETWORK, Attacker, connect, end
from loadtests.attacks.wire import (
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    UNFINISHED_TEXT,
    event,
    frame,
    read_frame,
    upgrade,
)

OPEN_SECONDS = 5.0
# All sockets of a flood together.
FLOOD_BYTES_PER_SECOND = 3_000_000
FLOOD_SOCKETS = 4
STEP_SECONDS = 0.1
# A closed socket is opened again after this time, as pusher-js would.
REOPEN_SECONDS = 0.2
EVENT_SOCKETS = 64
EVENTS_PER_SECOND = 10
EVENT_BYTES = 10_000
BAD_FRAMES = (
    frame(TEXT, b'{"event":"\xff\xfe"}'),
    frame(TEXT, b'{"event":"a","data":' + b"[" * 10_000 + b"]" * 10_000 + b"}"),
    frame(UNFINISHED_TEXT, b"\xc3") + frame(0x80, b"\x28"),
    frame(0x83),
)
BAD_FRAMES_PER_SECOND = 10


class Socket(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    socket_id: str


async def pongs(attacker: Attacker) -> None:
    """Empty pongs and pings, without a pause, from anonymous sockets of one address."""
    chunks = (frame(PONG), frame(PING))
    await asyncio.gather(
        *(_flood(attacker, chunks[number % 2], 10) for number in range(FLOOD_SOCKETS))
    )


async def fragments(attacker: Attacker) -> None:
    """Messages in fragments of one byte without an end, from anonymous sockets of one address."""
    chunk = frame(CONTINUATION, b"x")
    await asyncio.gather(
        *(
            _flood(attacker, chunk, 11, first=frame(UNFINISHED_TEXT, b'"'))
            for _ in range(FLOOD_SOCKETS)
        )
    )


async def client_events(attacker: Attacker) -> None:
    """Large client events, and unknown ones, from many sockets of one account."""
    await asyncio.gather(*(_send_events(attacker, number) for number in range(EVENT_SOCKETS)))


async def malformed_frames(attacker: Attacker) -> None:
    """Frames that are no UTF-8, no JSON, deeply nested, or of no known kind."""

    async def one(number: int) -> None:
        async with _opened(attacker, 14) as socket:
            if socket is not None:
                socket.writer.write(BAD_FRAMES[number % len(BAD_FRAMES)])
                with suppress(TimeoutError):
                    async with asyncio.timeout(OPEN_SECONDS):
                        await _read(attacker, socket)

    await attacker.at_rate(BAD_FRAMES_PER_SECOND, one)


async def _flood(attacker: Attacker, chunk: bytes, address: int, first: bytes = b"") -> None:
    size = int(FLOOD_BYTES_PER_SECOND * STEP_SECONDS / FLOOD_SOCKETS)
    step = chunk * (size // len(chunk))
    while attacker.seconds_left > 0:
        async with _opened(attacker, address) as socket:
            if socket is not None:
                reading = asyncio.ensure_future(_read(attacker, socket))
                socket.writer.write(first)
                await _write_steps(attacker, socket, step, reading)
                await end(reading)
        await asyncio.sleep(REOPEN_SECONDS)


async def _write_steps(
    attacker: Attacker, socket: Socket, step: bytes, reading: asyncio.Future[None]
) -> None:
    """Write at the flood's rate until the socket is closed. While the gateway does not read, the
    kernel's buffers are full, and this waits as well.
    """
    while attacker.seconds_left > 0 and not reading.done():
        began = time.monotonic()
        socket.writer.write(step)
        draining = asyncio.ensure_future(_drain(socket))
        await asyncio.wait(
            (draining, reading),
            timeout=max(0.0, attacker.seconds_left),
            return_when=asyncio.FIRST_COMPLETED,
        )
        if not draining.done():
            await end(draining)
            return
        attacker.outcomes["kB sent"] += len(step) // 1000
        await asyncio.sleep(max(0.0, began + STEP_SECONDS - time.monotonic()))


async def _send_events(attacker: Attacker, number: int) -> None:
    [account] = attacker.accounts
    channel = f"private-user-{account.user_id}"
    sent = event("client-note", "x" * EVENT_BYTES, channel)
    await asyncio.sleep(number / EVENT_SOCKETS)
    while attacker.seconds_left > 0:
        async with _opened(attacker, 12) as socket:
            if socket is not None:
                await _subscribe(attacker, socket, channel, account.token)
                reading = asyncio.ensure_future(_read(attacker, socket))
                while attacker.seconds_left > 0 and not reading.done():
                    socket.writer.write(sent)
                    attacker.outcomes["kB sent"] += len(sent) // 1000
                    await _drain(socket)
                    await asyncio.sleep(1 / EVENTS_PER_SECOND)
                await end(reading)
        await asyncio.sleep(REOPEN_SECONDS)


async def _subscribe(attacker: Attacker, socket: Socket, channel: str, token: str) -> None:
    form = urlencode({"socket_id": socket.socket_id, "channel_name": channel}).encode()
    reply = await attacker.send(
        "POST",
        "/api/push/auth",
        form,
        address=12,
        token=token,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    if reply.status == 200:
        signed: dict[str, str] = msgspec.json.decode(reply.body)
        socket.writer.write(event("pusher:subscribe", {"channel": channel, **signed}))


async def _read(attacker: Attacker, socket: Socket) -> None:
    """Read until the socket is closed. Counts close codes and the codes of errors."""
    with suppress(*ENDED):
        while True:
            first, payload = await read_frame(socket.reader)
            if first == CLOSE:
                attacker.outcomes[f"closed {int.from_bytes(payload[:2], 'big')}"] += 1
                return
            if b"pusher:error" in payload:
                attacker.outcomes["error 4301" if b"4301" in payload else "error"] += 1


async def _drain(socket: Socket) -> None:
    with suppress(*ENDED):
        await socket.writer.drain()


@asynccontextmanager
async def _opened(attacker: Attacker, address: int) -> AsyncIterator[Socket | None]:
    """A socket after its first message; None when the gateway refuses it."""
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            reader, writer = await connect(attacker.site.gateway, f"{NETWORK}.{address}")
    except (OSError, TimeoutError):
        attacker.outcomes["no connection"] += 1
        yield None
        return
    try:
        yield await _handshake(attacker, reader, writer)
    finally:
        writer.transport.abort()


async def _handshake(
    attacker: Attacker, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Socket | None:
    writer.write(upgrade(attacker.site.socket_path))
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 101 " not in head.partition(b"\r\n")[0]:
                attacker.outcomes[f"refused {head[9:12].decode()}"] += 1
                return None
            _, payload = await read_frame(reader)
    except (TimeoutError, *ENDED):
        attacker.outcomes["no handshake"] += 1
        return None
    attacker.outcomes["sockets"] += 1
    message: dict[str, str] = msgspec.json.decode(payload)
    data: dict[str, str] = msgspec.json.decode(message["data"])
    return Socket(reader, writer, data["socket_id"])
