"""A client that sends slowly, sends too much, reads nothing or opens many connections: each costs
a bounded amount, and others are served meanwhile.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple, Self

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from backend.bootstrap import http_config
from backend.kernel.http_protocol import (
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_PIPELINED,
    Bounds,
    Connections,
    Wait,
)
from backend.kernel.server import Server
from loadtests.ports import free_port
from tests.push.servers import until
from tests.system import served

HOST = "127.0.0.1"
GET = b"GET /fast HTTP/1.1\r\nHost: x\r\n\r\n"
SOON = dict.fromkeys(Wait, 0.2)
LATER = dict.fromkeys(Wait, 60.0)
# More than the buffers of the kernel and of both processes.
LARGE = 50_000_000


class Running(NamedTuple):
    port: int
    connections: Connections
    app: Starlette

    async def connect(self, sent: bytes = b"") -> "Client":
        client = Client(*await asyncio.open_connection(HOST, self.port))
        await client.send(sent)
        return client

    async def replies_at_once(self) -> bool:
        async with await self.connect(GET) as client:
            return await client.status() == 200


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def status(self) -> int:
        """Read the next reply. Returns its status."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        self.body = await self.reader.readexactly(length)
        return int(head.split()[1])

    async def problem(self) -> tuple[int, str]:
        """The status and the code of the last reply; the server closes the connection after it."""
        status = await self.status()
        assert await asyncio.wait_for(self.reader.read(), 5) == b""
        return status, json.loads(self.body)["code"]

    async def closed(self) -> None:
        """Returns when the server has closed the connection without a reply."""
        with suppress(ConnectionResetError):
            assert await asyncio.wait_for(self.reader.read(), 5) == b""


async def fast(_request: Request) -> Response:
    return PlainTextResponse("ok")


async def echo(request: Request) -> Response:
    request.app.state.bodies.append(await request.body())
    return PlainTextResponse("ok")


async def early(_request: Request) -> Response:
    return PlainTextResponse("not read", 413)


async def held(request: Request) -> Response:
    """Replies when the test sets `go_on`."""
    request.app.state.held += 1
    await request.app.state.go_on.wait()
    return PlainTextResponse("ok")


async def large(_request: Request) -> Response:
    return Response(b"x" * LARGE)


@asynccontextmanager
async def running(**bounds: Any) -> AsyncIterator[Running]:
    app = Starlette(
        routes=[
            Route("/fast", fast),
            Route("/echo", echo, methods=["POST"]),
            Route("/early", early, methods=["POST"]),
            Route("/held", held),
            Route("/large", large),
        ]
    )
    app.state.bodies, app.state.held, app.state.go_on = [], 0, asyncio.Event()
    given: dict[str, Any] = {"seconds": LATER, "check_seconds": 0.05} | bounds
    config = http_config(app, HOST, free_port(), Bounds(**given))
    async with served(Server(config)):
        # A partial of the protocol's class, with the connections of this server.
        protocol: Any = config.http_protocol_class
        yield Running(config.port, protocol.keywords["connections"], app)


@pytest.mark.parametrize(
    "endless",
    [
        b"GET /fast HTTP/1.1\r\nX-Long: " + b"a" * 400_000,
        b"GET /fast HTTP/1.1\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(50_000)),
        b"GET /fast HTTP/1.1\r\n" + (b"X: " + b"a" * 1000 + b"\r\n") * 50,
        b"GET /fast HTTP/1.1\r\n" + b"X" * 400_000,
        b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 400_000,
        b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"a" * 400_000,
        b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: 1\r\n" * 101,
    ],
    ids=lambda sent: sent[-20:].decode() + str(len(sent)),
)
async def test_headers_above_the_bound_are_refused_before_they_are_complete(endless: bytes) -> None:
    async with running() as it, await it.connect() as client:
        sending = asyncio.create_task(client.send(endless))
        assert await client.problem() == (431, "headers_too_large")
        await sending
        assert await it.replies_at_once()


async def test_a_head_within_the_bounds_is_served_at_any_speed() -> None:
    headers = [b"X-%d: 1" % number for number in range(MAX_HEADERS - 2)]
    long = b"X: " + b"a" * (MAX_HEAD_BYTES - 2_000)
    head = b"GET /fast HTTP/1.1\r\nHost: x\r\n" + b"\r\n".join([*headers, long]) + b"\r\n\r\n"
    async with running() as it, await it.connect() as client:
        await client.send(head + head)
        assert [await client.status(), await client.status()] == [200, 200]
        for start in range(0, len(head), 1_000):
            await client.send(head[start : start + 1_000])
            await asyncio.sleep(0)
        assert await client.status() == 200


async def test_a_long_request_target_is_refused() -> None:
    async with running() as it, await it.connect(b"GET /" + b"a" * 9_000) as client:
        assert await client.problem() == (414, "uri_too_long")


@pytest.mark.parametrize(
    "garbage", [b"\x00\x01\x02\r\n\r\n", b"GET /\xff\r\n\r\n", b"\x16\x03\x01"]
)
async def test_what_is_no_http_gets_a_400(garbage: bytes) -> None:
    async with running() as it, await it.connect(garbage) as client:
        assert await client.problem() == (400, "bad_request")


