"""Requests byte for byte, including those that a client library refuses to send."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.deploy.nginx import Nginx

SECONDS = 5.0
WEBSOCKET = (
    "Host: shop.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@asynccontextmanager
async def sent(
    nginx: Nginx, request: str, *, seconds: float = SECONDS
) -> AsyncIterator[asyncio.StreamReader]:
    """The reply, while the block keeps the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", nginx.port)
    try:
        writer.write(request.encode())
        async with asyncio.timeout(seconds):
            yield reader
    finally:
        writer.close()


async def exchange(
    nginx: Nginx, request: str, *, until: str | None = None, seconds: float = SECONDS
) -> str:
    """The reply to these bytes, all of it or up to a mark."""
    async with sent(nginx, request, seconds=seconds) as reader:
        reply = await (reader.readuntil(until.encode()) if until else reader.read())
    return reply.decode()
