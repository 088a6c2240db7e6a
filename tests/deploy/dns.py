"""A name server with one address, which a test may change."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from typing import Any

A, IN = 1, 1
ANSWERED = 0x8180
TTL_SECONDS = 600


class Names(asyncio.DatagramProtocol):
    """Resolves every name to this address with a long TTL, like Docker's name server."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        end = data.index(b"\0", 12) + 5
        (kind,) = struct.unpack("!H", data[end - 4 : end - 2])
        known = kind == A
        header = data[:2] + struct.pack("!5H", ANSWERED, 1, int(known), 0, 0)
        # The name is a pointer to that of the question.
        record = (
            struct.pack("!HHHIH", 0xC00C, A, IN, TTL_SECONDS, 4) + IPv4Address(self.address).packed
        )
        assert self._transport is not None
        self._transport.sendto(header + data[12:end] + (record if known else b""), addr)


@asynccontextmanager
async def answering_dns(address: str) -> AsyncIterator[Names]:
    loop = asyncio.get_running_loop()
    transport, names = await loop.create_datagram_endpoint(
        lambda: Names(address), local_addr=("127.0.0.1", 0)
    )
    try:
        yield names
    finally:
        transport.close()
