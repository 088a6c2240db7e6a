"""An upstream that records each request byte for byte and sends the reply that a test sets."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request

from backend.kernel.client_address import client_ip, networks
from tests.deploy.nginx import SERVICES, Nginx, ingress

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
# The upstream reads the request and closes the connection without a reply.
NO_REPLY = b""


@dataclass(frozen=True)
class Seen:
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def client(self, trusted: str = "127.0.0.1") -> str:
        """The client's address as a service determines it."""
        raw = [(name.encode(), value.encode()) for name, value in self.headers]
        return client_ip(
            Request({"type": "http", "headers": raw, "client": ("127.0.0.1", 1)}), networks(trusted)
        )


class Echo:
    def __init__(self) -> None:
        self.answer = OK
        self.seen: list[Seen] = []
        self.address = ""
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                self.seen.append(await _request(reader))
                if self.answer == NO_REPLY:
                    return
                writer.write(self.answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def echoing(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Echo]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, host, port)
    echo.port = server.sockets[0].getsockname()[1]
    echo.address = f"{host}:{echo.port}"
    async with server:
        yield echo
        server.close()


@asynccontextmanager
async def fronted(folder: Path, **settings: str) -> AsyncIterator[tuple[Nginx, Mapping[str, Echo]]]:
    """An ingress in front of an echo for each service."""
    async with AsyncExitStack() as stack:
        echoes = {
            name: await stack.enter_async_context(echoing()) for name in (*SERVICES, "sandbox")
        }
        upstreams = {name: echo.address for name, echo in echoes.items()}
        yield await stack.enter_async_context(ingress(folder, upstreams, **settings)), echoes


async def _request(reader: asyncio.StreamReader) -> Seen:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]
    length = int(dict(headers).get("content-length", "0"))
    return Seen(method, target, headers, await reader.readexactly(length))
