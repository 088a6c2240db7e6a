"""uvicorn, leaving without a lost request.

A proxy that reuses connections may send a request at the very moment at which a server closes that connection, and what
is no plain read can't be sent again. So on its signal this server first only says that it leaves: `/readyz` refuses, and
each reply ends its connection, which empties the proxy's pool. After the delay, which is longer than a proxy keeps an
idle connection, it lets nobody in any more, finishes what is under way, and ends.
"""

import asyncio
import ctypes
import socket
import struct
from contextlib import AbstractContextManager, suppress
from typing import Any, cast

import structlog
import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.kernel.shutdown import stop_signals

log = structlog.get_logger()

# The proxy's side ends an idle connection first: nginx does after a minute, unless it is told otherwise.
KEEP_ALIVE_SECONDS = 75
BACKLOG = 4096
# Between a client's SYN and the end of the handshake; what is complete by then was accepted.
HANDSHAKE_SECONDS = 0.1
DRAINING = {"status": "not ready", "checks": {"process": "draining"}}
SO_ATTACH_FILTER = 26
# Classic BPF over a TCP segment: drop it when it has SYN and no ACK, else keep it whole.
NO_SYN = (
    (0x30, 0, 0, 13),
    (0x54, 0, 0, 0x12),
    (0x15, 0, 1, 0x02),
    (0x06, 0, 0, 0),
    (0x06, 0, 0, 0xFFFFFFFF),
)


def configured(app: ASGIApp, *, stop_seconds: int, **own: Any) -> uvicorn.Config:
    """How everything of ours is served; `own` is what uvicorn is told beside it.

    The peer's address is the connection's: `TRUSTED_PROXIES` decides on more.
    """
    return uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        lifespan="on",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=stop_seconds,
        **own,
    )


class Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, *, delay_seconds: float = 0.0) -> None:
        super().__init__(config)
        self._delay_seconds = delay_seconds
        self._farewell = _Farewell(cast(ASGIApp, config.app))
        config.app = self._farewell

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        """uvicorn's own raises the signal again at its end; a process that ended as it was asked to has status 0."""
        return stop_signals(self._ask)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self.leave()
        await super().shutdown(sockets)

    async def leave(self) -> None:
        """Say that this server leaves, go on for the delay, then let nobody in any more."""
        self._farewell.leaving = True
        log.info("draining", seconds=self._delay_seconds)
        if self._delay_seconds:
            await asyncio.sleep(self._delay_seconds)
            await self._refuse_newcomers()
        for server in self.servers:
            server.close()

    async def _refuse_newcomers(self) -> None:
        """Closing a listening socket resets whom the kernel has let in and we have not accepted yet.

        Their request may be on its way. So first the kernel lets nobody in; who was dropped meanwhile knocks again a
        second later, is refused, and goes elsewhere.
        """
        for listening in (each for server in self.servers for each in server.sockets):
            with suppress(OSError), listening.dup() as own:
                _drop_syn(own)
        await asyncio.sleep(HANDSHAKE_SECONDS)

    def _ask(self) -> None:
        self.should_exit = True


class _Farewell:
    """Wraps an application; while the server leaves, says so in each reply."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.leaving = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self.leaving or scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def last(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        app = JSONResponse(DRAINING, 503) if scope["path"] == "/readyz" else self.app
        await app(scope, receive, last)


def _drop_syn(listening: socket.socket) -> None:
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in NO_SYN)
    kept = ctypes.create_string_buffer(program)
    described = struct.pack("HL", len(NO_SYN), ctypes.addressof(kept))
    listening.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, described)
