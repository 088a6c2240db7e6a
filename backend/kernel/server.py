"""A uvicorn server that drains before it exits, so that a rolling restart loses no request.

A proxy may send a request on a kept connection at the moment at which the server closes that
connection, and the proxy cannot repeat a request that writes. So on SIGTERM the server keeps
serving for a delay, longer than a proxy keeps an idle connection: `/readyz` answers 503 and every
reply carries `Connection: close`, which empties the proxy's connection pool. After the delay the
server stops listening, finishes the requests in progress and exits.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import partial
from typing import Any, cast

import structlog
import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.kernel import syn_filter
from backend.kernel.http_protocol import BoundedHttp, Bounds, Connections
from backend.kernel.shutdown import stop_signals

log = structlog.get_logger()

# Longer than a proxy keeps an idle connection (nginx: 60 s by default), so that the proxy closes
# first.
KEEP_ALIVE_SECONDS = 75
BACKLOG = 4096
# A TCP handshake in progress is complete within this time.
HANDSHAKE_SECONDS = 0.1
# A client that connected just before the server stopped listening sends its request within this
# time.
ARRIVAL_SECONDS = 0.1
# Given a process's readiness checks by name.
WhileServing = Callable[[Mapping[str, Any]], AbstractContextManager[None]]
DRAINING = {"status": "not ready", "checks": {"process": "draining"}}


def server_config(
    app: ASGIApp,
    *,
    stop_seconds: int,
    bounds: Bounds | None = None,
    http: Callable[..., BoundedHttp] = BoundedHttp,
    **options: Any,
) -> uvicorn.Config:
    """The uvicorn configuration that every HTTP server here shares, with its own `bounds` of
    connections; `http` makes the protocol of one, and `options` are passed to uvicorn as they are.

    uvicorn's own proxy headers are off: `TRUSTED_PROXIES` decides which forwarded addresses count.
    """
    return uvicorn.Config(
        app,
        loop="uvloop",
        # uvicorn only calls it.
        http=cast(Any, partial(http, connections=Connections(bounds or Bounds()))),
        lifespan="on",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=stop_seconds,
        **options,
    )


def shared_port(host: str, port: int) -> socket.socket:
    """A socket on a port that other processes of this user may share, each with a socket of its
    own: the kernel spreads new connections over them.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    shared = socket.socket(family, socket.SOCK_STREAM)
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    shared.bind((host, port))
    shared.setblocking(False)
    return shared


class Server(uvicorn.Server):
    """`delay_seconds` is the time from the signal until the server stops listening; `filter_syn`
    drops new connection attempts at its end (decision 25). `while_serving` gets the checks of the
    application's lifespan, and its block lasts from the start to the drain.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        delay_seconds: float = 0.0,
        filter_syn: bool = True,
        while_serving: WhileServing | None = None,
    ) -> None:
        super().__init__(config)
        self._delay_seconds = delay_seconds
        self._filter_syn = filter_syn
        self._while_serving = while_serving
        self._serving = ExitStack()
        # Those that `serve` got, if any.
        self._sockets: list[socket.socket] = []
        self._app = _DrainableApp(cast(ASGIApp, config.app))
        config.app = self._app

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        """Stop on the first signal. uvicorn's own handler raises it again at the end; here the
        exit status is 0.
        """
        return stop_signals(self._stop)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._while_serving is not None:
            self._serving.enter_context(self._while_serving(self.lifespan.state["checks"]))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._sockets = sockets or []
        await self.drain()
        await super().shutdown(sockets)

    async def drain(self) -> None:
        """During the delay, answer `/readyz` with 503 and close each connection after its reply;
        then stop listening.
        """
        self._app.draining = True
        self._serving.close()
        log.info("draining", seconds=self._delay_seconds)
        if self._delay_seconds or self._sockets:
            await asyncio.sleep(self._delay_seconds)
            if self._filter_syn:
                await self._finish_handshakes()
            await self._close_listeners()
        for server in self.servers:
            server.close()

    async def _finish_handshakes(self) -> None:
        """Drop new connection attempts, and wait for the handshakes in progress.

        When a listening socket closes, the kernel resets its unfinished handshakes.
        """
        for listener in (each for server in self.servers for each in server.sockets):
            # OSError: not on this platform. Then such a handshake is reset.
            with suppress(OSError), listener.dup() as duplicate:
                syn_filter.attach(duplicate)
        await asyncio.sleep(HANDSHAKE_SECONDS)

    async def _close_listeners(self) -> None:
        """Stop listening, and serve the connections that the event loop has not accepted yet.

        Closing a listening socket resets the connections in its queue. A duplicate keeps the socket
        open while the event loop closes its own; the queue is accepted, and then it is closed.
        """
        accepted: list[socket.socket] = []
        for server in self.servers:
            listeners = [each.dup() for each in server.sockets]
            server.close()
            for each in self._sockets:
                each.close()
            for listener in listeners:
                # BlockingIOError: the queue is empty.
                with listener, suppress(OSError):
                    while True:
                        accepted.append(listener.accept()[0])
        for connection in accepted:
            connection.setblocking(False)
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        await asyncio.sleep(ARRIVAL_SECONDS)

    def _protocol(self) -> asyncio.Protocol:
        """The protocol of one connection, as `uvicorn.Server.startup` creates it."""
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    def _stop(self) -> None:
        self.should_exit = True


class _DrainableApp:
    """Wraps an application; while `draining`, ends the connection with each reply and refuses
    `/readyz`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self.draining or scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        app = JSONResponse(DRAINING, 503) if scope["path"] == "/readyz" else self.app
        await app(scope, receive, send_and_close)
