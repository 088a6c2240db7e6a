"""A client that writes any bytes: frames that no WebSocket library sends, or half of one."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from tests.push.servers import HOST, KEY

TEXT, BINARY, CLOSE, PING, PONG = 0x81, 0x82, 0x88, 0x89, 0x8A
CONTINUATION, LAST = 0x00, 0x80
EMPTY_PONG = bytes([PONG, 0x80, 0, 0, 0, 0])


def frame(first: int, payload: bytes = b"") -> bytes:
    """A client's frame under the mask 0, which leaves the payload as it is."""
    size = len(payload)
    if size < 126:
        head = bytes([first, 0x80 | size])
    elif size < 65_536:
        head = bytes([first, 0xFE]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, 0xFF]) + size.to_bytes(8, "big")
    return head + bytes(4) + payload


def upgrade(path: str = f"/app/{KEY}?protocol=7", *headers: str) -> bytes:
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {HOST}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


@dataclass
class RawSocket:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: its first byte and its payload."""
        first, size = await self.reader.readexactly(2)
        if size == 126:
            size = int.from_bytes(await self.reader.readexactly(2), "big")
        return first, await self.reader.readexactly(size)

    async def close_code(self) -> int | None:
        """The code of the server's close frame; None if the connection ends without one."""
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                first, payload = await self.frame()
                if first == CLOSE:
                    return int.from_bytes(payload[:2], "big")
        return None

    async def flood(self, chunk: bytes) -> int:
        """Write until the connection ends. Returns the number of bytes that were written."""
        written = 0
        with suppress(OSError):
            while not self.writer.is_closing():
                self.writer.write(chunk)
                written += len(chunk)
                await self.writer.drain()
                await asyncio.sleep(0)
        return written


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[RawSocket]:
    """A TCP connection."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        yield RawSocket(reader, writer)
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


@asynccontextmanager
async def opened(port: int, *headers: str) -> AsyncIterator[RawSocket]:
    """A socket whose first message has been read."""
    async with connected(port) as client:
        client.writer.write(upgrade(f"/app/{KEY}?protocol=7", *headers))
        async with asyncio.timeout(5):
            await client.reader.readuntil(b"\r\n\r\n")
            await client.frame()
        yield client
