"""A server that drains: the replies that a proxy in front of it gets, and that no request is
lost.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from starlette.applications import Starlette
from starlette.datastructures import State
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from backend.bootstrap import http_config
from backend.kernel.server import DRAINING, Server
from loadtests.ports import free_port
from tests.push.servers import until
from tests.system import served

HOST = "127.0.0.1"
BODY = b"the whole body"
POST = b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


class Running:
    def __init__(self, server: Server, port: int, state: State) -> None:
        self.server = server
        self.port = port
        self.state = state
        self.client = httpx.AsyncClient(base_url=f"http://{HOST}:{port}", timeout=5)

    def connect(self) -> socket.socket:
        """A connection that the kernel completed and the event loop did not accept yet, with a
        request sent.
        """
        client = socket.create_connection((HOST, self.port))
        client.sendall(POST)
        client.setblocking(False)
        return client


async def slow(request: Request) -> Response:
    body = await request.body()
    await asyncio.sleep(0.2)
    return PlainTextResponse(body)


async def held(request: Request) -> Response:
    """Replies when the test sets `go_on`."""
    body = await request.body()
    request.app.state.began.set()
    await request.app.state.go_on.wait()
    return PlainTextResponse(body)


async def readyz(_request: Request) -> Response:
    return PlainTextResponse("ready")


@asynccontextmanager
async def running(*, delay_seconds: float, filter_syn: bool = True) -> AsyncIterator[Running]:
    port = free_port()
    app = Starlette(
        routes=[
            Route("/slow", slow, methods=["GET", "POST"]),
            Route("/held", held, methods=["POST"]),
            Route("/readyz", readyz),
        ]
    )
    app.state.began, app.state.go_on = asyncio.Event(), asyncio.Event()
    server = Server(
        http_config(app, HOST, port), delay_seconds=delay_seconds, filter_syn=filter_syn
    )
    async with served(server):
        running_server = Running(server, port, app.state)
        async with running_server.client:
            yield running_server


async def test_while_draining_requests_are_served_and_each_reply_closes_its_connection() -> None:
    async with running(delay_seconds=1.5) as it:
        before = await it.client.get("/readyz")
        assert (before.status_code, before.headers.get("connection")) == (200, None)
        it.server.should_exit = True
        await asyncio.sleep(0.1)
        draining = await it.client.get("/readyz")
        assert (draining.status_code, draining.json()) == (503, DRAINING)
        answered = await it.client.post("/slow", content=BODY)
        assert (answered.status_code, answered.content) == (200, BODY)
        assert {draining.headers["connection"], answered.headers["connection"]} == {"close"}


async def test_a_request_in_progress_at_the_end_of_the_delay_is_finished() -> None:
    async with running(delay_seconds=0.05) as it:
        posting = asyncio.create_task(it.client.post("/held", content=BODY))
        await it.state.began.wait()
        it.server.should_exit = True
        await until(lambda: not any(each.is_serving() for each in it.server.servers))
        it.state.go_on.set()
        assert (await posting).content == BODY


@pytest.mark.parametrize("filter_syn", [True, False])
async def test_a_connection_waiting_to_be_accepted_is_served_and_a_later_one_is_refused(
    *, filter_syn: bool
) -> None:
    async with running(delay_seconds=0.01, filter_syn=filter_syn) as it:
        waiting = [it.connect() for _ in range(20)]
        await it.server.drain()
        assert all([await answered(client) for client in waiting])
        with pytest.raises(ConnectionRefusedError):
            await asyncio.to_thread(socket.create_connection, (HOST, it.port), 5)


async def test_the_accept_queue_is_served_when_its_socket_closes() -> None:
    async with running(delay_seconds=0) as it:
        waiting = [it.connect() for _ in range(20)]
        # Up to its first await, the event loop accepts nothing.
        await it.server._close_listeners()
        assert all([await answered(client) for client in waiting])


async def test_without_draining_a_connection_waiting_to_be_accepted_is_reset() -> None:
    """The negative control: the kernel resets the accept queue of a socket that is closed."""
    async with running(delay_seconds=0) as it:
        waiting = [it.connect() for _ in range(20)]
        await it.server.drain()
        assert not any([await answered(client) for client in waiting])


async def test_a_client_that_connects_while_handshakes_finish_is_not_accepted_but_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("backend.kernel.server.HANDSHAKE_SECONDS", 0.3)
    async with running(delay_seconds=0.01) as it:
        draining = asyncio.create_task(it.server.drain())
        await asyncio.sleep(0.15)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.to_thread(socket.create_connection, (HOST, it.port), 5)
        await draining


async def test_a_platform_without_the_filter_drains_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_listener: socket.socket) -> None:
        raise OSError("Protocol not available")

    monkeypatch.setattr("backend.kernel.syn_filter.attach", refuse)
    async with running(delay_seconds=0.01) as it:
        waiting = [it.connect() for _ in range(20)]
        await it.server.drain()
        assert all([await answered(client) for client in waiting])


async def answered(client: socket.socket) -> bool:
    with client:
        try:
            reply = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 65_536), 5)
        except ConnectionResetError:
            return False
        return reply.startswith(b"HTTP/1.1 200")