async def test_a_malformed_body_whose_client_expects_a_100_gets_one_reply(
    caplog: pytest.LogCaptureFixture,
) -> None:
    head = b"POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with running() as it, await it.connect(head + b"not a chunk\r\n") as client:
        assert await client.problem() == (400, "bad_request")
    # The application reads the body after the refusal, and finds the client gone.
    assert "ClientDisconnect" in caplog.text
    assert "write_eof" not in caplog.text


async def test_a_head_that_does_not_become_complete_in_time_gets_a_408() -> None:
    async with running(seconds=SOON) as it, await it.connect(b"GET /fast HTTP/1.1\r\n") as client:
        trickle = asyncio.create_task(trickled(client, b"X: a\r\n"))
        assert await client.problem() == (408, "request_timeout")
        await cancelled(trickle)
        async with await it.connect() as silent:
            await silent.closed()


async def test_a_second_head_has_a_deadline_too() -> None:
    async with running(seconds=SOON) as it, await it.connect(GET) as client:
        assert await client.status() == 200
        trickle = asyncio.create_task(trickled(client, b"G", b"E", b"T", b" ", b"/", b"a", b"a"))
        assert (await client.problem())[0] == 408
        await cancelled(trickle)


async def test_an_idle_connection_is_closed_although_it_sends_empty_lines() -> None:
    async with running(seconds=SOON) as it, await it.connect(GET) as client:
        assert await client.status() == 200
        trickle = asyncio.create_task(trickled(client, b"\r\n"))
        await client.closed()
        await cancelled(trickle)


@pytest.mark.parametrize("path", [b"echo", b"early"])
async def test_a_body_that_does_not_become_complete_in_time_ends_the_connection(
    path: bytes,
) -> None:
    head = b"POST /%b HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\n" % path
    async with running(seconds=SOON) as it, await it.connect(head) as client:
        trickle = asyncio.create_task(trickled(client, b"x"))
        if path == b"early":
            assert await client.status() == 413
            await client.closed()
        else:
            assert await client.problem() == (408, "request_timeout")
        await cancelled(trickle)
        assert it.app.state.bodies == []


async def test_after_an_early_reply_and_its_whole_body_the_connection_serves_on() -> None:
    head = b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"
    async with running(seconds=LATER | {Wait.BODY: 0.1}) as it, await it.connect(head) as client:
        assert await client.status() == 413
        await client.send(b"body")
        await asyncio.sleep(0.3)
        await client.send(GET)
        assert await client.status() == 200


async def test_a_reply_that_is_not_read_ends_the_connection() -> None:
    async with running(seconds=SOON) as it:
        async with await it.connect(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"):
            await until(lambda: not it.connections)
        assert await it.replies_at_once()


async def test_the_last_reply_of_a_connection_is_sent_completely_to_a_slow_reader() -> None:
    request = b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    async with running(seconds=SOON | {Wait.READING: 60.0}) as it:
        async with await it.connect(request) as client:
            await asyncio.sleep(0.6)
            assert len(await asyncio.wait_for(client.reader.read(), 10)) > LARGE
        await until(lambda: not it.connections)


async def test_a_long_request_in_work_has_no_deadline() -> None:
    request = b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n"
    async with running(seconds=SOON) as it, await it.connect(request) as client:
        await asyncio.sleep(0.5)
        it.app.state.go_on.set()
        assert await client.status() == 200


async def test_idle_and_slow_connections_make_room_for_new_ones() -> None:
    waits = {
        "silent": b"",
        "head": b"GET /fast HTTP/1.1\r\nX:",
        "body": b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
        "idle": GET,
    }
    async with running(connections=20) as it:
        held_open = [await it.connect(sent) for sent in [*waits.values()] * 25]
        assert all([await it.replies_at_once() for _ in range(30)])
        assert len(it.connections) <= 20
        for client in held_open:
            client.writer.transport.abort()


async def test_connections_in_work_are_kept_and_a_new_one_gets_a_503() -> None:
    async with running(connections=3) as it:
        request = b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n"
        working = [await it.connect(request) for _ in range(3)]
        await until(lambda: it.app.state.held == 3)
        async with await it.connect() as refused:
            assert await refused.problem() == (503, "too_many_connections")
        it.app.state.go_on.set()
        assert [await client.status() for client in working] == [200, 200, 200]
        for client in working:
            client.writer.transport.abort()
        assert await it.replies_at_once()


async def test_incomplete_bodies_have_a_bound_together() -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
    async with running(body_bytes=500_000) as it:
        slow = [await it.connect(head + b"x" * 90_000) for _ in range(20)]
        await until(lambda: len(it.connections) <= 6)
        assert it.connections._body_bytes <= 500_000
        async with await it.connect(head + b"x" * 100_000) as honest:
            assert await honest.status() == 200
        for client in slow:
            client.writer.transport.abort()
        await until(lambda: not it.connections)
        assert it.connections._body_bytes == 0


async def test_pipelined_requests_are_answered_in_order_up_to_a_bound() -> None:
    async with running() as it:
        async with await it.connect(GET * MAX_PIPELINED) as client:
            assert [await client.status() for _ in range(MAX_PIPELINED)] == [200] * MAX_PIPELINED
        async with await it.connect(GET * 10_000) as client:
            await client.closed()


async def trickled(client: Client, *pieces: bytes) -> None:
    """Send the pieces, the last of them again and again, more often than any deadline."""
    for piece in pieces:
        await client.send(piece)
        await asyncio.sleep(0.02)
    while True:
        await client.send(pieces[-1])
        await asyncio.sleep(0.02)


async def cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
