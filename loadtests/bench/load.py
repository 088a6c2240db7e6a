"""A cheap load generator: keep-alive connections, prepared requests, one in flight on each.

It shares two cores with its target, so it parses only the status and length of a response.
"""

import asyncio
import time
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple, cast

DRAIN_SECONDS = 30.0


class Load(NamedTuple):
    """The total seconds, the latency of each response in seconds, the count of each status."""

    seconds: float
    latencies: list[float]
    statuses: dict[int, int]

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds


def post(path: str, body: bytes, *headers: str) -> bytes:
    """Return the bytes of a request."""
    lines = (
        f"POST {path} HTTP/1.1",
        "Host: bench",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    )
    return "\r\n".join((*lines, "", "")).encode() + body


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: bench", *headers, "", "")).encode()


async def all_at_once(host: str, port: int, first: list[bytes], then: list[bytes]) -> Load:
    """Open a connection for each; after all first responses, send all second requests at once."""
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    statuses: dict[int, int] = {}
    clients: list[_Connection] = []
    for request in first:
        alone = partial(_Connection, iter([request]), [], {}, keep=True)
        _, client = await loop.create_connection(alone, host, port)
        client.next()
        await client.done
        clients.append(client)
    for client, request in zip(clients, then, strict=True):
        client.requeue(iter([request]), latencies, statuses)
    began = time.perf_counter()
    for client in clients:
        client.next()
    async with asyncio.timeout(DRAIN_SECONDS):
        await asyncio.gather(*(client.done for client in clients))
    return Load(time.perf_counter() - began, latencies, statuses)


async def drive(host: str, port: int, requests: Iterator[bytes], *, connections: int) -> Load:
    """Send all requests, over this number of connections."""
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    statuses: dict[int, int] = {}
    clients = [
        (
            await loop.create_connection(
                lambda: _Connection(requests, latencies, statuses), host, port
            )
        )[1]
        for _ in range(connections)
    ]
    began = time.perf_counter()
    for client in clients:
        client.next()
    async with asyncio.timeout(600):
        await asyncio.gather(*(client.done for client in clients))
    return Load(time.perf_counter() - began, latencies, statuses)


class _Connection(asyncio.Protocol):
    """Sends a request, waits for its response, sends the next."""

    def __init__(
        self,
        requests: Iterator[bytes],
        latencies: list[float],
        statuses: dict[int, int],
        *,
        keep: bool = False,
    ) -> None:
        self._keep = keep
        self._received = b""
        self._sent_at = 0.0
        self._queue(requests, latencies, statuses)

    def requeue(
        self, requests: Iterator[bytes], latencies: list[float], statuses: dict[int, int]
    ) -> None:
        """Send more requests on the open connection."""
        self._keep = False
        self._queue(requests, latencies, statuses)

    def _queue(
        self, requests: Iterator[bytes], latencies: list[float], statuses: dict[int, int]
    ) -> None:
        self._requests = requests
        self._latencies = latencies
        self._statuses = statuses
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it

    def next(self) -> None:
        request = next(self._requests, None)
        if request is None and self._keep:
            self.done.set_result(None)
            return
        if request is None:
            self._transport.close()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        head = received.find(b"\r\n\r\n")
        if head < 0 or len(received) < head + 4 + _content_length(received, head):
            self._received = received
            return
        self._received = b""
        self._latencies.append(time.perf_counter() - self._sent_at)
        status = int(received[9:12])
        self._statuses[status] = self._statuses.get(status, 0) + 1
        self.next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            if error is None and not self._received:
                self.done.set_result(None)
            else:
                self.done.set_exception(error or ConnectionError("closed in the middle of a reply"))


def _content_length(received: bytes, head: int) -> int:
    at = received.lower().find(b"content-length:", 0, head)
    return int(received[at + 15 : received.find(b"\r\n", at)]) if at >= 0 else 0
